//! What a demonstration shows while it plays.

use crate::{
    print::{Shown, line, shown},
    work::said,
};
use quadrille::{Observation, console::Worked, excerpt, system::Demo};
use std::{collections::HashMap, time::Instant};

/// Up to so many are shown step by step; beyond, only their number.
const SHOWN_ONE_BY_ONE: u64 = 20;

/// A demonstration as it is shown.
pub struct Show {
    /// How many are posted.
    pub count: u64,
    /// What their ids begin with.
    prefix: String,
    /// The numbers of their entities, where those have other ids.
    numbers: HashMap<String, usize>,
    pub began: Instant,
    /// Nothing is shown: a script reads the last line alone.
    pub quiet: bool,
}

impl Show {
    /// `count` to be posted, under ids that begin with `prefix`.
    pub fn new(demo: &dyn Demo, count: u64, prefix: String, quiet: bool) -> Self {
        let mut show = Self { count, prefix, numbers: HashMap::new(), began: Instant::now(), quiet };
        let total = usize::try_from(count).unwrap_or(usize::MAX);
        show.numbers = (0..total).map_while(|at| Some((demo.entity(&show.id(at))?, at))).collect();
        show
    }

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

    /// The id under which the one of this number is posted, counted from 0.
    pub fn id(&self, at: usize) -> String {
        format!("{}{}", self.prefix, at + 1)
    }

    /// The id of its entity.
    pub fn entity(&self, demo: &dyn Demo, at: usize) -> String {
        let id = self.id(at);
        demo.entity(&id).unwrap_or(id)
    }

    /// The number of an entity's id, counted from 0.
    pub fn number_of(&self, id: &str) -> Option<usize> {
        if !self.numbers.is_empty() {
            return self.numbers.get(id).copied();
        }
        let number: u64 = id.strip_prefix(&self.prefix)?.parse().ok()?;
        usize::try_from(number.checked_sub(1)?).ok().filter(|at| (*at as u64) < self.count)
    }

    /// A message that was worked. Whether it is one of those that are counted is told by its subject.
    pub fn observed(&self, step: &Observation) {
        let step = &Worked::from(step);
        let is_counted = self.number_of(&step.subject).is_some();
        let about = if is_counted { excerpt(&step.subject, 300) } else { String::new() };
        if let Some(what) = said(step, &about) {
            self.step(&step.step, &what);
        }
    }
}
