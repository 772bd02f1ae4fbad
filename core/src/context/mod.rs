//! What a handler may do besides returning: read entities and buckets, commit children, ask the time.

mod change;
mod merged;

pub use change::Change;
pub use merged::Merged;

use crate::{
    commit::{Carried, Commit, Pending, Stamp},
    dead_letter::Redriven,
    entity::{Entity, key_of},
    failure::{Failure, excerpt},
    metrics::{Meter, Metric, UNREADABLE},
    model::{BucketUse, Model, TableUse, Uses},
    planted::planted,
    port::{Bucket, CommitError, IndexQuery, Item, ObjectPage, PortError, Ports, Random, Table, Write},
    relay, service,
    services::service_name,
    setting::FromSetting,
    stored::Stored,
    timestamp::Timestamp,
};
use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use std::{
    fmt,
    marker::PhantomData,
    sync::{Arc, OnceLock},
};

/// Entities that are read or committed by one call of a port, where a handler asks for more: while the table works on some,
/// those behind them are made ready. A multiple of what DynamoDB takes in a request, 100 keys or 25 writes.
const PIECE: usize = 200;

/// Bytes of a key that a log tells at most.
const KEY_SHOWN_BYTES: usize = 300;

/// Pieces under way at once.
const PIECES_UNDER_WAY: usize = 3;

/// One call of a handler: what it was called for, and its access to the world.
///
/// Effects outside the tables (an object put, a call of an outside service) go before the commit and under a key
/// derived from the entity, so that a redelivery repeats them without a second effect.
pub struct Context<Em> {
    call: Call,
    emits: PhantomData<fn() -> Em>,
}

impl<Em> Clone for Context<Em> {
    fn clone(&self) -> Self {
        Self { call: self.call.clone(), emits: PhantomData }
    }
}

impl<Em> fmt::Debug for Context<Em> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("step", &self.call.step)
            .field("about", &self.call.about)
            .finish_non_exhaustive()
    }
}

/// What a call is about, shared by its clones.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) ports: Arc<Ports>,
    pub(crate) model: Arc<Model>,
    pub(crate) step: Arc<str>,
    pub(crate) about: Arc<About>,
    pub(crate) meter: Meter,
}

/// The message or request a handler was called for.
#[derive(Clone, Debug, Default)]
pub(crate) struct About {
    pub(crate) attempt: u32,
    pub(crate) correlation_id: Option<String>,
    pub(crate) traceparent: Option<String>,
    pub(crate) carried: Carried,
    /// What the handler was given, as far as a trail keeps it; none where none does.
    pub(crate) input: Option<String>,
    /// How its message was sent back from a dead-letter queue, where it was.
    pub(crate) redriven: Option<Redriven>,
    /// When the handler was called.
    pub(crate) called_at: OnceLock<Timestamp>,
}

impl About {
    pub(crate) fn stamp<'a>(&'a self, choreography: &'a str, step: &'a str, now: Timestamp) -> Stamp<'a> {
        Stamp {
            now,
            choreography,
            step,
            attempt: self.attempt.max(1),
            correlation_id: self.correlation_id.as_deref(),
            traceparent: self.traceparent.as_deref(),
            redriven: self.redriven.as_ref(),
            called: self.input.as_deref().map(|input| (*self.called_at.get().unwrap_or(&now), input)),
        }
    }
}

/// A page of the sparse index, as a handler reads it.
#[derive(Clone, Debug)]
pub struct Page<E> {
    /// The entities, in the order of `sort`.
    pub entities: Vec<Stored<E>>,
    /// What stands there and can't be read.
    pub unreadable: Vec<Unread>,
    /// The last `sort` looked at, where there may be more behind it.
    pub next: Option<String>,
}

/// An entity of a [`Page`] that can't be read. The log tells why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Its key, `kind/id`; empty where that can't be read either.
    pub key: String,
    /// Its place in the index.
    pub sort: String,
}

/// What became of one of several commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// Applied, durable.
    Applied,
    /// The entity was not at the version it was loaded at (or was there already): not applied.
    Conflict,
}

impl<Em> Context<Em> {
    pub(crate) fn new(call: Call) -> Self {
        Self { call, emits: PhantomData }
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        self.call.ports.clock.now()
    }

    /// Random numbers: for jitter and ids of requests. Never for keys of effects: those must repeat.
    pub fn random(&self) -> &dyn Random {
        &*self.call.ports.random
    }

    /// Which receive of the message this is, counted from 1; 1 for a request.
    pub fn attempt(&self) -> u32 {
        self.call.about.attempt
    }

