//! The trace: a line for everything that happens. Two runs are the same where their traces are, byte for byte.
//!
//! Its hash is by [FxHash](https://docs.rs/rustc-hash)'s step, eight bytes at a time: fast, the same everywhere, and no lock.

use crate::timestamp::Timestamp;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a hash begins with, and what each step of it multiplies by.
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FACTOR: u64 = 0x517c_c1b7_2722_0a95;

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
        }
        state.write(at, words);
    }

    /// Adds a line for people, which is no part of the hash, where the text is kept.
    pub(super) fn explain(&self, at: Timestamp, words: impl FnOnce() -> Vec<String>) {
        let mut state = self.state();
        if state.text.is_some() {
            let words = words();
            state.write(at, &words.iter().map(String::as_str).collect::<Vec<_>>());
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

    fn write(&mut self, at: Timestamp, words: &[&str]) {
        let Some(text) = &mut self.text else { return };
        text.push_str(&at.to_string());
        for word in words {
            // Two spaces part the words of a line from each other, as some have spaces of their own.
            text.push_str("  ");
            text.push_str(word);
        }
        text.push('\n');
    }
}

/// A hash of what was hashed before and of these bytes.
pub(super) fn added(hash: u64, bytes: &[u8]) -> u64 {
    let step = |hash: u64, word: u64| (hash.rotate_left(5) ^ word).wrapping_mul(FACTOR);
    let mut words = bytes.chunks_exact(8);
    let hash = words.by_ref().fold(hash, |hash, word| {
        step(hash, word.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)))
    });
    let left = words.remainder();
    let last = left.iter().rev().fold(left.len() as u64, |word, byte| word << 8 | u64::from(*byte));
    step(hash, last)
}

/// The hash of nothing.
pub(super) fn nothing() -> u64 {
    BASIS
}
