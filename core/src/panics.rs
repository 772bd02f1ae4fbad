//! Panics of code that others wrote. Caught, a panic ends the one thing that was asked for and nothing beside it.

use crate::failure::excerpt;
use futures_util::FutureExt as _;
use std::{any::Any, future::Future, panic::AssertUnwindSafe};

/// The reason of a failure that was a panic.
pub(crate) const PANICKED: &str = "panicked";

/// Text of a panic that is kept.
const TEXT_BYTES_MAX: usize = 1_024;

/// What `work` gives, or the text of its panic.
///
/// What `work` shares with others may be left half changed. All that handlers and ports share is behind locks or messages,
/// and has to stand that anyway: a future is dropped at any await.
pub(crate) async fn caught<T>(work: impl Future<Output = T>) -> Result<T, String> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|panic| text(panic.as_ref()))
}

/// [`caught`], for work that waits for nothing.
pub(crate) fn caught_now<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    std::panic::catch_unwind(AssertUnwindSafe(work)).map_err(|panic| text(panic.as_ref()))
}

/// What a panic says of itself, cut and escaped. `panic!` gives a text, nearly always.
pub(crate) fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    excerpt(&text.unwrap_or_else(|| "it has no text".to_owned()), TEXT_BYTES_MAX)
}