    /// What the flow is known by.
    pub fn correlation_id(&self) -> Option<&str> {
        self.call.about.correlation_id.as_deref()
    }

    /// The W3C trace context of this work, to be sent on: of a message its trace and a span of its own, of a request what it came with.
    pub fn traceparent(&self) -> Option<&str> {
        self.call.about.traceparent.as_deref()
    }

    /// When the budget of the cycle this handler stands on runs out; `None` off a cycle, or where it has no deadline.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.call.about.carried.deadline
    }

    /// Events of the cycle that went before this one; 0 off a cycle.
    pub fn hops(&self) -> u32 {
        self.call.about.carried.hops.unwrap_or(0)
    }

    /// Adds `value` to `metric` now, whatever becomes of this call: for what was done rather than decided (an ask of an
    /// outside service). What a commit decides is measured with it: [`Commit::measure`].
    pub fn measure(&self, metric: Metric, value: f64) {
        self.call.meter.add(metric, value);
    }

    /// The entities of these ids, in their order; expired ones count as gone. In as few requests as can be.
    ///
    /// # Errors
    /// A [`Failure`] of the table, `unreadable_entity` of the first that can't be read, or `undeclared_use` where the handler's
    /// [`Uses`](crate::Uses) do not name `E`.
    pub async fn get<E: Entity>(&self, ids: &[impl AsRef<str>]) -> Result<Vec<Option<Stored<E>>>, Failure> {
        self.get_each(ids).await?.into_iter().collect()
    }

    /// [`get`](Self::get) for a handler that goes on without those that can't be read: each fails alone. Of one id,
    /// [`Uses::gets_one`](crate::Uses::gets_one) allows it.
    ///
    /// # Errors
    /// As [`get`](Self::get); `unreadable_entity` is that of one entity.
    pub async fn get_each<E: Entity>(
        &self,
        ids: &[impl AsRef<str>],
    ) -> Result<Vec<Result<Option<Stored<E>>, Failure>>, Failure> {
        let uses: &[TableUse] =
            if ids.len() == 1 { &[TableUse::Get, TableUse::GetMany] } else { &[TableUse::GetMany] };
        let table = self.call.table_of::<E>(uses)?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Vec<String> = ids.iter().map(|id| key_of::<E>(id.as_ref())).collect();
        let read = |keys: Vec<String>| async move { self.read(table, &keys).await };
        let mut pieces = stream::iter(in_pieces(keys)).map(read).buffered(PIECES_UNDER_WAY);
        let mut found = Vec::with_capacity(ids.len());
        while let Some(piece) = pieces.next().await {
            found.extend(piece?);
        }
        Ok(found)
    }

    /// The entity of this id; an expired one counts as gone. A handler that reads no several at once may do just this:
    /// [`Uses::gets_one`](crate::Uses::gets_one).
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn get_one<E: Entity>(&self, id: &str) -> Result<Option<Stored<E>>, Failure> {
        self.get_each(&[id]).await?.pop().unwrap_or(Ok(None))
    }

    /// The entities of these keys, in one call of the table. Each that can't be read is a failure of its own.
    async fn read<E: Entity>(
        &self,
        table: &Arc<dyn Table>,
        keys: &[String],
    ) -> Result<Vec<Result<Option<Stored<E>>, Failure>>, Failure> {
        let now = self.now();
        let items = table.get(keys).await?;
        // Room for all at once: collecting results knows no number.
        let mut entities = Vec::with_capacity(items.len());
        for item in items {
            let live = item.filter(|item| item.expires_at.is_none_or(|at| at > now));
            entities.push(live.as_ref().map(|item| self.entity(item)).transpose());
        }
        Ok(entities)
    }

    /// Reads an item. One that can't be read is told in the log, and counted.
    fn entity<E: Entity>(&self, item: &Item) -> Result<Stored<E>, Failure> {
        Stored::read(item).inspect_err(|failure| {
            self.measure(UNREADABLE, 1.0);
            let (step, key, reason) =
                (&self.call.step, excerpt(&item.key, KEY_SHOWN_BYTES), failure.reason());
            tracing::error!(%step, key, reason, why = failure.detail(), "an entity can not be read");
        })
    }

    /// A page of the sparse index of the table that holds `E`; expired entities are left out, and those that can't be read are
    /// told apart.
    ///
    /// # Errors
    /// A [`Failure`] of the table, or `undeclared_use` where the handler's [`Uses`](crate::Uses) do not name `E`.
    pub async fn query<E: Entity>(&self, query: &IndexQuery) -> Result<Page<E>, Failure> {
        let now = self.now();
        let found = self.call.table_of::<E>(&[TableUse::Query])?.query(query).await?;
        let entities = Vec::with_capacity(found.items.len());
        let mut page = Page { entities, unreadable: Vec::new(), next: found.next };
        for item in found.items.into_iter().filter(|item| item.expires_at.is_none_or(|at| at > now)) {
            match self.entity(&item) {
                Ok(entity) => page.entities.push(entity),
                Err(_) => {
                    let sort = item.index.map(|index| index.sort).unwrap_or_default();
                    page.unreadable.push(Unread { key: item.key, sort });
                }
            }
        }
        Ok(page)
    }

    /// Commits children: each succeeds or loses its race alone. The parent's commit is the one the handler
    /// returns, so that it comes last.
    ///
    /// # Errors
    /// A [`Failure`] where a table could not take one of them for another reason than a race, `undeclared_use` among
    /// them; others may have been applied: a redelivery finds them so.
    pub async fn commit_all(&self, commits: Vec<Commit<Em>>) -> Result<Vec<Committed>, Failure> {
        self.commit_together(commits, Together::Several).await
    }

    async fn commit_together(
        &self,
        commits: Vec<Commit<Em>>,
        together: Together,
    ) -> Result<Vec<Committed>, Failure> {
        let pending = commits.into_iter().map(|commit| *commit.into_pending()).collect();
        self.call.commit(pending, together).await.into_iter().map(committed).collect()
    }

    /// Commits one entity, for a handler that answers by whether that was applied.
    ///
    /// # Errors
    /// As [`commit_all`](Self::commit_all).
    pub async fn commit(&self, commit: Commit<Em>) -> Result<Committed, Failure> {
        let committed = self.commit_together(vec![commit], Together::Alone).await?.pop();
        Ok(committed.unwrap_or(Committed::Conflict))
    }

    /// The service behind the trait `S`, which the handler declares to use: `cx.service::<dyn Kitchen>()?`.
    ///
    /// Its calls go before the commit, under a key derived from the entity, so that a redelivery repeats them without a second
    /// effect.
    ///
    /// # Errors
    /// A permanent [`Failure`]: `undeclared_use` where the handler's [`Uses`](crate::Uses) do not name it, `no_service` where
    /// nobody made it.
    pub fn service<S: ?Sized + Send + Sync + 'static>(&self) -> Result<Arc<S>, Failure> {
        let Call { ports, model, step, .. } = &self.call;
        let name = service_name::<S>();
        if !model.uses_of(step).is_some_and(|uses| uses.services().contains(name)) {
            return Err(service::undeclared(step, name));
        }
        ports.services.get::<S>().ok_or_else(|| service::missing(name))
    }

    /// The value of a setting that the handler declares to use.
    ///
    /// # Errors
    /// A permanent [`Failure`]: `undeclared_use` where the handler's [`Uses`](crate::Uses) do not name it, or where it is of
    /// another kind; `setting_wrong` where it was left out.
    pub fn setting<T: FromSetting>(&self, name: &str) -> Result<T, Failure> {
        let Call { ports, model, step, .. } = &self.call;
        if !model.uses_of(step).is_some_and(|uses| uses.settings().contains(name)) {
            let detail = format_args!(
                "{step} reads the setting {name:?}, which it does not declare: add `.setting({name:?})` to its uses"
            );
            return Err(Failure::permanent("undeclared_use", detail));
        }
        Ok(ports.settings.get(name)?)
    }

    /// A bucket of the definition, by name. It takes the calls that the handler declares and refuses the others: as a
    /// [`Failure`], such a refusal is an `undeclared_use`.
    ///
    /// # Errors
    /// A permanent [`Failure`]: `undeclared_use` where the handler's [`Uses`](crate::Uses) do not name it.
    pub fn bucket(&self, name: &str) -> Result<Arc<dyn Bucket>, Failure> {
        let Call { ports, model, step, .. } = &self.call;
        if !model.uses_of(step).is_some_and(|uses| uses.buckets().contains_key(name)) {
            let detail = format_args!(
                "{step} uses the bucket {name:?}, which it does not declare: add `.puts({name:?})`, `.reads({name:?})` or \
                 `.lists({name:?})` to its uses"
            );
            return Err(PortError::undeclared(name, detail).into());
        }
        let bucket = Arc::clone(ports.bucket(name)?);
        let (model, step) = (Arc::clone(model), Arc::clone(step));
        Ok(Arc::new(DeclaredBucket { bucket, name: name.to_owned(), model, step }))
    }
}

