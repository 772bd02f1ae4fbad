//! `dlq redrive --plan FILE`: sends back what a plan names, and keeps a record of it, by which it goes on where it was broken off.

use super::{give_back, interrupted, plan};
use crate::{
    App,
    access::Access,
    args::DlqRedrive,
    client::Client,
    error::CommandError,
    print::{Progress, line},
    target::Place,
};
use quadrille::{
    Timestamp, excerpt,
    operator::{LetterResult, Planned, QueueStatus, RedriveAsk, Redriving, Wanted},
    port::{Clock as _, SystemClock},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// Letters a second, each for a second, where nobody says how many: a mistake is seen before much is sent.
const RAMP: [u32; 7] = [1, 2, 5, 10, 20, 50, 100];

/// Letters that one request names: a queue of SQS gives them in no order.
const NAMED_MAX: usize = 500;

/// Of fewer letters than these no share is told.
const SHARE_OF_MIN: u64 = 20;

/// How long it is waited for letters that somebody else looks at, or did until it was broken off.
const HIDDEN: Duration = Duration::from_secs(35);

/// How long before they are looked for again.
const HIDDEN_LOOK: Duration = Duration::from_millis(500);

/// Requests in a row that find nothing of the plan, before what is left of it counts as missing: each looks at 500 letters.
const FRUITLESS_MAX: u64 = 2;

/// How long it is waited at the end for letters that fail again.
const AFTERWARDS: Duration = Duration::from_secs(2);

/// A line of the record.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Record {
    /// Somebody has begun, or gone on.
    Begun { at: Timestamp, by: String, why: String, letters: usize },
    /// These are about to be sent.
    Sending { queue: String, ids: Vec<String> },
    /// What became of one.
    Letter {
        at: Timestamp,
        queue: String,
        id: String,
        #[serde(flatten)]
        result: LetterResult,
        /// The body that was sent in place of the letter's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        body: Option<String>,
    },
}

/// What was done so far, as the record tells.
#[derive(Default)]
struct Done {
    /// Letters with a result, by queue and id.
    results: BTreeSet<(String, String)>,
    /// Letters that were to be sent when it was broken off.
    unsure: BTreeSet<(String, String)>,
}

impl Done {
    /// By the lines of a record. Only the last request of a run can have had no answer: behind an answer stands the next request, and
    /// what that named before, and has no result, was not sent.
    fn read(lines: impl BufRead) -> std::io::Result<Self> {
        let (mut done, mut named) = (Self::default(), BTreeSet::new());
        for text in lines.lines() {
            // The last line may be cut off.
            match serde_json::from_str(&text?) {
                Err(_) => {}
                Ok(Record::Begun { .. }) => done.unsure.append(&mut named),
                Ok(Record::Sending { queue, ids }) => {
                    named = ids.into_iter().map(|id| (queue.clone(), id)).collect();
                }
                Ok(Record::Letter { queue, id, result, .. }) => {
                    let key = (queue, id);
                    done.unsure.remove(&key);
                    named.remove(&key);
                    if result == LetterResult::Sent {
                        done.results.insert(key);
                    }
                }
            }
        }
        done.unsure.append(&mut named);
        Ok(done)
    }
}

/// Sends back what a plan names.
pub(super) async fn redrive(app: &App<'_>, args: DlqRedrive, file: PathBuf) -> Result<(), CommandError> {
    let (_, mut letters) = plan::read(app, &file)?;
    let is_chosen = |letter: &Planned| args.outcome.iter().any(|word| word == letter.trial.word());
    letters.retain(|letter| args.outcome.is_empty() || is_chosen(letter));
    let target = &args.walk.options.target;
    let client = Client::open(app, target, Access::Changes).await?;
    let mut record = Recorder::open(&record_of(&file))?;
    let by = args.by.clone().or_else(|| std::env::var("USER").ok()).unwrap_or_default();
    record.add(&Record::Begun {
        at: SystemClock.now(),
        by: by.clone(),
        why: args.why.clone(),
        letters: letters.len(),
    })?;
    // One machine sends and deletes in one write: what is still there was not sent.
    let is_exact = target.place == Place::Local;
    let mut told = Told { planned: letters.len() as u64, ..Told::default() };
    let mut waiting: BTreeMap<String, Vec<Planned>> = BTreeMap::new();
    for letter in letters {
        let key = (letter.queue.clone(), letter.id.clone());
        let times = letter.letter.redriven.as_ref().map_or(0, |redriven| redriven.times);
        if record.done.results.contains(&key) {
            told.earlier += 1;
        } else if record.done.unsure.contains(&key) && !is_exact {
            told.unsure += 1;
        } else if times >= args.quarantine_after {
            told.quarantined += 1;
        } else {
            waiting.entry(letter.queue.clone()).or_default().push(letter);
        }
    }
    let mut sending =
        Sending { args: &args, by, client: &client, record, told, ramp: Ramp::new(args.walk.rate), is_exact };
    let mut interrupted = interrupted()?;
    let mut sent = Ok(());
    for (queue, letters) in waiting {
        sent = sending.queue(&queue, letters, &mut interrupted).await;
        if sent.is_err() {
            break;
        }
    }
    let Sending { told, .. } = sending;
    told.print(target.json);
    sent?;
    match told.failed {
        0 => Ok(()),
        failed => Err(CommandError::Failed(format!(
            "{failed} letter(s) could not be sent, and stay where they are"
        ))),
    }
}

