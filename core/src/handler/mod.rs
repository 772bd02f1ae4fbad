//! Handlers: plain async functions, and what the pipeline needs to know of them.

mod function;

use crate::{
    commit::{Handled, Outcome, Pending},
    context::{Call, Context},
    entity::{Entity, key_of},
    event::{Emits, Envelope, Event},
    failure::Failure,
    http::{Request, Response},
    port::Item,
    stored::Stored,
};
use function::{Arguments, Asynchronous, Function, ReturnsOutcome, ReturnsResponse};
use serde_json::value::RawValue;
use std::{any::Any, borrow::Cow, collections::BTreeSet, future::Future, marker::PhantomData, pin::Pin};

pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// How a handler wants its entity: [`Stored<E>`] must exist, `Option<Stored<E>>` may be missing.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the entity that the handler's event is told to",
    label = "expected `Stored<{E}>`, or `Option<Stored<{E}>>` where it may be missing",
    note = "a handler's arguments are the entity where it is loaded, the event, and the context, in this order; which \
            entity is loaded says the event's `type Entity`"
)]
pub trait Load<E: Entity>: Sized + Send + 'static {
    /// Whether it may be missing, so that the handler may make it.
    const MAY_BE_MISSING: bool;

    /// From what the table holds.
    ///
    /// # Errors
    /// A permanent [`Failure`] `entity_gone` where it must exist and does not.
    fn load(stored: Option<Stored<E>>) -> Result<Self, Failure>;
}

impl<E: Entity> Load<E> for Option<Stored<E>> {
    const MAY_BE_MISSING: bool = true;

    fn load(stored: Option<Stored<E>>) -> Result<Self, Failure> {
        Ok(stored)
    }
}

impl<E: Entity> Load<E> for Stored<E> {
    const MAY_BE_MISSING: bool = false;

    fn load(stored: Option<Stored<E>>) -> Result<Self, Failure> {
        stored.ok_or_else(|| {
            Failure::permanent(
                "entity_gone",
                format_args!("the {} this event is told to is gone (expired, or never was)", E::KIND),
            )
        })
    }
}

/// A handler of events: `async fn(Stored<Order>, OrderCreated, Context<Em>) -> Outcome<Em>`, or without the entity
/// where nothing is to be loaded. `Em` is the tuple of events it may emit. `Arguments` is inferred.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler of events",
    label = "not an `async fn` with the arguments of a handler",
    note = "a handler has three arguments: `async fn brew(pot: Stored<Pot>, event: TeaTime, cx: Context<(Steeped,)>) -> \
            Outcome<(Steeped,)>`; the entity is `Option<Stored<Pot>>` where it may be missing",
    note = "or two, where no entity is loaded: `async fn tell(event: Served, cx: Context<()>) -> Outcome<()>`"
)]
pub trait Handler<Arguments>: Send + Sync + 'static {
    /// The event it consumes.
    type Event: Event;
    /// What it may emit.
    type Emits: Emits;
    /// Whether the entity is loaded for it.
    const LOADS: bool;
    /// Whether that entity may be missing, so that it may make it.
    const CREATES: bool;

    /// Runs it.
    fn call(
        &self,
        event: Self::Event,
        item: Option<&Item>,
        context: Context<Self::Emits>,
    ) -> Pin<Box<dyn Future<Output = Outcome<Self::Emits>> + Send>>;
}

// One implementation for all: with two, the compiler could only say that neither fits.
impl<F, A> Handler<A> for F
where
    F: Function<A> + Send + Sync + 'static,
    A: Arguments,
    F::Returned: Asynchronous + Send + ReturnsOutcome<A::Emits> + 'static,
{
    type Event = A::Event;
    type Emits = A::Emits;
    const LOADS: bool = A::LOADS;
    const CREATES: bool = A::CREATES;

    fn call(
        &self,
        event: A::Event,
        item: Option<&Item>,
        context: Context<A::Emits>,
    ) -> BoxFuture<Outcome<A::Emits>> {
        match A::gather(event, item, context) {
            Ok(arguments) => self.apply(arguments).boxed(),
            Err(failure) => Box::pin(std::future::ready(Err(failure))),
        }
    }
}

