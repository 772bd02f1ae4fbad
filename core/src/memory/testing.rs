//! What a test does with a choreography in memory besides running it: what was there before, what comes in, what came of it.

use super::Memory;
use crate::{
    choreography::Choreography,
    commit::{Carried, Stamp},
    dead_letter::DeadLetter,
    engine::Engine,
    entity::{Entity, key_of},
    event::{Envelope, Event},
    failure::Failure,
    metrics::Meter,
    pipeline::Pipeline,
    port::{Damage, Queue as _, StreamRecord, Table},
    relay,
    setting::{Place, SettingError, SettingErrors, SettingModel, Settings},
    stored::Stored,
};
use serde_json::value::to_raw_value;
use std::sync::{Arc, atomic::Ordering};

/// Who put an entity there, as its trail tells it.
const STEP: &str = "test";

/// Dead letters looked at in one call of their queue.
const PAGE: usize = 1_000;

impl Memory {
    /// Runs `choreography` on it: with the services that its definition makes and the settings' defaults, as on AWS. `said` are
    /// the settings that are to differ, by name.
    ///
    /// # Errors
    /// [`SettingErrors`]: a setting that has no default and is not said, one that is said and not there, or a service that
    /// can't be made.
    pub fn start(&self, choreography: Choreography, said: &[(&str, &str)]) -> Result<Engine, SettingErrors> {
        let is_declared = |name: &str| self.model.settings.iter().any(|setting| setting.name == name);
        if let Some((name, _)) = said.iter().find(|(name, _)| !is_declared(name)) {
            return Err(SettingError::Undeclared((*name).to_owned()).into());
        }
        let value = |setting: &SettingModel| {
            let found = said.iter().find(|(name, _)| *name == setting.name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let settings = Settings::read(Place::Function, &self.model.settings, value)?;
        let ports = choreography.equip(self.ports(), settings)?;
        Ok(Engine::start(Pipeline::new(choreography, ports)))
    }

    /// The entity of this id, `None` where there is none or it has expired.
    ///
    /// # Errors
    /// A permanent [`Failure`]: `no_table` where no table holds `E`, `unreadable_entity`.
    pub async fn get<E: Entity>(&self, id: &str) -> Result<Option<Stored<E>>, Failure> {
        let now = self.ports.clock.now();
        let items = self.table_of::<E>()?.get(&[key_of::<E>(id)]).await?;
        let item = items.into_iter().flatten().next();
        let live = item.filter(|item| item.expires_at.is_none_or(|at| at > now));
        live.as_ref().map(Stored::read).transpose()
    }

    /// Puts an entity into its table, as a commit that creates it would: it is at version 1 and has emitted nothing.
    ///
    /// # Errors
    /// A [`Failure`]: `no_table` where no table holds `E`; `not_put` where there is an entity of this id already, or the table
    /// does not take this one.
    pub async fn put<E: Entity>(&self, entity: E) -> Result<(), Failure> {
        let stamp = Stamp {
            now: self.ports.clock.now(),
            choreography: &self.model.name,
            step: STEP,
            attempt: 1,
            correlation_id: None,
            traceparent: None,
            called: None,
            redriven: None,
        };
        let commit = Stored::new(entity).commit::<()>("put by a test").into_pending();
        let write = commit.into_write(&stamp, |_| Carried::default())?;
        let key = write.item.key.clone();
        let answers = self.table_of::<E>()?.commit(vec![write]).await;
        let put = answers.into_iter().collect::<Result<(), _>>();
        put.map_err(|error| Failure::permanent("not_put", format_args!("{key}: {error}")))
    }

    /// Sends an event to its consumers, as if a commit had emitted it now: to the queue of each, or through its topic. It
    /// begins a flow of its own, and has a fresh budget where it goes to a step on a cycle.
    ///
    /// # Errors
    /// A [`Failure`]: `no_consumer` where nobody consumes it, `unwritable`, or that of a queue or topic that does not take it.
    pub async fn send<E: Event>(&self, event: E) -> Result<(), Failure> {
        if self.model.destinations(E::TYPE).is_empty() {
            let detail = format_args!("no step of {} consumes {}", self.model.name, E::TYPE);
            return Err(Failure::permanent("no_consumer", detail));
        }
        let now = self.ports.clock.now();
        let sequence = self.sent.fetch_add(1, Ordering::Relaxed);
        let (key, source) = (format!("{STEP}/{sequence}"), format!("/{}/{STEP}", self.model.name));
        let mut envelope = Envelope::first(key.clone(), source, now, event);
        // No step of this name is on a cycle: the event enters the one it goes to.
        let carried = self.model.carried(STEP, Carried::default(), E::TYPE, now);
        (envelope.deadline, envelope.hops) = (carried.deadline, carried.hops);
        let outbox = vec![to_raw_value(&envelope).map_err(|error| Failure::permanent("unwritable", error))?];
        let record = StreamRecord { sequence, key, version: 1, outbox: Ok(outbox) };
        let sent = relay::forward(&self.model, &self.ports, &[record], &Meter::default(), |_| true).await;
        sent.map_err(|(_, failure)| failure)
    }

    /// From now on, each message that is sent to a step's queue arrives twice: a handler has to find in its entity that it has
    /// handled a message before. Dead letters and what a route answers stay as they are.
    pub fn deliver_twice(&self) {
        for queue in self.model.steps.iter().filter_map(|step| self.queues.get(&step.queue)) {
            queue.deliver_twice();
        }
    }

    /// Damages one thing that is stored, so that it can't be read; false where it is not there.
    pub fn damage(&self, damage: Damage<'_>) -> bool {
        match damage {
            Damage::Item { table, key } => self.tables.get(table).is_some_and(|table| table.damage_item(key)),
            Damage::Record { table, key } => {
                self.tables.get(table).is_some_and(|table| table.damage_record(key))
            }
            Damage::Message { queue, body } => self.queues.get(queue).is_some_and(|queue| queue.damage(body)),
        }
    }

    /// The dead letters of a step's queue in the order in which they were given up: each event, and why.
    ///
    /// # Errors
    /// A permanent [`Failure`]: `no_dead_letters` where `queue` is none with a dead-letter queue; `malformed` or
    /// `unexpected_event` for a letter that does not hold an `E`.
    pub async fn dead_letters<E: Event>(&self, queue: &str) -> Result<Vec<(E, DeadLetter)>, Failure> {
        let redrive = self.model.queue(queue).and_then(|queue| queue.redrive.as_ref());
        let dead_letters = redrive.and_then(|redrive| self.queues.get(&redrive.dead_letter_queue));
        let none = || {
            Failure::permanent(
                "no_dead_letters",
                format_args!("no queue named {queue:?} has a dead-letter queue"),
            )
        };
        let dead_letters = dead_letters.ok_or_else(none)?;
        let (mut letters, mut after) = (Vec::new(), 0);
        loop {
            let page = dead_letters.arrived(after, PAGE).await?;
            let Some((last, _)) = page.last() else {
                return Ok(letters);
            };
            after = *last;
            for (_, message) in &page {
                let event = Envelope::parse(&message.body)?.data_as()?;
                letters.push((event, DeadLetter::read(message)));
            }
        }
    }

    /// What was published to a topic or a bus for others, of the type `E`, in its order.
    ///
    /// # Errors
    /// A permanent [`Failure`]: `no_outlet` where no event leaves the choreography by that name; `malformed` for one that can't
    /// be read.
    pub async fn published<E: Event>(&self, outlet: &str) -> Result<Vec<E>, Failure> {
        let none = || {
            Failure::permanent(
                "no_outlet",
                format_args!("no event leaves by a topic or bus named {outlet:?}"),
            )
        };
        let kept = self.ports.published.get(outlet).ok_or_else(none)?;
        let (mut events, mut after) = (Vec::new(), 0);
        loop {
            let page = kept.arrived(after, PAGE).await?;
            let Some((last, _)) = page.last() else {
                return Ok(events);
            };
            after = *last;
            for (_, message) in &page {
                let envelope = Envelope::parse(&message.body)?;
                if envelope.event_type == E::TYPE {
                    events.push(envelope.data_as()?);
                }
            }
        }
    }

    fn table_of<E: Entity>(&self) -> Result<&Arc<dyn Table>, Failure> {
        let none = || {
            let detail = format_args!("no table of {} holds entities of kind {:?}", self.model.name, E::KIND);
            Failure::permanent("no_table", detail)
        };
        let name = self.model.table_of(E::KIND).ok_or_else(none)?;
        Ok(self.ports.table(name)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        choreography::{Choreography, Consumer, Table},
        commit::Outcome,
        context::Context,
        engine::Engine,
        memory::VirtualClock,
        model::Uses,
        pipeline::Pipeline,
        port::{Clock as _, SeededRandom},
        setting::Setting,
        timestamp::Timestamp,
    };
    use serde::{Deserialize, Serialize};
    use std::time::Duration;

    #[derive(Serialize, Deserialize)]
    struct Cup {
        guest: String,
        sips: u32,
    }

    impl Entity for Cup {
        const KIND: &'static str = "cup";

        fn id(&self) -> std::borrow::Cow<'_, str> {
            self.guest.as_str().into()
        }

        fn expires_at(&self) -> Option<Timestamp> {
            (self.guest == "late").then(|| Timestamp::from_millis(1_000))
        }
    }

    #[derive(Serialize, Deserialize)]
    struct Saucer {
        guest: String,
    }
    crate::entity!(Saucer: "saucer", by guest);

    #[derive(Serialize, Deserialize)]
    struct Sip {
        guest: String,
    }
    crate::event!(Sip: "sip", to Cup by guest);

    #[derive(Serialize, Deserialize)]
    struct Chime {}
    crate::event!(Chime: "chime", to nobody);

    #[derive(Serialize, Deserialize)]
    struct Spill {}
    crate::event!(Spill: "spill", to nobody);

    async fn sip(mut cup: Stored<Cup>, _: Sip, _: Context<()>) -> Outcome<()> {
        cup.sips += 1;
        Ok(cup.commit("sipped").into())
    }

    async fn chime(_: Chime, cx: Context<(Sip,)>) -> Outcome<(Sip,)> {
        Err(Failure::permanent("broken_bell", format_args!("attempt {}", cx.attempt())))
    }

    fn memory() -> (Memory, Arc<VirtualClock>, Choreography) {
        let party = Choreography::define("party")
            .table(Table::new("cups").holds::<Cup>())
            .topic("bell")
            .schedule("hour", Duration::from_secs(3_600), |_| Chime {})
            .on(Consumer::new("sip", sip))
            .on(Consumer::new("chime", chime))
            .build()
            .unwrap();
        let clock = Arc::new(VirtualClock::new(Timestamp::from_millis(1_000)));
        let memory = Memory::new(party.model(), clock.clone(), Arc::new(SeededRandom::new(1)));
        (memory, clock, party)
    }

    fn cup(guest: &str) -> Cup {
        Cup { guest: guest.to_owned(), sips: 0 }
    }

    #[tokio::test]
    async fn what_is_put_is_found_until_it_expires_and_nothing_is_put_over_it() {
        let (memory, ..) = memory();
        memory.put(cup("anna")).await.unwrap();
        memory.put(cup("late")).await.unwrap();
        let found = memory.get::<Cup>("anna").await.unwrap().unwrap();
        assert_eq!((found.version(), found.trail().entries[0].what.as_ref()), (1, "put by a test"));
        assert!(memory.get::<Cup>("late").await.unwrap().is_none());
        assert!(memory.get::<Cup>("nobody").await.unwrap().is_none());
        assert_eq!(memory.put(cup("anna")).await.unwrap_err().reason(), "not_put");
        assert_eq!(memory.put(Saucer { guest: "anna".into() }).await.unwrap_err().reason(), "no_table");
    }

    #[tokio::test]
    async fn each_message_is_delivered_as_often_as_the_test_asks_for() {
        for (twice, sips) in [(false, 1), (true, 2)] {
            let (memory, clock, party) = memory();
            memory.put(cup("anna")).await.unwrap();
            if twice {
                memory.deliver_twice();
            }
            let engine = Engine::start(Pipeline::new(party, memory.ports()));
            memory.send(Sip { guest: "anna".into() }).await.unwrap();
            clock.pass(Duration::from_secs(1)).await;
            assert_eq!(memory.get::<Cup>("anna").await.unwrap().unwrap().sips, sips);
            engine.stop().await;
        }
    }

    #[tokio::test]
    async fn a_choreography_starts_with_its_settings_defaults_and_those_that_are_said() {
        async fn pour(mut cup: Stored<Cup>, _: Sip, cx: Context<()>) -> Outcome<()> {
            cup.sips = u32::try_from(cx.setting::<u64>("sips")?).unwrap();
            Ok(cup.commit("poured").into())
        }
        let bar = || {
            let sips = Setting::integer("sips").default("4").default_locally("1");
            Choreography::define("bar")
                .table(Table::new("cups").holds::<Cup>())
                .setting(sips)
                .schedule("hour", Duration::from_secs(3_600), |_| Sip { guest: "anna".into() })
                .on(Consumer::new("pour", pour).uses(Uses::new().setting("sips")))
                .build()
                .unwrap()
        };
        for (said, sips) in [(&[][..], 4), (&[("sips", "9")], 9)] {
            let clock = Arc::new(VirtualClock::new(Timestamp::from_millis(1_000)));
            let memory = Memory::new(bar().model(), clock.clone(), Arc::new(SeededRandom::new(1)));
            memory.put(cup("anna")).await.unwrap();
            let engine = memory.start(bar(), said).unwrap();
            memory.send(Sip { guest: "anna".into() }).await.unwrap();
            clock.pass(Duration::from_secs(1)).await;
            assert_eq!(memory.get::<Cup>("anna").await.unwrap().unwrap().sips, sips);
            engine.stop().await;
        }
        let (memory, ..) = memory();
        assert!(memory.start(bar(), &[("sipps", "9")]).is_err());
    }

    #[tokio::test]
    async fn dead_letters_are_read_as_the_events_they_were() {
        let (memory, clock, party) = memory();
        let engine = Engine::start(Pipeline::new(party, memory.ports()));
        memory.send(Chime {}).await.unwrap();
        memory.send(Chime {}).await.unwrap();
        let given_up = clock.now();
        clock.pass(Duration::from_secs(1)).await;
        let letters = memory.dead_letters::<Chime>("chime").await.unwrap();
        assert_eq!(letters.len(), 2);
        assert_eq!((letters[0].1.reason.as_str(), letters[0].1.dead_at), ("broken_bell", given_up));
        assert_ne!(letters[0].1.correlation_id, letters[1].1.correlation_id);
        assert_eq!(memory.dead_letters::<Sip>("chime").await.err().unwrap().reason(), "unexpected_event");
        assert_eq!(memory.dead_letters::<Sip>("bell").await.err().unwrap().reason(), "no_dead_letters");
        assert!(memory.dead_letters::<Sip>("sip").await.unwrap().is_empty());
        assert_eq!(memory.send(Spill {}).await.unwrap_err().reason(), "no_consumer");
        engine.stop().await;
    }
}