/// The record of a plan stands beside it.
fn record_of(plan: &Path) -> PathBuf {
    let mut name = plan.as_os_str().to_owned();
    name.push(".record");
    PathBuf::from(name)
}

/// What is told at the end.
#[derive(Clone, Debug, Default)]
struct Told {
    planned: u64,
    sent: u64,
    earlier: u64,
    failed: u64,
    left: u64,
    missing: u64,
    quarantined: u64,
    unsure: u64,
    dead_again: u64,
}

impl Told {
    fn print(&self, json: bool) {
        let Self { planned, sent, earlier, failed, left, missing, quarantined, unsure, dead_again } = *self;
        if json {
            line(
                json!({ "planned": planned, "sent": sent, "sent_before": earlier, "failed": failed, "left": left,
                "missing": missing, "quarantined": quarantined, "unsure": unsure, "dead_again": dead_again }),
            );
            return;
        }
        line(format_args!("{sent} of {planned} letter(s) sent back"));
        let others = [
            (earlier, "done by an earlier run of this plan"),
            (failed, "could not be sent, and stay"),
            (left, "are other letters than were planned, or damaged, and stay"),
            (missing, "are no longer there"),
            (quarantined, "were sent back too often, and stay: --quarantine-after"),
            (unsure, "may have been sent when it was broken off, and stay: a look at their entities tells"),
            (dead_again, "dead letter(s) came meanwhile"),
        ];
        others
            .iter()
            .filter(|(count, _)| *count > 0)
            .for_each(|(count, what)| line(format_args!("{count} {what}")));
    }
}

/// How many are sent in which second.
struct Ramp {
    rate: Option<u32>,
    /// How long was sent, at the rates that there were.
    time: Duration,
}

impl Ramp {
    fn new(rate: Option<u32>) -> Self {
        Self { rate, time: Duration::ZERO }
    }

    /// How many may be sent in a second now.
    fn rate(&self) -> u32 {
        let second = usize::try_from(self.time.as_secs()).unwrap_or(usize::MAX);
        let rate = RAMP.get(second).or(RAMP.last()).copied().unwrap_or(1);
        self.rate.unwrap_or(rate).max(1)
    }

    /// How long so many take at the rate of now, which is a second at most: SQS gives few letters to a request.
    fn take(&mut self, letters: usize) -> Duration {
        let rate = self.rate();
        let letters = u32::try_from(letters).unwrap_or(rate).min(rate);
        let time = Duration::from_secs(1) * letters / rate;
        self.time += time;
        time
    }
}

struct Sending<'a> {
    args: &'a DlqRedrive,
    by: String,
    client: &'a Client,
    record: Recorder,
    told: Told,
    ramp: Ramp,
    /// One machine looks at just the letters that are named, and sends and deletes in one write.
    is_exact: bool,
}

