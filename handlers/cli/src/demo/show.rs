//! What a demonstration shows while it plays.

use crate::print::{Shown, line, shown};
use quadrille::{Observation, Verdict, excerpt};
use std::time::Instant;

/// Up to so many are shown step by step; beyond, only their number.
const SHOWN_ONE_BY_ONE: u64 = 20;

/// A demonstration as it is shown.
pub struct Show {
    /// How many are posted.
    pub count: u64,
    /// What their ids begin with.
    pub prefix: String,
    pub began: Instant,
    /// Nothing is shown: a script reads the last line alone.
    pub quiet: bool,
}

impl Show {
    pub fn one_by_one(&self) -> bool {
        self.count <= SHOWN_ONE_BY_ONE && !self.quiet
    }

    pub fn title(&self, text: &str) {
        if !self.quiet {
            line(format_args!("\n{}", shown(text, Shown::Bold)));
        }
    }

    pub fn step(&self, who: &str, what: &str) {
        if !self.quiet {
            let at = format!("{:7.2} s", self.began.elapsed().as_secs_f64());
            line(format_args!("{}  {who:13}  {what}", shown(&at, Shown::Dim)));
        }
    }

    /// The id of the one of this number, counted from 0.
    pub fn id(&self, at: usize) -> String {
        format!("{}{}", self.prefix, at + 1)
    }

    /// The number of an id, counted from 0.
    pub fn number_of(&self, id: &str) -> Option<usize> {
        let number: u64 = id.strip_prefix(&self.prefix)?.parse().ok()?;
        usize::try_from(number.checked_sub(1)?).ok().filter(|at| (*at as u64) < self.count)
    }

    /// A message that was worked. Whether it is one of those that are counted is told by its subject.
    pub fn observed(&self, step: &Observation) {
        let is_counted = self.number_of(&step.subject).is_some();
        let about = if is_counted { format!("{}: ", excerpt(&step.subject, 300)) } else { String::new() };
        let what = match &step.verdict {
            Verdict::Done => format!("{about}{}", step.what),
            Verdict::Ended(_) => shown(&format!("{about}ended: {}", step.what), Shown::Waiting),
            Verdict::Later(left) => format!("{about}not before {left:?} have passed"),
            Verdict::Retry(after, _) => {
                shown(&format!("{about}{}, again in {after:?}", step.what), Shown::Waiting)
            }
            Verdict::DeadLetter(_) => shown(&format!("{about}dead-lettered: {}", step.what), Shown::Bad),
        };
        self.step(&step.step, &what);
    }
}
