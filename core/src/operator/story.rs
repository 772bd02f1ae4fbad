//! The story of an entity: what happened to it and to those it is told with, what fails now, and what it waits for.

use super::{LOOKED_AT, RECEIVED_MAX, WAIT};
use crate::{
    choreography::EntityView,
    dead_letter::{DeadLetter, Redriven},
    engine::when_of,
    entity::Entity,
    failure::Failure,
    model::{Marks, Model, Path, StepModel},
    pipeline::{Failing, Pipeline},
    port::{Item, Message, Receipt},
    timestamp::Timestamp,
    trail::TrailEntryKind,
};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Related entities that a story is told with.
const RELATED_MAX: usize = 8;

/// Dead letters of one entity in one queue that a story tells of: the latest.
const LETTERS_MAX: usize = 20;

/// Failures of a step that stand in the way of what waits for it.
const IN_THE_WAY_MAX: usize = 3;

/// The kind and the id of an entity that can't be read, and why.
pub type Untold = (String, String, String);

/// The story of one entity.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Story {
    /// The entity.
    pub entity: EntityView,
    /// Those that its story is told with, at most 8.
    #[serde(default)]
    pub related: Vec<EntityView>,
    /// The kinds and ids of related ones that can't be read, and why.
    #[serde(default)]
    pub untold: Vec<Untold>,
    /// The last failure of each step with it, or with a related one that has not ended. Only the process that works the messages
    /// knows them.
    #[serde(default)]
    pub failing: Vec<Failing>,
    /// Its dead letters, and those of related ones that have not ended; the latest first.
    #[serde(default)]
    pub letters: Vec<StoryLetter>,
    /// How many messages of dead-letter queues were looked at for that.
    #[serde(default)]
    pub letters_looked_at: u64,
    /// A dead-letter queue that holds more than was looked at.
    #[serde(default)]
    pub letters_next: Option<String>,
    /// Why some dead letters could not be looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub letters_untold: Option<String>,
    /// What it waits for.
    #[serde(default)]
    pub waiting: Option<Waiting>,
    /// When somebody looks for it, where it waits for that.
    #[serde(default)]
    pub next_run: Option<NextRun>,
    /// Kinds and ids of related entities that it led to: they were created later, by the same flow.
    #[serde(default)]
    pub led_to: Vec<(String, String)>,
    /// Its way through the [graph](crate::Choreography::graph) of the flow, with those that it is told with.
    #[serde(default)]
    pub path: Marks,
}

impl Story {
    /// The story of an entity with those it is told with, as far as they tell it.
    pub fn of(entity: EntityView, related: Vec<EntityView>) -> Self {
        let waiting = waiting(&entity, &related);
        let led_to = led_to(&entity, &related);
        Self {
            entity,
            related,
            untold: Vec::new(),
            failing: Vec::new(),
            letters: Vec::new(),
            letters_looked_at: 0,
            letters_next: None,
            letters_untold: None,
            waiting,
            next_run: None,
            led_to,
            path: Marks::default(),
        }
    }
}

/// A dead letter of a story.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoryLetter {
    /// The dead-letter queue.
    pub queue: String,
    /// The message's id in it.
    pub id: String,
    /// The entity that it is told to.
    pub subject: String,
    /// The handler that gave it up.
    pub handler: String,
    /// Machine name of the cause.
    pub reason: String,
    /// A sentence about it.
    pub detail: String,
    /// When it was given up.
    pub dead_at: Timestamp,
    /// When the queue drops it.
    pub deadline: Timestamp,
    /// It is an end of business.
    #[serde(default)]
    pub is_end: bool,
    /// How it was sent back last, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redriven: Option<Redriven>,
}

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// In the words of the trail.
    #[serde(rename = "for")]
    pub what: String,
    /// Until when.
    pub until: Option<Timestamp>,
    /// When it has to be over.
    pub deadline: Option<Timestamp>,
    /// The entity that waits.
    pub of: EntityName,
}

