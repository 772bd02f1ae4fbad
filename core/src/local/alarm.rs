//! How far the alarms of a folder have told: durable, and written in the transaction that sends the notification.

use super::{
    Local,
    column::Columns,
    queue::{LocalQueue, QueueFile},
    store::Store,
};
use crate::{
    alarm::{AlarmPolicy, Telling, Told, Watch},
    model::{AlarmModel, Model},
    port::{Clock, PortError},
    timestamp::Timestamp,
};
use async_trait::async_trait;
use rusqlite::OptionalExtension as _;
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// The one who watches the queue of an alarm; `None` where the folder has no such queue.
pub(super) fn watch(local: &Local, model: &Model, alarm: &AlarmModel, policy: AlarmPolicy) -> Option<Watch> {
    let subscribers = model.steps.iter().filter(|step| step.topic() == Some(&alarm.topic));
    let queue = Arc::clone(local.queues.get(&alarm.dead_letter_queue)?);
    let telling = LocalTelling {
        queue: Arc::clone(&queue),
        name: alarm.dead_letter_queue.clone(),
        subscriptions: subscribers.filter_map(|step| local.queues.get(&step.queue).cloned()).collect(),
        store: Arc::clone(&local.store),
        clock: Arc::clone(&local.clock),
    };
    Some(Watch {
        choreography: model.name.clone(),
        name: alarm.dead_letter_queue.clone(),
        queue,
        telling: Arc::new(telling),
        clock: Arc::clone(&local.clock),
        policy,
    })
}

/// Keeps how far one alarm has told.
struct LocalTelling {
    queue: Arc<LocalQueue>,
    name: String,
    subscriptions: Vec<Arc<LocalQueue>>,
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl Telling for LocalTelling {
    fn changes(&self) -> watch::Receiver<u64> {
        self.queue.changes()
    }

    async fn told(&self) -> Result<Told, PortError> {
        let name = self.name.clone();
        self.store
            .read(move |connection| {
                let mut select =
                    connection.prepare_cached("SELECT told, red, last FROM alarm WHERE queue = ?1")?;
                let told = select.query_row((&name,), |row| {
                    let mut columns = Columns::of(row);
                    let (place, is_red) = (columns.number(0, "place")?, columns.number(1, "state")? > 0);
                    let last = columns.optional_time(2, "time")?.map(Timestamp::from_millis).unwrap_or_default();
                    Ok(match columns.wrong() {
                        None => Told { place, is_red, last },
                        Some(why) => {
                            tracing::error!(queue = %name, %why, "what an alarm told is damaged: it is told anew");
                            Told::default()
                        }
                    })
                });
                Ok(told.optional()?.unwrap_or_default())
            })
            .await
    }

    async fn tell(&self, told: Told, body: String) -> Result<(), PortError> {
        let now = self.clock.now();
        let (name, place) = (self.name.clone(), i64::try_from(told.place).unwrap_or(i64::MAX));
        let files: Vec<Arc<QueueFile>> =
            self.subscriptions.iter().map(|queue| Arc::clone(queue.file())).collect();
        self.store
            .run(move |connection| {
                for file in &files {
                    file.inserter(connection)?.insert(now, Duration::ZERO, None, (&body, 0))?;
                }
                connection
                    .prepare_cached(
                        "INSERT INTO alarm(queue, told, red, last) VALUES(?1, ?2, ?3, ?4)
                         ON CONFLICT(queue) DO UPDATE SET told = ?2, red = ?3, last = ?4",
                    )?
                    .execute((name, place, told.is_red, told.last.as_millis()))
            })
            .await?;
        for queue in &self.subscriptions {
            queue.sent();
        }
        Ok(())
    }
}