/// A bucket that takes the calls that a handler declares.
struct DeclaredBucket {
    bucket: Arc<dyn Bucket>,
    name: String,
    model: Arc<Model>,
    step: Arc<str>,
}

impl DeclaredBucket {
    fn declared(&self, how: BucketUse) -> Result<&dyn Bucket, PortError> {
        let Self { bucket, name, model, step } = self;
        let uses = model.uses_of(step).and_then(|uses| uses.buckets().get(name));
        if uses.is_some_and(|uses| uses.contains(&how)) {
            return Ok(&**bucket);
        }
        let (does, add) = match how {
            BucketUse::Put => ("puts objects into", "puts"),
            BucketUse::Get => ("reads objects of", "reads"),
            BucketUse::List => ("lists the keys of", "lists"),
        };
        let detail = format_args!(
            "{step} {does} the bucket {name:?}, which it does not declare: add `.{add}({name:?})` to its uses"
        );
        Err(PortError::undeclared(name, detail))
    }
}

#[async_trait]
impl Bucket for DeclaredBucket {
    async fn put_if_absent(&self, key: &str, body: Vec<u8>) -> Result<bool, PortError> {
        self.declared(BucketUse::Put)?.put_if_absent(key, body).await
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, PortError> {
        self.declared(BucketUse::Get)?.get(key).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<ObjectPage, PortError> {
        self.declared(BucketUse::List)?.list(prefix, after, limit).await
    }
}

/// Whether commits may share a request: what that takes differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Together {
    /// Each is alone in its request.
    Alone,
    /// Others may be in the same request.
    Several,
}

fn committed(outcome: Result<(), NotCommitted>) -> Result<Committed, Failure> {
    match outcome {
        Ok(()) => Ok(Committed::Applied),
        Err(NotCommitted::Conflict) => Ok(Committed::Conflict),
        Err(NotCommitted::Failed(failure)) => Err(failure),
    }
}

/// Why a commit was not applied, as the pipeline tells it.
#[derive(Debug)]
pub(crate) enum NotCommitted {
    Conflict,
    Failed(Failure),
}

impl From<CommitError> for NotCommitted {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Conflict => Self::Conflict,
            CommitError::TooLarge { .. } => Self::Failed(Failure::permanent("item_too_large", error)),
            CommitError::Port(error) => Self::Failed(error.into()),
        }
    }
}

