//! The trace: a line for everything that happens. Two runs are the same where their traces are, byte for byte.

use crate::timestamp::Timestamp;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// FNV-1a, 64 bits.
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// A trace, as its hash, and as text where that is kept.
#[derive(Debug)]
pub(super) struct Trace(Mutex<State>);

#[derive(Debug)]
struct State {
    hash: u64,
    text: Option<String>,
}

impl Trace {
    pub(super) fn new(is_kept: bool) -> Self {
        Self(Mutex::new(State { hash: BASIS, text: is_kept.then(String::new) }))
    }

    /// Adds a line: the time, and these words.
    pub(super) fn tell(&self, at: Timestamp, words: &[&str]) {
        let mut state = self.state();
        state.add(&at.as_millis().to_le_bytes());
        for word in words {
            state.add(word.as_bytes());
            state.add(b" ");
        }
        if let Some(text) = &mut state.text {
            text.push_str(&at.to_string());
            for word in words {
                text.push(' ');
                text.push_str(word);
            }
            text.push('\n');
        }
    }

    pub(super) fn hash(&self) -> u64 {
        self.state().hash
    }

    pub(super) fn text(&self) -> Option<String> {
        self.state().text.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, bytes: &[u8]) {
        self.hash = added(self.hash, bytes);
    }
}

/// A hash of what was hashed before and of these bytes.
pub(super) fn added(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

/// The hash of nothing.
pub(super) fn nothing() -> u64 {
    BASIS
}