/// An entity by its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntityName {
    /// Its kind.
    pub kind: String,
    /// Its id.
    pub id: String,
}

/// When a step looks next for an entity that waits for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextRun {
    /// The schedule that tells the step.
    pub schedule: String,
    /// Its next time.
    pub at: Timestamp,
    /// The steps.
    pub steps: Vec<String>,
    /// What they fail with now, and try again: their work goes on with that first.
    #[serde(default)]
    pub in_its_way: Vec<Failing>,
    /// What is the matter with the schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amiss: Option<String>,
}

/// The story of the entity of this kind and id.
///
/// # Errors
/// `no_kind`, `no_entity`, or a [`Failure`] of a port.
pub async fn story(pipeline: &Pipeline, kind: &str, id: &str) -> Result<Story, Failure> {
    let item = item(pipeline, kind, id).await?;
    let Some(entity) = item.as_ref().map(|item| live(pipeline, item)).transpose()?.flatten() else {
        return Err(missing(kind));
    };
    let (related, untold) = related(pipeline, &entity).await?;
    let open: Vec<&EntityView> = std::iter::once(&entity)
        .chain(related.iter().filter(|other| !entity.is_ended && !other.is_ended))
        .collect();
    let failing = open.iter().flat_map(|one| pipeline.failing(&one.kind, &one.id)).collect();
    let looked = letters(pipeline, &open).await;
    let next_run = item.as_ref().and_then(|item| next_run(pipeline, &entity, item));
    let told = std::iter::once(&entity).chain(&related).flat_map(|one| &one.trail);
    let path = pipeline.choreography().marks_of(&Path::of(told));
    Ok(Story {
        path,
        untold,
        failing,
        letters: looked.letters,
        letters_looked_at: looked.count,
        letters_next: looked.more_in,
        letters_untold: looked.untold,
        next_run,
        ..Story::of(entity, related)
    })
}

/// The related entities that this one led to.
fn led_to(entity: &EntityView, related: &[EntityView]) -> Vec<(String, String)> {
    let led_to = related.iter().filter(|other| {
        other.correlation_id.is_some()
            && other.correlation_id == entity.correlation_id
            && other.created_at > entity.created_at
    });
    led_to.map(|other| (other.kind.clone(), other.id.clone())).collect()
}

/// The table that holds `kind`.
pub(super) fn table_of<'a>(model: &'a Model, kind: &str) -> Result<&'a str, Failure> {
    let kinds = || model.tables.iter().flat_map(|table| &table.kinds).cloned().collect::<Vec<_>>();
    model.table_of(kind).filter(|_| kind != <() as Entity>::KIND).ok_or_else(|| {
        let detail = format_args!("no table holds the kind {kind:?}; there are {}", kinds().join(", "));
        Failure::permanent("no_kind", detail)
    })
}

/// The entity of an item; `None` where it has expired.
pub(super) fn live(pipeline: &Pipeline, item: &Item) -> Result<Option<EntityView>, Failure> {
    let now = pipeline.ports().clock.now();
    if item.expires_at.is_some_and(|at| at <= now) {
        return Ok(None);
    }
    pipeline.choreography().view(item).map(Some)
}

/// The entity of this kind and id.
pub(super) async fn entity(pipeline: &Pipeline, kind: &str, id: &str) -> Result<EntityView, Failure> {
    let item = item(pipeline, kind, id).await?;
    item.map(|item| live(pipeline, &item)).transpose()?.flatten().ok_or_else(|| missing(kind))
}

fn missing(kind: &str) -> Failure {
    Failure::permanent("no_entity", format_args!("no {kind} has this id, or it has expired"))
}

async fn item(pipeline: &Pipeline, kind: &str, id: &str) -> Result<Option<Item>, Failure> {
    let table = table_of(pipeline.choreography().model(), kind)?;
    let keys = [[kind, "/", id].concat()];
    Ok(pipeline.ports().table(table)?.get(&keys).await?.pop().flatten())
}