/// The table that holds `kind`, where the step or the route's handler named `step` declares that it uses it in one of these
/// ways. The first is the one that an error tells to add.
fn declared<'a>(model: &'a Model, step: &str, kind: &str, any: &[TableUse]) -> Result<&'a str, Failure> {
    let uses = model.uses_of(step).and_then(|uses| uses.kinds().get(kind));
    let is_declared = uses.is_some_and(|uses| any.iter().any(|how| uses.contains(how)));
    // A definition whose uses name a kind that no table holds is not built.
    if let Some(table) = model.table_of(kind).filter(|_| is_declared) {
        return Ok(table);
    }
    let (does, add) = match any.first() {
        Some(TableUse::Get) => ("gets an entity of kind", "gets_one"),
        Some(TableUse::Query) => ("queries the index of entities of kind", "queries"),
        Some(TableUse::Commit) => ("commits an entity of kind", "commits_one"),
        Some(TableUse::CreateMany) => ("creates entities of kind", "creates"),
        Some(TableUse::ChangeMany) => ("changes entities of kind", "changes"),
        Some(TableUse::GetMany) | None => ("gets entities of kind", "gets"),
    };
    let detail =
        format_args!("{step} {does} {kind:?}, which it does not declare: add `.{add}::<…>()` to its uses");
    Err(Failure::permanent("undeclared_use", detail))
}

impl Call {
    fn table_of<E: Entity>(&self, any: &[TableUse]) -> Result<&Arc<dyn Table>, Failure> {
        Ok(self.ports.table(declared(&self.model, &self.step, E::KIND, any)?)?)
    }

    /// Commits each on its own; answers in their order.
    pub(crate) async fn commit(
        &self,
        commits: Vec<Pending>,
        together: Together,
    ) -> Vec<Result<(), NotCommitted>> {
        let mut outcomes = Vec::with_capacity(commits.len());
        let commit = |piece| self.commit_piece(piece, together);
        let mut pieces = stream::iter(in_pieces(commits)).map(commit).buffered(PIECES_UNDER_WAY);
        while let Some(piece) = pieces.next().await {
            outcomes.extend(piece);
        }
        outcomes
    }

