//! Alarms of a simulation: who watches the dead-letter queues, and whoever is told.

use super::{executor::TaskFuture, fault::Fault, ports::Nature, strikes::Place};
use crate::{
    alarm::{AlarmPolicy, Alert, Telling, Told, Watch},
    failure::Failure,
    model::{AlarmModel, Model},
    notify::{NOTIFY, Notifier},
    port::{NewMessage, PortError, Ports},
};
use async_trait::async_trait;
use std::{future::pending, sync::Arc, time::Duration};
use tokio::sync::watch;

/// The longest that a notification comes late, in seconds.
const LATE_MAX: u64 = 3_600;

/// The process that watches the queue of an alarm, over these ports; `None` where there is no such queue.
pub(super) fn watching(
    nature: &Arc<Nature>,
    name: &str,
    alarm: &AlarmModel,
    ports: &Ports,
) -> Option<TaskFuture> {
    let changes = nature.memory.watched(&alarm.dead_letter_queue)?;
    let telling = SimTelling {
        nature: Arc::clone(nature),
        place: nature.faults.place(name),
        alarm: alarm.clone(),
        changes,
    };
    let watch = Watch {
        choreography: nature.ledger.model().name.clone(),
        name: alarm.dead_letter_queue.clone(),
        queue: Arc::clone(ports.queue(&alarm.dead_letter_queue).ok()?),
        telling: Arc::new(telling),
        clock: Arc::clone(&ports.clock),
        policy: AlarmPolicy::default(),
    };
    Some(Box::pin(async move { watch.run(pending()).await }))
}

/// Whether what an alarm says ends at the one that is told in a simulation.
fn is_notified(model: &Model, alarm: &AlarmModel) -> bool {
    model.step(NOTIFY).is_some_and(|step| step.topic() == Some(&alarm.topic))
}

struct SimTelling {
    nature: Arc<Nature>,
    place: Arc<Place>,
    alarm: AlarmModel,
    changes: watch::Receiver<u64>,
}

#[async_trait]
impl Telling for SimTelling {
    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    async fn told(&self) -> Result<Told, PortError> {
        self.nature.pause(&self.place).await;
        Ok(self.nature.alarms().get(&self.alarm.dead_letter_queue).copied().unwrap_or_default())
    }

    async fn tell(&self, told: Told, body: String) -> Result<(), PortError> {
        let (nature, place, queue) = (&self.nature, &self.place, &self.alarm.dead_letter_queue);
        nature.pause(place).await;
        if nature.strikes(Fault::Throttled, place) {
            return Err(PortError::transient(&self.alarm.topic, "simulated: throttled"));
        }
        let topic = nature.memory.ports_ref().topic(&self.alarm.topic)?;
        let message = NewMessage { body: body.clone(), ..NewMessage::default() };
        let times = if nature.strikes(Fault::Duplicate, place) { 2 } else { 1 };
        for _ in 0..times {
            let is_late = nature.strikes(Fault::Late, place);
            let by = if is_late { nature.faults.amount(Fault::Late, LATE_MAX) } else { 0 };
            nature.memory.deliver_late(Duration::from_secs(by));
            let sent = topic.publish(vec![message.clone()]).await;
            nature.memory.deliver_late(Duration::ZERO);
            sent.into_iter().collect::<Result<(), PortError>>()?;
        }
        nature.trace.tell(nature.now(), &[&place.name, "told", &told.place.to_string()]);
        let is_notified = is_notified(nature.ledger.model(), &self.alarm);
        nature.ledger.sent(&place.name, &body);
        nature.ledger.alerted(queue, told.place, &body, is_notified);
        nature.alarms().insert(queue.clone(), told);
        nature.pause(place).await;
        Ok(())
    }
}

/// A dead letter that stays, and that no notification has told of.
pub(super) fn untold_letter(nature: &Nature) -> Option<String> {
    let alarms = nature.alarms();
    nature.ledger.model().alarms.iter().find_map(|alarm| {
        let queue = nature.memory.ports_ref().queues.get(&alarm.dead_letter_queue)?;
        let told = alarms.get(&alarm.dead_letter_queue).map_or(0, |told| told.place);
        let letters = super::world::at_once(queue.arrived(told, 1))?;
        let (_, letter) = letters.first()?;
        Some(format!("nobody was told of a letter in {}: {}", alarm.dead_letter_queue, letter.body))
    })
}

/// Whoever is told of alarms, as a process reaches them.
pub(super) struct SimNotifier {
    pub(super) nature: Arc<Nature>,
    pub(super) place: Arc<Place>,
}

#[async_trait]
impl Notifier for SimNotifier {
    async fn notify(&self, alert: &Alert) -> Result<(), Failure> {
        let (nature, place) = (&self.nature, &self.place);
        nature.pause(place).await;
        if nature.strikes(Fault::Unreachable, place) {
            return Err(Failure::transient("unreachable", "simulated: nobody takes the notification"));
        }
        nature.trace.tell(nature.now(), &[&place.name, "notifies of", &alert.queue]);
        nature.ledger.notified(alert);
        nature.pause(place).await;
        if nature.strikes(Fault::Unanswered, place) {
            return Err(Failure::transient("unanswered", "simulated: the answer was lost"));
        }
        Ok(())
    }
}
