//! The limits that a flow meets, one after the other.

use super::{
    Question, Row, Verdict,
    flow::{Flow, Units, Work},
    quota::{self, Quota},
};
use crate::{
    infrastructure::{RELAY, keys},
    limits,
    model::{Model, Spread, TableModel},
    setting::{SettingKind, SettingModel},
};
use std::collections::BTreeMap;

/// What is to be set is what is needed, and a quarter more.
const MARGIN: f64 = 1.25;

/// The busiest shard or partition of several has up to twice the mean.
const SKEW: f64 = 2.0;

/// Fewest partitions that a table of on-demand capacity has.
const PARTITIONS_MIN: f64 = 4.0;

/// Entries of a call of PutEvents.
const EVENTS_PER_CALL: f64 = 10.0;

/// Batches that a provisioned poller works at once.
const BATCHES_PER_POLLER: f64 = 10.0;

/// Most batches of a shard at once.
const FACTOR_MAX: f64 = 10.0;

/// What may be done where a limit is reached.
enum Cure {
    /// Set these keys, which the limit grows with up to `most`.
    Set { keys: Vec<(String, f64)>, most: f64 },
    /// Add this to the definition first; then it grows up to `most`.
    Add { what: String, most: f64 },
    /// Ask AWS.
    Ask,
    /// Nothing.
    Nothing,
}

struct Rows<'a> {
    model: &'a Model,
    question: &'a Question,
    rows: Vec<Row>,
}

pub(super) fn of(model: &Model, question: &Question, flow: &Flow<'_>) -> Vec<Row> {
    let mut rows = Rows { model, question, rows: Vec::new() };
    for work in &flow.works {
        rows.requests(work);
        rows.function(work);
        rows.in_turn(work);
        rows.in_flight(work);
    }
    rows.account(flow);
    for table in &model.tables {
        if let Some(units) = flow.tables.get(table.name.as_str()) {
            rows.table(table, units);
            rows.stream(table, units, flow);
        }
    }
    rows.buckets(flow);
    rows.published(flow);
    rows.schedules();
    rows.rows
}