impl Sending<'_> {
    /// Sends the letters of one queue, a part a second.
    async fn queue(
        &mut self,
        queue: &str,
        letters: Vec<Planned>,
        interrupted: &mut watch::Receiver<bool>,
    ) -> Result<(), CommandError> {
        let mut waiting: Vec<Planned> = letters;
        // The first of them first.
        waiting.reverse();
        let before = self.dead(queue).await?;
        let (sent_before, progress) = (self.told.sent, Progress::new());
        let (mut passed_over, mut fruitless, mut idle_since) = (Vec::new(), 0, Instant::now());
        let mut outcome = Ok(());
        // Where a queue shows its messages, each look is at all that are named.
        let others = if self.is_exact { 0 } else { before / 500 };
        while !waiting.is_empty() && fruitless < FRUITLESS_MAX + others {
            let began = Instant::now();
            let rate = self.ramp.rate();
            let step = self.part(queue, &mut waiting, usize::try_from(rate).unwrap_or(1)).await;
            let Redriving { results, done, passed_over: over, hidden } = match step {
                Ok(step) => step,
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            };
            passed_over.extend(over);
            if results.is_empty() {
                let is_hidden = hidden > 0 && idle_since.elapsed() < HIDDEN;
                fruitless += u64::from(!is_hidden);
                tokio::time::sleep(HIDDEN_LOOK).await;
            } else {
                (fruitless, idle_since) = (0, Instant::now());
            }
            // All was looked at. It is shown again, and looked for once more.
            if done {
                give_back(self.client, queue, &std::mem::take(&mut passed_over)).await?;
            }
            outcome = self.goes_on(queue, before, sent_before, &progress).await;
            if outcome.is_err() {
                break;
            }
            if *interrupted.borrow() {
                let text = "interrupted: the same command goes on where this ends".to_owned();
                outcome = Err(CommandError::Failed(text));
                break;
            }
            let due = self.ramp.take(results.len());
            if !waiting.is_empty() && !due.is_zero() {
                tokio::select! {
                    () = tokio::time::sleep(due.saturating_sub(began.elapsed())) => {}
                    _ = interrupted.wait_for(|is| *is) => {}
                }
            }
        }
        progress.clear();
        let given_back = give_back(self.client, queue, &passed_over).await;
        if outcome.is_ok() {
            self.told.missing += waiting.len() as u64;
            self.afterwards(queue, before, sent_before).await?;
        }
        outcome.and(given_back)
    }

    /// Shows how far it is; an error where too many letters have failed again.
    async fn goes_on(
        &mut self,
        queue: &str,
        before: u64,
        sent_before: u64,
        progress: &Progress,
    ) -> Result<(), CommandError> {
        let sent = self.told.sent - sent_before;
        let again = (self.dead(queue).await? + sent).saturating_sub(before);
        self.told.dead_again = self.told.dead_again.max(again);
        let (all, planned) = (self.told.sent, self.told.planned);
        progress.show(format_args!("{all} of {planned} sent, {again} dead letters came meanwhile"));
        match self.args.stop_at {
            Some(share) if again * 100 > u64::from(share) * sent.max(SHARE_OF_MIN) => {
                let text = format!(
                    "stopped: of {sent} letters {again} failed again; the same command goes on where this ends"
                );
                Err(CommandError::Failed(text))
            }
            _ => Ok(()),
        }
    }

    /// Sends at most so many, and writes down what became of them.
    async fn part(
        &mut self,
        queue: &str,
        waiting: &mut Vec<Planned>,
        limit: usize,
    ) -> Result<Redriving, CommandError> {
        let named = waiting.iter().rev().take(NAMED_MAX);
        let wanted = |letter: &Planned| {
            (letter.id.clone(), Wanted { content: letter.content.clone(), body: letter.body.clone() })
        };
        let letters: BTreeMap<String, Wanted> = named.map(wanted).collect();
        let ids = letters.keys().cloned().collect();
        self.record.add(&Record::Sending { queue: queue.to_owned(), ids })?;
        let ask = RedriveAsk {
            queue: queue.to_owned(),
            letters,
            limit,
            to: self.args.to.clone(),
            by: self.by.clone(),
            why: self.args.why.clone(),
        };
        let step: Redriving = self.client.post("/_quadrille/redrive-planned", &ask).await?;
        for (id, result) in &step.results {
            match result {
                LetterResult::Sent => self.told.sent += 1,
                LetterResult::Failed { .. } => self.told.failed += 1,
                LetterResult::Left { .. } => self.told.left += 1,
            }
            let body = ask.letters.get(id).and_then(|wanted| wanted.body.clone());
            let (at, queue) = (SystemClock.now(), queue.to_owned());
            self.record.add(&Record::Letter { at, queue, id: id.clone(), result: result.clone(), body })?;
        }
        waiting.retain(|letter| !step.results.contains_key(&letter.id));
        Ok(step)
    }

    /// Waits a moment for what fails again.
    async fn afterwards(&mut self, queue: &str, before: u64, sent_before: u64) -> Result<(), CommandError> {
        let sent = self.told.sent - sent_before;
        let end = Instant::now() + AFTERWARDS;
        while sent > 0 && Instant::now() < end {
            let again = (self.dead(queue).await? + sent).saturating_sub(before);
            self.told.dead_again = self.told.dead_again.max(again);
            if again >= sent {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }

    /// How many letters the dead-letter queue holds.
    async fn dead(&self, queue: &str) -> Result<u64, CommandError> {
        let queues: Vec<QueueStatus> = self.client.get("/_quadrille/queues").await?;
        let of = queues.iter().find(|status| status.dead_letter_queue == queue);
        Ok(of.map_or(0, |status| status.dead))
    }
}

/// The file that tells what was done.
struct Recorder {
    file: File,
    name: String,
    done: Done,
}

impl Recorder {
    fn open(path: &Path) -> Result<Self, CommandError> {
        let name = path.display().to_string();
        let done = if path.exists() {
            let read = File::open(path).map_err(CommandError::io(name.clone()))?;
            Done::read(BufReader::new(read)).map_err(CommandError::io(name.clone()))?
        } else {
            Done::default()
        };
        let mut options = OpenOptions::new();
        let file = options.create(true).append(true).open(path).map_err(CommandError::io(name.clone()))?;
        Ok(Self { file, name, done })
    }

    /// Written before anything else is done.
    fn add(&mut self, record: &Record) -> Result<(), CommandError> {
        let text = serde_json::to_string(record)?;
        let written = writeln!(self.file, "{text}").and_then(|()| self.file.sync_data());
        written.map_err(CommandError::io(excerpt(&self.name, 300)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_last_request_of_a_run_named_is_unsure() {
        let at = Timestamp::from_millis(0);
        let begun = || Record::Begun { at, by: String::new(), why: String::new(), letters: 5 };
        let sending = |ids: &[&str]| Record::Sending {
            queue: "dead".to_owned(),
            ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        };
        let sent = |id: &str| Record::Letter {
            at,
            queue: "dead".to_owned(),
            id: id.to_owned(),
            result: LetterResult::Sent,
            body: None,
        };
        let read = |records: &[Record]| {
            let lines = records.iter().map(|record| serde_json::to_string(record).unwrap() + "\n");
            let text = lines.collect::<String>() + "{\"letter\":{\"at\"";
            let Done { results, unsure } = Done::read(text.as_bytes()).unwrap();
            let ids = |keys: BTreeSet<(String, String)>| {
                keys.into_iter().map(|(_, id)| id).collect::<Vec<_>>().join(" ")
            };
            (ids(results), ids(unsure))
        };
        let told = |results: &str, unsure: &str| (results.to_owned(), unsure.to_owned());
        // The first request met one of three; the second had no answer, or part of it was written down.
        let killed = [begun(), sending(&["1", "2", "3"]), sent("1"), sending(&["2", "3"])];
        assert_eq!(read(&killed[..3]), told("1", "2 3"));
        assert_eq!(read(&killed), told("1", "2 3"));
        let third = [sending(&["2"]), sent("2"), sending(&["3"])];
        assert_eq!(read(&[&killed[..3], &third[..]].concat()), told("1 2", "3"));
        // What an earlier run left unsure stays so, whatever the next one sends.
        let again = [begun(), sending(&["4", "5"]), sent("4"), sending(&["5"]), sent("5")];
        assert_eq!(read(&[&killed[..], &again[..]].concat()), told("1 4 5", "2 3"));
    }

    #[test]
    fn each_rate_of_the_ramp_lasts_for_a_second_however_few_letters_a_request_meets() {
        let mut ramp = Ramp::new(None);
        let mut rates = Vec::new();
        // SQS gives at most ten.
        for _ in 0..40 {
            let rate = ramp.rate();
            rates.push(rate);
            ramp.take(usize::try_from(rate).unwrap().min(10));
        }
        rates.dedup();
        assert_eq!(rates, RAMP);
        assert_eq!(rates.len(), 7);
        let at = |rate| ramp_at(rate).as_millis();
        assert_eq!((at(20), at(50), at(100)), (4_000, 5_000, 6_000));
        let mut steady = Ramp::new(Some(500));
        assert_eq!((steady.rate(), steady.take(50)), (500, Duration::from_millis(100)));
        assert_eq!((steady.take(0), steady.take(9_000)), (Duration::ZERO, Duration::from_secs(1)));
    }

    /// When the ramp comes to a rate, where each request meets ten letters at most.
    fn ramp_at(wanted: u32) -> Duration {
        let mut ramp = Ramp::new(None);
        while ramp.rate() != wanted {
            ramp.take(usize::try_from(ramp.rate()).unwrap().min(10));
        }
        ramp.time
    }
}
