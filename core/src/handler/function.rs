//! What makes a function a handler, a trait for each part of its signature: the compiler then names the part that is off,
//! where one bound on the whole could only say that the function is no handler.

use crate::{
    commit::Outcome,
    context::Context,
    event::{Emits, Event},
    failure::Failure,
    handler::{BoxFuture, Load},
    http::Response,
    port::Item,
    stored::Stored,
};
use std::future::Future;

/// A function of as many arguments as a handler has. It says nothing of their types: [`Arguments`] does.
pub trait Function<Arguments> {
    /// What it returns.
    type Returned;

    /// Calls it.
    fn apply(&self, arguments: Arguments) -> Self::Returned;
}

impl<F: Fn(L, Ev, C) -> R, L, Ev, C, R> Function<(L, Ev, C)> for F {
    type Returned = R;

    fn apply(&self, (loaded, event, context): (L, Ev, C)) -> R {
        self(loaded, event, context)
    }
}

impl<F: Fn(Ev, C) -> R, Ev, C, R> Function<(Ev, C)> for F {
    type Returned = R;

    fn apply(&self, (event, context): (Ev, C)) -> R {
        self(event, context)
    }
}

/// The arguments of a handler: the entity where it is loaded, the event, the context.
pub trait Arguments: Sized + 'static {
    /// The event it consumes.
    type Event: Event;
    /// What it may emit.
    type Emits: Emits;
    /// Whether the entity is loaded for it.
    const LOADS: bool;
    /// Whether that entity may be missing, so that it may make it.
    const CREATES: bool;

    /// Puts them together.
    ///
    /// # Errors
    /// A [`Failure`] where the entity can't be read, or has to exist and does not.
    fn gather(
        event: Self::Event,
        item: Option<&Item>,
        context: Context<Self::Emits>,
    ) -> Result<Self, Failure>;
}

impl<L: Load<Ev::Entity>, Ev: Event, C: LastArgument> Arguments for (L, Ev, C) {
    type Event = Ev;
    type Emits = C::Emits;
    const LOADS: bool = true;
    const CREATES: bool = L::MAY_BE_MISSING;

    fn gather(event: Ev, item: Option<&Item>, context: Context<C::Emits>) -> Result<Self, Failure> {
        let stored = item.map(Stored::read).transpose()?;
        Ok((L::load(stored)?, event, C::of(context)))
    }
}

impl<Ev: Event, C: LastArgument> Arguments for (Ev, C) {
    type Event = Ev;
    type Emits = C::Emits;
    const LOADS: bool = false;
    const CREATES: bool = false;

    fn gather(event: Ev, _: Option<&Item>, context: Context<C::Emits>) -> Result<Self, Failure> {
        Ok((event, C::of(context)))
    }
}

/// The last argument of a handler: its [`Context`].
#[diagnostic::on_unimplemented(
    message = "the last argument of a handler is its `Context`, not `{Self}`",
    label = "its last argument is `{Self}`",
    note = "a handler's arguments are the entity where it is loaded, the event, and the context: `async fn \
            brew(pot: Stored<Pot>, event: TeaTime, cx: Context<(Steeped,)>) -> Outcome<(Steeped,)>`"
)]
pub trait LastArgument: 'static {
    /// What the handler may emit.
    type Emits: Emits;

    /// From the context of a call.
    fn of(context: Context<Self::Emits>) -> Self;
}

impl<Em: Emits> LastArgument for Context<Em> {
    type Emits = Em;

    fn of(context: Context<Em>) -> Self {
        context
    }
}

/// What an `async fn` returns to its caller.
#[diagnostic::on_unimplemented(
    message = "a handler is an `async fn`: this function returns `{Self}`, which is not a future",
    label = "this function is not `async`",
    note = "write `async fn` instead of `fn`"
)]
pub trait Asynchronous {}

// Here and below, without this the compiler would speak of `Future`, and not of what is to be mended.
#[diagnostic::do_not_recommend]
impl<R: Future> Asynchronous for R {}

/// What a handler with `Context<Em>` returns to its caller.
#[diagnostic::on_unimplemented(
    message = "a handler with `Context<{Em}>` returns `Outcome<{Em}>`",
    label = "it returns `{Self}`",
    note = "`Outcome<{Em}>` is `Result<Handled<{Em}>, Failure>`; the tuple of events is the same in `Context<…>` and \
            in `Outcome<…>`"
)]
pub trait ReturnsOutcome<Em> {
    /// It with its type erased.
    fn boxed(self) -> BoxFuture<Outcome<Em>>
    where
        Self: Send + 'static;
}

#[diagnostic::do_not_recommend]
impl<R: Future<Output = Outcome<Em>>, Em> ReturnsOutcome<Em> for R {
    fn boxed(self) -> BoxFuture<Outcome<Em>>
    where
        Self: Send + 'static,
    {
        Box::pin(self)
    }
}

/// What a handler of a route returns to its caller.
#[diagnostic::on_unimplemented(
    message = "a handler of a route returns `Result<Response, Failure>`",
    label = "it returns `{Self}`"
)]
pub trait ReturnsResponse {
    /// It with its type erased.
    fn boxed(self) -> BoxFuture<Result<Response, Failure>>
    where
        Self: Send + 'static;
}

#[diagnostic::do_not_recommend]
impl<R: Future<Output = Result<Response, Failure>>> ReturnsResponse for R {
    fn boxed(self) -> BoxFuture<Result<Response, Failure>>
    where
        Self: Send + 'static,
    {
        Box::pin(self)
    }
}
