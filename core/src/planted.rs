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
pub const MISTAKES: &[(&str, &str)] = &[
    ("acknowledge_before_commit", "A consumer acknowledges its messages before they are worked."),
    ("unconditional_write", "A commit is applied whatever version the entity has."),
    ("event_id_of_each_sending", "The relay gives an event an id of its own each time it sends it."),
    ("relay_skips_on_error", "The relay goes on behind events that it could not send."),
    (
        "unconfirmed_entry_counted_as_sent",
        "Where one entry of a batch is taken, the relay takes all of them for sent.",
    ),
    ("checkpoint_before_send", "The relay checkpoints records before it sends them on."),
    ("events_before_commit", "The events of a commit are sent before it is applied."),
    ("event_told_anew", "An event tells when it was sent, and so something else each time."),
    ("never_due", "A message that waits for its time is sent on for ever."),
    ("reason_dropped", "A dead letter does not say why it was given up."),
    ("redrive_deletes_first", "A redrive deletes dead letters before it sends them back."),
    ("budget_not_carried", "An event that stays on a cycle begins its budget anew."),
    ("trail_begun_anew", "A commit forgets what the trail told before."),
    ("letters_told_again", "An alarm tells of dead letters that it has told of."),
    ("later_letters_untold", "An alarm that is red does not tell of the dead letters that come later."),
    ("backoff_that_never_grows", "The wait before each further attempt is as short as the first."),
];

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