impl Rows<'_> {
    fn add(&mut self, at: &str, quota: &Quota, needs: f64, gives: f64, cure: Cure, assumes: &str) {
        let mut set = BTreeMap::new();
        let mut add = None;
        // What is set as it is told to be fits; so does what can't be set any higher.
        let is_at_most = matches!(&cure, Cure::Set { most, .. } if gives >= *most) && needs <= gives;
        let fits = needs * MARGIN <= gives || is_at_most;
        let (verdict, most) = match cure {
            Cure::Set { most, .. } | Cure::Add { most, .. } if needs > most => (Verdict::Over, Some(most)),
            Cure::Set { keys, most } => {
                if !fits {
                    set = keys.into_iter().map(|(key, value)| (key, whole(value))).collect();
                }
                (Verdict::Set, Some(most))
            }
            Cure::Add { what, most } => {
                add = (!fits).then_some(what);
                (Verdict::Set, Some(most))
            }
            Cure::Ask => (Verdict::Raise, None),
            Cure::Nothing => (Verdict::Over, Some(gives)),
        };
        let verdict = if fits { Verdict::Fits } else { verdict };
        let per_second = self.question.per_second;
        let carried = |gives: f64| if needs > 0.0 { per_second * gives / needs } else { f64::MAX };
        self.rows.push(Row {
            at: at.to_owned(),
            limit: quota.what,
            needs,
            gives,
            unit: quota.unit,
            carries: carried(gives),
            // What AWS raises has no end that is known.
            carries_at_most: most.filter(|most| most.is_finite()).map(carried),
            verdict,
            set,
            add,
            can_be_raised: quota.is_raised,
            assumes: assumes.to_owned(),
            source: quota.source,
        });
    }

    /// What a key is set to: by the question, or by default.
    fn value(&self, key: &str, default: f64) -> f64 {
        #[allow(clippy::cast_precision_loss)] // Settings are small.
        self.question.values.get(key).map_or(default, |value| *value as f64)
    }

    /// The key of a setting, what it is set to, and the most that it may be.
    fn setting(&self, name: &str) -> Option<(String, f64, f64)> {
        let setting: &SettingModel = self.model.settings.iter().find(|setting| setting.name == name)?;
        let SettingKind::Integer(range) = &setting.kind else { return None };
        let default = setting.default.as_deref()?.parse().ok()?;
        #[allow(clippy::cast_precision_loss)] // Checked when the definition was built: it is small.
        let most = *range.end() as f64;
        Some((setting.key(), self.value(&setting.key(), default), most))
    }

    fn requests(&mut self, work: &Work<'_>) {
        if work.route.is_none_or(|route| route.path.is_none()) {
            return;
        }
        let assumes = format!("{} of what enters a request", work.workload.per_message.unwrap_or(1));
        self.add(work.name, &quota::REQUESTS, work.messages, quota::REQUESTS.value, Cure::Ask, &assumes);
        let rate = work.messages * MARGIN;
        let gives = self.value(keys::HTTP_RATE, keys::HTTP_RATE_DEFAULT.into());
        let keys = vec![(keys::HTTP_RATE.to_owned(), rate), (keys::HTTP_BURST.to_owned(), rate * SKEW)];
        let cure = Cure::Set { keys, most: f64::INFINITY };
        self.add(work.name, &quota::STAGE, work.messages, gives, cure, &assumes);
    }

    /// Invocations of a function at once.
    fn function(&mut self, work: &Work<'_>) {
        // Rows of messages that follow each other may all be at work at once.
        let hop = if work.workload.in_turn.is_some() { self.question.hop.as_secs_f64() } else { 0.0 };
        let needs = work.at_once() + work.invocations() * hop;
        let wanted = needs * MARGIN;
        let reserved = match work.route {
            Some(_) => keys::HTTP_CONCURRENCY.to_owned(),
            None => keys::reserved(work.name),
        };
        let gives = self.value(&reserved, quota::CONCURRENCY.value);
        let cure = Cure::Set { keys: vec![(reserved, wanted)], most: f64::INFINITY };
        self.add(work.name, &quota::RESERVED, needs, gives, cure, &work.says);
        let Some(step) = work.step.filter(|step| step.stream().is_none()) else { return };
        let cure = |keys, most| Cure::Set { keys, most };
        let (gives, cure) = match step.pollers {
            Some((_, most)) => {
                let key = keys::pollers_most(&step.name);
                let gives = self.value(&key, most.into()) * BATCHES_PER_POLLER;
                let limit = f64::from(*limits::POLLERS_MOST.end()) * BATCHES_PER_POLLER;
                (gives, cure(vec![(key, (wanted / BATCHES_PER_POLLER).max(2.0))], limit))
            }
            None => {
                let key = keys::concurrency(&step.name);
                let gives = self.value(&key, keys::concurrency_default(step).into());
                let limit = f64::from(*limits::MAXIMUM_CONCURRENCY.end());
                let (beyond, wanted) = (wanted, wanted.max(2.0).min(limit));
                // Beyond that, pollers that are kept work more.
                let is_beyond = needs > limit;
                let most = f64::from(*limits::POLLERS_MOST.end()) * BATCHES_PER_POLLER;
                let pollers = whole(beyond / BATCHES_PER_POLLER).min(u64::from(*limits::POLLERS_MOST.end()));
                let add = Cure::Add { what: format!(".provisioned_pollers(2, {pollers})"), most };
                (gives, if is_beyond { add } else { cure(vec![(key, wanted)], limit) })
            }
        };
        self.add(work.name, &quota::MAPPING, needs, gives, cure, &work.says);
    }

    /// Messages that follow each other: each row of them works one after the other.
    fn in_turn(&mut self, work: &Work<'_>) {
        let Some((key, gives, most)) = work.workload.in_turn.as_deref().and_then(|name| self.setting(name))
        else {
            return;
        };
        let hop = self.question.hop;
        let needs = work.messages * (work.time + hop.as_secs_f64());
        let assumes = format!("{}, and {hop:?} from one to the next", work.says);
        let cure = Cure::Set { keys: vec![(key, needs * MARGIN)], most };
        self.add(work.name, &quota::IN_TURN, needs, gives, cure, &assumes);
    }

    fn in_flight(&mut self, work: &Work<'_>) {
        let Some(step) = work.step.filter(|step| step.stream().is_none()) else { return };
        let needs = work.messages * (work.time + step.batch_window.as_secs_f64());
        let assumes = format!("{}, gathered for {:?}", work.says, step.batch_window);
        self.add(&step.queue, &quota::IN_FLIGHT, needs, quota::IN_FLIGHT.value, Cure::Ask, &assumes);
    }

    /// The account's invocations.
    fn account(&mut self, flow: &Flow<'_>) {
        let relayed = flow.relayed * flow.relay_time;
        let at_once: f64 = flow.works.iter().map(Work::at_once).sum::<f64>() + relayed;
        let assumes = "the times of all steps, and nothing else in the account";
        self.add("all functions", &quota::CONCURRENCY, at_once, quota::CONCURRENCY.value, Cure::Ask, assumes);
        let relays = flow.relayed / f64::from(keys::RELAY_BATCH);
        let invocations = flow.works.iter().map(Work::invocations).sum::<f64>() + relays;
        let assumes = "full batches";
        self.add(
            "all functions",
            &quota::INVOCATIONS,
            invocations,
            quota::INVOCATIONS.value,
            Cure::Ask,
            assumes,
        );
    }

    fn table(&mut self, table: &TableModel, units: &Units) {
        let name = &table.name;
        let assumes = "items of up to 1 KB, of which each has a key of its own";
        let (table_at, index_at) = (format!("table {name}"), format!("index of {name}"));
        let reads = (&quota::WARM_READS, &quota::TABLE_READS, table.warm.map(|warm| warm.reads));
        let writes = (&quota::WARM_WRITES, &quota::TABLE_WRITES, table.warm.map(|warm| warm.writes));
        let (of_table, of_index) = (keys::warm(name), keys::warm_index(name));
        let wanted = [
            (&table_at, writes, units.writes, of_table.1),
            (&table_at, reads, units.reads, of_table.0),
            (&index_at, writes, units.index_writes, of_index.1),
            (&index_at, reads, units.index_reads, of_index.0),
        ];
        for (at, (warm, account, said), needs, key) in wanted {
            if needs == 0.0 {
                continue;
            }
            let said = said.map(f64::from);
            let gives = self.value(&key, said.unwrap_or(warm.value));
            let cure = match said {
                Some(_) => Cure::Set { keys: vec![(key, needs * MARGIN)], most: f64::INFINITY },
                None => Cure::Add { what: ".warm(12_000, 4_000)".to_owned(), most: f64::INFINITY },
            };
            self.add(at, warm, needs, gives, cure, assumes);
            self.add(at, account, needs, account.value, Cure::Ask, assumes);
        }
        self.at_most(table, units);
        if let Some(Spread { setting, .. }) = &table.spread
            && let Some((key, places, most)) = self.setting(setting)
        {
            let each = quota::PARTITION_WRITES.value;
            let needs = units.index_writes / places;
            let cure = Cure::Set {
                keys: vec![(key, units.index_writes / each * MARGIN)],
                most: each * most / places,
            };
            let assumes = format!("{places} partitions; each that enters stands in the index once, 2 writes");
            self.add(&index_at, &quota::PARTITION_WRITES, needs, each, cure, &assumes);
        }
    }

    fn at_most(&mut self, table: &TableModel, units: &Units) {
        let Some(most) = table.at_most else { return };
        let (reads, writes) = keys::at_most(&table.name);
        let needs = [
            (reads, units.reads.max(units.index_reads), most.reads),
            (writes, units.writes.max(units.index_writes), most.writes),
        ];
        for (key, needs, most) in needs {
            let gives = self.value(&key, most.into());
            let cure = Cure::Set { keys: vec![(key, needs * MARGIN)], most: f64::INFINITY };
            self.add(
                &format!("table {}", table.name),
                &quota::AT_MOST,
                needs,
                gives,
                cure,
                "table or index, the larger",
            );
        }
    }

    /// Who reads a table's stream keeps up with it.
    fn stream(&mut self, table: &TableModel, units: &Units, flow: &Flow<'_>) {
        let partitions = (units.writes / quota::PARTITION_WRITES.value).ceil().max(PARTITIONS_MIN);
        let tables = f64::from(u32::try_from(self.model.tables.len()).unwrap_or(1)).max(1.0);
        let mut readers = Vec::new();
        if flow.relayed > 0.0 {
            // Which table a handler emits from is not declared.
            readers.push((
                RELAY,
                keys::factor(&table.name),
                flow.relayed * flow.relay_time,
                &flow.relay_says,
                tables,
            ));
        }
        for work in &flow.works {
            if work.step.is_some_and(|step| step.stream() == Some(&table.name)) {
                readers.push((work.name, keys::factor(work.name), work.at_once(), &work.says, 1.0));
            }
        }
        for (name, key, busy, says, of) in readers {
            let needs = busy / of / partitions * SKEW;
            let gives = self.value(&key, 1.0);
            let cure = Cure::Set { keys: vec![(key, (needs * MARGIN).min(FACTOR_MAX))], most: FACTOR_MAX };
            let shared = if of > 1.0 { format!("; {of} tables have as much to tell") } else { String::new() };
            let assumes = format!("{partitions} shards, the busiest with twice its part{shared}; {says}");
            self.add(name, &quota::STREAM, needs, gives, cure, &assumes);
        }
    }

    /// Puts under a prefix. A bucket that only a service uses is not counted: another service has none.
    fn buckets(&mut self, flow: &Flow<'_>) {
        for bucket in &self.model.buckets {
            let puts = |work: &&Work<'_>| {
                let uses = self.model.uses_of(work.name).and_then(|uses| uses.buckets().get(&bucket.name));
                uses.is_some_and(|uses| uses.contains(&crate::model::BucketUse::Put))
            };
            let writers = u32::try_from(flow.works.iter().filter(puts).count()).unwrap_or(u32::MAX);
            if writers == 0 {
                continue;
            }
            let puts = self.question.per_second * f64::from(writers);
            let each = quota::PREFIX.value;
            let at = format!("bucket {}", bucket.name);
            let spread = bucket.spread.as_ref().and_then(|spread| self.setting(&spread.setting));
            match spread {
                Some((key, places, most)) => {
                    let cure =
                        Cure::Set { keys: vec![(key, puts / each * MARGIN)], most: each * most / places };
                    let assumes = format!("{places} prefixes, each split by S3 within an hour of its load");
                    self.add(&at, &quota::PREFIX, puts / places, each, cure, &assumes);
                }
                None => {
                    let assumes = "one prefix: `spread_bucket` says of more";
                    self.add(&at, &quota::PREFIX, puts, each, Cure::Nothing, assumes);
                }
            }
        }
    }

    fn published(&mut self, flow: &Flow<'_>) {
        for (name, rate) in &flow.published {
            if self.model.bus(name).is_some() {
                let at = format!("event bus {name}");
                let calls = rate / EVENTS_PER_CALL;
                let assumes = "10 events a call, as the relay sends them";
                self.add(&at, &quota::PUT_EVENTS, calls, quota::PUT_EVENTS.value, Cure::Ask, assumes);
                let rules =
                    self.model.steps.iter().filter(|step| step.bus().is_some_and(|(bus, _)| bus == *name));
                let rules = u32::try_from(rules.count()).unwrap_or(u32::MAX);
                let assumes = format!("{rules} rules of ours");
                let needs = rate * f64::from(rules);
                self.add(&at, &quota::RULES, needs, quota::RULES.value, Cure::Ask, &assumes);
            } else {
                let at = format!("topic {name}");
                self.add(
                    &at,
                    &quota::PUBLISHED,
                    *rate,
                    quota::PUBLISHED.value,
                    Cure::Ask,
                    "a message an event",
                );
            }
        }
    }

    fn schedules(&mut self) {
        for schedule in &self.model.schedules {
            let assumes = "at most one a second; it does not grow with what enters";
            let at = format!("schedule {}", schedule.name);
            self.add(&at, &quota::SCHEDULER, 1.0, quota::SCHEDULER.value, Cure::Ask, assumes);
        }
    }
}

/// The next whole number.
fn whole(number: f64) -> u64 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // It saturates.
    let whole = number.ceil() as u64;
    whole
}