/// The related entities, and those that can't be told. One that has expired has no story any longer.
async fn related(
    pipeline: &Pipeline,
    entity: &EntityView,
) -> Result<(Vec<EntityView>, Vec<Untold>), Failure> {
    let model = pipeline.choreography().model();
    let mut by_table: BTreeMap<&str, Vec<(usize, String)>> = BTreeMap::new();
    for (place, (kind, id)) in entity.related.iter().take(RELATED_MAX).enumerate() {
        // A kind that no table holds any longer has no entities.
        if let Ok(table) = table_of(model, kind) {
            by_table.entry(table).or_default().push((place, [kind, "/", id].concat()));
        }
    }
    let mut found = BTreeMap::new();
    for (table, named) in by_table {
        let (places, keys): (Vec<usize>, Vec<String>) = named.into_iter().unzip();
        let items = pipeline.ports().table(table)?.get(&keys).await?;
        found.extend(places.into_iter().zip(items).filter_map(|(place, item)| Some((place, item?))));
    }
    let (mut told, mut untold) = (Vec::new(), Vec::new());
    for (place, item) in found {
        match live(pipeline, &item) {
            Ok(entity) => told.extend(entity),
            Err(failure) => {
                let (kind, id) = entity.related[place].clone();
                untold.push((kind, id, failure.detail().to_owned()));
            }
        }
    }
    Ok((told, untold))
}

/// What is waited for, by whom, and until when it has to be over.
fn waiting(entity: &EntityView, related: &[EntityView]) -> Option<Waiting> {
    if entity.is_ended {
        return None;
    }
    let open = related.iter().filter(|other| !other.is_ended).chain(Some(entity));
    let said = open.filter_map(|one| Some((one.trail.last()?, one)));
    // Who is told until when it waits says more than who is not.
    let first = said.min_by_key(|(entry, one)| (entry.until.is_none(), one.kind == entity.kind));
    let (entry, one) = first.filter(|(entry, one)| entry.until.is_some() || one.kind != entity.kind)?;
    let of = EntityName { kind: one.kind.clone(), id: one.id.clone() };
    Some(Waiting { what: entry.what.to_string(), until: entry.until, deadline: one.deadline, of })
}

/// The next time of a schedule whose step looks for this entity, as its place in the index tells.
fn next_run(pipeline: &Pipeline, entity: &EntityView, item: &Item) -> Option<NextRun> {
    let partition = &item.index.as_ref()?.partition;
    let model = pipeline.choreography().model();
    let looks = |step: &&StepModel| {
        let works_off = model.worked_off_by(step);
        works_off.iter().any(|(kind, places)| *kind == entity.kind && places.contains(partition))
    };
    let now = pipeline.ports().clock.now();
    let runs = model.schedules.iter().filter_map(|schedule| {
        let steps = model.steps.iter().filter(|step| step.is_told(&schedule.event_type)).filter(looks);
        let steps: Vec<&str> = steps.map(|step| step.name.as_str()).collect();
        let at = when_of(pipeline, schedule).next(now).ok().filter(|_| !steps.is_empty())?;
        Some(NextRun {
            schedule: schedule.name.clone(),
            at,
            in_its_way: pipeline.failing_now(Some(&steps), IN_THE_WAY_MAX),
            amiss: pipeline.scheduled().amiss(&schedule.name, pipeline.ports().clock.uptime()),
            steps: steps.into_iter().map(str::to_owned).collect(),
        })
    });
    runs.min_by_key(|run| run.at)
}

/// Dead letters that were looked at.
#[derive(Default)]
struct Looked {
    letters: Vec<StoryLetter>,
    count: u64,
    more_in: Option<String>,
    untold: Option<String>,
}