/// A handler whose types are erased: what the pipeline calls.
pub(crate) trait ErasedHandler: Send + Sync {
    /// The event, and the key of the entity to load for it.
    fn decode(&self, envelope: &Envelope<Box<RawValue>>) -> Result<Decoded, Failure>;
    fn call(&self, event: Box<dyn Any + Send>, item: Option<&Item>, call: Call) -> BoxFuture<ErasedOutcome>;
}

pub(crate) struct Decoded {
    pub(crate) event: Box<dyn Any + Send>,
    pub(crate) key: Option<String>,
}

pub(crate) type ErasedOutcome = Result<ErasedHandled, Failure>;

pub(crate) enum ErasedHandled {
    Commit(Box<Pending>),
    Already(Cow<'static, str>),
    Done,
}

/// What a definition has to know of a handler.
pub(crate) struct Signature {
    pub(crate) event_type: &'static str,
    pub(crate) entity_kind: Option<&'static str>,
    /// It may make that entity.
    pub(crate) creates: bool,
    pub(crate) emits: BTreeSet<&'static str>,
}

impl Signature {
    pub(crate) fn of<A, H: Handler<A>>() -> Self {
        Self {
            event_type: H::Event::TYPE,
            entity_kind: H::LOADS.then_some(<H::Event as Event>::Entity::KIND),
            creates: H::CREATES,
            emits: H::Emits::types(),
        }
    }
}

pub(crate) struct Erased<H, A> {
    handler: H,
    arguments: PhantomData<fn() -> A>,
}

impl<H, A> Erased<H, A> {
    pub(crate) fn new(handler: H) -> Self {
        Self { handler, arguments: PhantomData }
    }
}

impl<A: 'static, H: Handler<A>> ErasedHandler for Erased<H, A> {
    fn decode(&self, envelope: &Envelope<Box<RawValue>>) -> Result<Decoded, Failure> {
        let event = envelope.data_as::<H::Event>()?;
        let key = H::LOADS.then(|| key_of::<<H::Event as Event>::Entity>(&event.subject()));
        Ok(Decoded { event: Box::new(event), key })
    }

    fn call(&self, event: Box<dyn Any + Send>, item: Option<&Item>, call: Call) -> BoxFuture<ErasedOutcome> {
        let Ok(event) = event.downcast::<H::Event>() else {
            let failure = Failure::permanent("unexpected_event", "the event was decoded for another handler");
            return Box::pin(std::future::ready(Err(failure)));
        };
        let running = self.handler.call(*event, item, Context::new(call));
        Box::pin(async move {
            Ok(match running.await? {
                Handled::Commit(commit) => ErasedHandled::Commit(commit.into_pending()),
                Handled::Already(why) => ErasedHandled::Already(why),
                Handled::Done => ErasedHandled::Done,
            })
        })
    }
}

/// A handler of a route: `async fn(Request, Context<Em>) -> Result<Response, Failure>`. A transient failure is
/// answered with 503, a permanent one with 500.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler of a route",
    note = "a handler of a route: `async fn order_tea(request: Request, cx: Context<(TeaTime,)>) -> Result<Response, Failure>`"
)]
pub trait RouteHandler<Em>: Send + Sync + 'static {
    /// Runs it.
    fn call(
        &self,
        request: Request,
        context: Context<Em>,
    ) -> Pin<Box<dyn Future<Output = Result<Response, Failure>> + Send>>;
}

impl<F, Fut, Em> RouteHandler<Em> for F
where
    F: Fn(Request, Context<Em>) -> Fut + Send + Sync + 'static,
    Fut: Asynchronous + Send + ReturnsResponse + 'static,
{
    fn call(&self, request: Request, context: Context<Em>) -> BoxFuture<Result<Response, Failure>> {
        self(request, context).boxed()
    }
}

pub(crate) trait ErasedRoute: Send + Sync {
    fn call(&self, request: Request, call: Call) -> BoxFuture<Result<Response, Failure>>;
}

impl<Em: Emits, H: RouteHandler<Em>> ErasedRoute for Erased<H, Em> {
    fn call(&self, request: Request, call: Call) -> BoxFuture<Result<Response, Failure>> {
        self.handler.call(request, Context::new(call))
    }
}
