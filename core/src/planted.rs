//! Mistakes that can be planted, so that it is seen whether a [simulation](crate::sim) finds them.
//!
//! Where a mistake would be made, the code asks whether it is [`planted`]. Without the feature of that name, which no release
//! has, the answer is no wherever it is compiled, and nothing is left of the question.

#[cfg(feature = "planted")]
use std::sync::{PoisonError, RwLock};

/// The mistake that is planted in this process.
#[cfg(feature = "planted")]
static PLANTED: RwLock<Option<&'static str>> = RwLock::new(None);

/// The mistakes of the library that can be planted: each by its name, with what is wrong then.
pub const MISTAKES: &[(&str, &str)] = &[];

/// Whether the mistake of this name is planted.
#[cfg(not(feature = "planted"))]
#[inline]
pub const fn planted(_: &str) -> bool {
    false
}

/// Whether the mistake of this name is planted.
#[cfg(feature = "planted")]
pub fn planted(name: &str) -> bool {
    *PLANTED.read().unwrap_or_else(PoisonError::into_inner) == Some(name)
}

/// Plants the mistake of this name in the whole process, and takes out the one before; `None` plants none.
#[cfg(feature = "planted")]
pub fn plant(name: Option<&'static str>) {
    *PLANTED.write().unwrap_or_else(PoisonError::into_inner) = name;
}