/// The dead letters of these entities. A queue that can't be looked at, for want of a permission for example, takes nothing else of a
/// story with it.
async fn letters(pipeline: &Pipeline, of: &[&EntityView]) -> Looked {
    let model = pipeline.choreography().model();
    let suspected = suspected(model, of);
    let looks = model.dead_letter_queues().map(|name| {
        let suspected = suspected.contains(name);
        async move { (name, latest(pipeline, name, of, suspected).await) }
    });
    let mut all = Looked::default();
    for (name, looked) in join_all(looks).await {
        let (messages, has_more) = match looked {
            Ok(looked) => looked,
            Err(failure) => {
                all.untold.get_or_insert_with(|| format!("{name}: {failure}"));
                continue;
            }
        };
        all.count += messages.len() as u64;
        if has_more {
            all.more_in.get_or_insert_with(|| name.to_owned());
        }
        let retention = model.queue(name).map_or(Duration::ZERO, |queue| queue.retention);
        all.letters
            .extend(messages.into_iter().filter_map(|message| told(model, of, name, retention, message)));
    }
    all.letters.sort_by_key(|letter| Reverse(letter.dead_at));
    all
}

/// The dead-letter queues that hold what the trails say was given up.
fn suspected<'a>(model: &'a Model, of: &[&EntityView]) -> BTreeSet<&'a str> {
    let given_up = of.iter().flat_map(|one| &one.trail);
    let given_up = given_up.filter(|entry| matches!(entry.kind, TrailEntryKind::DeadLettered { .. }));
    let steps = given_up.filter_map(|entry| model.step(&entry.handler));
    let queues = steps.filter_map(|step| model.queue(&step.queue)?.redrive.as_ref());
    queues.map(|redrive| redrive.dead_letter_queue.as_str()).collect()
}

/// The latest messages of a dead-letter queue that may be told to these entities, and whether there are more than were looked at.
/// Where a look is a receive, only a queue is looked at that is `suspected`.
async fn latest(
    pipeline: &Pipeline,
    queue: &str,
    of: &[&EntityView],
    suspected: bool,
) -> Result<(Vec<Message>, bool), Failure> {
    let queue = pipeline.ports().queue(queue)?;
    if !queue.shows_arrivals() && !suspected {
        return Ok((Vec::new(), false));
    }
    let (mut found, mut has_more) = (Vec::new(), false);
    if queue.shows_arrivals() {
        for one in of {
            let mut arrived = queue.arrived_for(&one.id, LETTERS_MAX + 1).await?;
            has_more |= arrived.len() > LETTERS_MAX;
            arrived.truncate(LETTERS_MAX);
            found.extend(arrived.into_iter().map(|(_, message)| message));
        }
        return Ok((found, has_more));
    }
    found = queue.receive(RECEIVED_MAX, WAIT, Some(LOOKED_AT)).await?;
    let shown: Vec<(Receipt, Duration)> =
        found.iter().map(|message| (message.receipt.clone(), Duration::ZERO)).collect();
    if let Err(error) = queue.extend(&shown).await {
        tracing::warn!(%error, "dead letters that were looked at are hidden for a minute");
    }
    has_more = found.len() == RECEIVED_MAX;
    Ok((found, has_more))
}

/// A message of a dead-letter queue, if it is told to one of these entities.
fn told(
    model: &Model,
    of: &[&EntityView],
    queue: &str,
    retention: Duration,
    message: Message,
) -> Option<StoryLetter> {
    let deadline = message.sent_at + retention;
    let letter = DeadLetter::read(&message);
    let kind = model.step(&letter.handler).and_then(|step| step.entity_kind.as_deref());
    let subject = letter.subject?;
    of.iter().find(|one| one.id == subject && kind.is_none_or(|kind| kind == one.kind))?;
    Some(StoryLetter {
        queue: queue.to_owned(),
        id: message.id,
        is_end: model.is_dead_lettered_end(&letter.handler, &letter.reason),
        subject,
        handler: letter.handler,
        reason: letter.reason,
        detail: letter.detail,
        dead_at: letter.dead_at,
        deadline,
        redriven: letter.redriven,
    })
}