    async fn commit_piece(&self, commits: Vec<Pending>, together: Together) -> Vec<Result<(), NotCommitted>> {
        let commits = commits.into_iter().map(|pending| (pending, Arc::clone(&self.about))).collect();
        commit(&self.ports, &self.model, &self.step, &self.meter, commits, together).await
    }
}

/// The same in pieces of at most [`PIECE`], in their order.
fn in_pieces<T>(all: Vec<T>) -> Vec<Vec<T>> {
    if all.len() <= PIECE {
        return vec![all];
    }
    let mut pieces = Vec::with_capacity(all.len().div_ceil(PIECE));
    let mut left = all.into_iter();
    while left.len() > 0 {
        pieces.push(left.by_ref().take(PIECE).collect());
    }
    pieces
}

/// Commits what a step or a route's handler made of the messages or requests that it was called for, and measures what is
/// applied; answers in their order.
pub(crate) async fn commit(
    ports: &Ports,
    model: &Model,
    step: &str,
    meter: &Meter,
    commits: Vec<(Pending, Arc<About>)>,
    together: Together,
) -> Vec<Result<(), NotCommitted>> {
    let now = ports.clock.now();
    let mut measured = Vec::with_capacity(commits.len());
    let writes = commits
        .into_iter()
        .map(|(mut pending, about)| {
            measured.push(pending.take_measured());
            later_is_declared(model, step, &pending)?;
            let mut stamp = about.stamp(&model.name, step, now);
            stamp.called = stamp.called.filter(|_| model.keeps_details(pending.entity_kind()));
            pending.into_write(&stamp, |event_type| model.carried(step, about.carried, event_type, now))
        })
        .collect::<Vec<_>>();
    if planted("events_before_commit") {
        relay::send_before_commit(model, ports, &writes).await;
    }
    let outcomes = commit_writes(ports, model, step, writes, together).await;
    for (measured, _) in measured.into_iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok()) {
        measured.into_iter().for_each(|(metric, value)| meter.add(metric, value));
    }
    outcomes
}

/// That an event which has to wait is declared: its consumer can wait for its time only where it is known that it may have to.
fn later_is_declared(model: &Model, step: &str, pending: &Pending) -> Result<(), Failure> {
    let declared = model.uses_of(step).map(Uses::later);
    let undeclared = pending.later().find(|later| !declared.is_some_and(|known| known.contains(*later)));
    undeclared.map_or(Ok(()), |event_type| {
        let detail = format_args!(
            "{step} emits {event_type:?} with a later time, which it does not declare: add `.emits_later::<…>()` to its uses"
        );
        Err(Failure::permanent("undeclared_use", detail))
    })
}

/// Applies writes, which may go to several tables, one request a table; answers in their order.
async fn commit_writes(
    ports: &Ports,
    model: &Model,
    step: &str,
    writes: Vec<Result<Write, Failure>>,
    together: Together,
) -> Vec<Result<(), NotCommitted>> {
    let mut outcomes: Vec<Result<(), NotCommitted>> = Vec::with_capacity(writes.len());
    let mut by_table: Vec<(&str, Vec<usize>, Vec<Write>)> = Vec::new();
    for (at, write) in writes.into_iter().enumerate() {
        let placed = write.and_then(|write| {
            let kind = write.item.key.split_once('/').map_or("", |(kind, _)| kind);
            let many = if write.expected == 0 { TableUse::CreateMany } else { TableUse::ChangeMany };
            let any: &[TableUse] = match together {
                Together::Alone => &[TableUse::Commit, many],
                Together::Several => &[many],
            };
            Ok((declared(model, step, kind, any)?, write))
        });
        match placed {
            Ok((table, write)) => {
                match by_table.iter_mut().find(|(name, ..)| *name == table) {
                    Some((_, places, writes)) => {
                        places.push(at);
                        writes.push(write);
                    }
                    None => by_table.push((table, vec![at], vec![write])),
                }
                outcomes.push(Ok(()));
            }
            Err(failure) => outcomes.push(Err(NotCommitted::Failed(failure))),
        }
    }
    for (name, places, writes) in by_table {
        match ports.table(name) {
            Ok(table) => {
                let answers = table.commit(writes).await;
                for (at, answer) in places.into_iter().zip(answers) {
                    outcomes[at] = answer.map_err(NotCommitted::from);
                }
            }
            Err(error) => {
                for at in places {
                    outcomes[at] = Err(NotCommitted::Failed(error.clone().into()));
                }
            }
        }
    }
    outcomes
}
