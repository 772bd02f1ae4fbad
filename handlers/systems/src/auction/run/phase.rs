//! The phases of a run, and what leads from one to the next.

use super::cursors::Cursors;
use quadrille::Failure;
use serde::{Deserialize, Serialize};

/// How far a run is. Stored: in the run, and in each of its pages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Until the runs before it have gathered.
    Queued,
    /// Taking the undecided orders of a run that is left: it passed its deadline, or was given up.
    TakingOver {
        /// That run.
        from: String,
        /// The page of it to come.
        page: u32,
    },
    /// Taking open orders and handing them to the platform.
    Gathering(Cursors),
    /// The platform has them all and has not decided.
    Waiting,
    /// Committing decisions.
    Deciding {
        /// The platform's page token; `None` for the first page.
        after: Option<String>,
        /// Decisions of that page already committed.
        offset: usize,
    },
    /// Looking through the run's own pages for orders whose decision is missing.
    Reconciling {
        /// The page to come.
        page: u32,
    },
    /// Over.
    Ended,
}

/// What moves a run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RoundEvent {
    /// No run before it gathers any more.
    TurnCame {
        /// A run that is left, where there is one.
        left: Option<String>,
    },
    /// A page of orders is the run's.
    PageTaken {
        /// What the page says is next. An earlier attempt may have written it, and that attempt may have begun otherwise.
        next: Phase,
    },
    /// All pages of a run that was left are the run's.
    RunTakenOver {
        /// The next run that is left, where there is one.
        left: Option<String>,
    },
    /// Some decisions are committed, and some are left.
    DecisionsLeft {
        /// The platform's page token; `None` for the first page.
        after: Option<String>,
        /// Decisions of that page already committed.
        offset: usize,
    },
    /// The platform has told all it has, and orders may be without a decision.
    DecisionsMissing,
    /// A page was looked through, and there are more.
    PageReconciled,
    /// Others are kicked off in its place, each for a part of the orders.
    Divided,
    /// Nothing is left to do.
    Finished,
    /// It was left, and another run has taken over the orders.
    Superseded,
}

/// An event that a run in this phase does not expect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a run that is {phase} does not expect {event}")]
pub struct IllegalTransition {
    /// The phase.
    pub phase: &'static str,
    /// The event.
    pub event: String,
}

impl From<IllegalTransition> for Failure {
    /// Permanent: the next attempt would find the run in the same phase.
    fn from(illegal: IllegalTransition) -> Self {
        Self::permanent("illegal_transition", illegal)
    }
}

impl Phase {
    /// The phase that follows this one on `event`. It lists every legal transition.
    ///
    /// # Errors
    /// Any other.
    pub(super) fn next(self, event: RoundEvent) -> Result<Self, IllegalTransition> {
        use Phase::{Deciding, Ended, Gathering, Queued, Reconciling, TakingOver, Waiting};
        use RoundEvent as On;
        Ok(match (self, event) {
            (Queued, On::TurnCame { left }) | (TakingOver { .. }, On::RunTakenOver { left }) => match left {
                Some(from) => TakingOver { from, page: 0 },
                None => Gathering(Cursors::start()),
            },
            (
                TakingOver { .. } | Gathering(_),
                On::PageTaken { next: next @ (TakingOver { .. } | Gathering(_) | Waiting) },
            ) => next,
            (Waiting | Deciding { .. }, On::DecisionsLeft { after, offset }) => Deciding { after, offset },
            (Waiting | Deciding { .. }, On::DecisionsMissing) => Reconciling { page: 0 },
            (Reconciling { page }, On::PageReconciled) => Reconciling { page: page.saturating_add(1) },
            (Queued, On::Divided) | (Waiting | Deciding { .. } | Reconciling { .. }, On::Finished) => Ended,
            (
                Queued | TakingOver { .. } | Gathering(_) | Waiting | Deciding { .. } | Reconciling { .. },
                On::Superseded,
            ) => Ended,
            (phase, event) => {
                return Err(IllegalTransition { phase: phase.name(), event: event.to_string() });
            }
        })
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::TakingOver { .. } => "taking_over",
            Self::Gathering(_) => "gathering",
            Self::Waiting => "waiting",
            Self::Deciding { .. } => "deciding",
            Self::Reconciling { .. } => "reconciling",
            Self::Ended => "ended",
        }
    }
}

impl std::fmt::Display for RoundEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TurnCame { .. } => "turn_came",
            Self::PageTaken { next } => return write!(f, "page_taken (next: {})", next.name()),
            Self::RunTakenOver { .. } => "run_taken_over",
            Self::DecisionsLeft { .. } => "decisions_left",
            Self::DecisionsMissing => "decisions_missing",
            Self::PageReconciled => "page_reconciled",
            Self::Divided => "divided",
            Self::Finished => "finished",
            Self::Superseded => "superseded",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auction::RUN_STATUSES;
    use std::collections::{BTreeMap, BTreeSet};

    fn phases() -> Vec<Phase> {
        vec![
            Phase::Queued,
            Phase::TakingOver { from: "a".into(), page: 3 },
            Phase::Gathering(Cursors::start()),
            Phase::Waiting,
            Phase::Deciding { after: Some("x".into()), offset: 7 },
            Phase::Reconciling { page: 3 },
            Phase::Ended,
        ]
    }

    fn events() -> Vec<RoundEvent> {
        let left = [None, Some("b".to_owned())];
        let turns = left.clone().map(|left| RoundEvent::TurnCame { left });
        let taken_over = left.map(|left| RoundEvent::RunTakenOver { left });
        let taken = phases().into_iter().map(|next| RoundEvent::PageTaken { next });
        let others = [
            RoundEvent::DecisionsLeft { after: None, offset: 760 },
            RoundEvent::DecisionsMissing,
            RoundEvent::PageReconciled,
            RoundEvent::Divided,
            RoundEvent::Finished,
            RoundEvent::Superseded,
        ];
        turns.into_iter().chain(taken_over).chain(taken).chain(others).collect()
    }

    /// Every legal transition: the phase and the event, by name, and what follows; more than one where what the event
    /// carries decides.
    const LEGAL: [(&str, &str, &[&str]); 23] = [
        ("queued", "turn_came", &["gathering", "taking_over"]),
        ("queued", "divided", &["ended"]),
        ("queued", "superseded", &["ended"]),
        ("taking_over", "page_taken (next: taking_over)", &["taking_over"]),
        ("taking_over", "page_taken (next: gathering)", &["gathering"]),
        ("taking_over", "page_taken (next: waiting)", &["waiting"]),
        ("taking_over", "run_taken_over", &["gathering", "taking_over"]),
        ("taking_over", "superseded", &["ended"]),
        ("gathering", "page_taken (next: taking_over)", &["taking_over"]),
        ("gathering", "page_taken (next: gathering)", &["gathering"]),
        ("gathering", "page_taken (next: waiting)", &["waiting"]),
        ("gathering", "superseded", &["ended"]),
        ("waiting", "decisions_left", &["deciding"]),
        ("waiting", "decisions_missing", &["reconciling"]),
        ("waiting", "finished", &["ended"]),
        ("waiting", "superseded", &["ended"]),
        ("deciding", "decisions_left", &["deciding"]),
        ("deciding", "decisions_missing", &["reconciling"]),
        ("deciding", "finished", &["ended"]),
        ("deciding", "superseded", &["ended"]),
        ("reconciling", "page_reconciled", &["reconciling"]),
        ("reconciling", "finished", &["ended"]),
        ("reconciling", "superseded", &["ended"]),
    ];

    #[test]
    fn of_all_phases_and_events_only_the_legal_ones_lead_on_and_the_others_are_named() {
        let mut found: BTreeMap<(&str, String), BTreeSet<&str>> = BTreeMap::new();
        for phase in phases() {
            for event in events() {
                let (from, on) = (phase.name(), event.to_string());
                match phase.clone().next(event) {
                    Ok(next) => {
                        found.entry((from, on)).or_default().insert(next.name());
                    }
                    Err(illegal) => {
                        assert_eq!((illegal.phase, illegal.event.as_str()), (from, on.as_str()));
                        let failure = Failure::from(illegal);
                        assert_eq!((failure.reason(), failure.is_permanent()), ("illegal_transition", true));
                        assert!(
                            failure.detail().contains(from) && failure.detail().contains(&on),
                            "{failure}"
                        );
                    }
                }
            }
        }
        let legal =
            LEGAL.iter().map(|(from, on, next)| ((*from, (*on).to_owned()), next.iter().copied().collect()));
        assert_eq!(found, legal.collect());
    }

    #[test]
    fn what_an_event_carries_is_in_the_phase_that_follows() {
        let next = |phase: Phase, event| phase.next(event).unwrap();
        let from = Some("b".to_owned());
        let first = Phase::TakingOver { from: "b".into(), page: 0 };
        assert_eq!(next(Phase::Queued, RoundEvent::TurnCame { left: from.clone() }), first);
        let later = Phase::TakingOver { from: "a".into(), page: 9 };
        assert_eq!(next(later.clone(), RoundEvent::RunTakenOver { left: from }), first);
        assert_eq!(next(first, RoundEvent::PageTaken { next: later.clone() }), later);
        let left = RoundEvent::DecisionsLeft { after: Some("t".into()), offset: 5 };
        assert_eq!(next(Phase::Waiting, left), Phase::Deciding { after: Some("t".into()), offset: 5 });
        let reconciling = next(Phase::Waiting, RoundEvent::DecisionsMissing);
        assert_eq!(reconciling, Phase::Reconciling { page: 0 });
        assert_eq!(next(reconciling, RoundEvent::PageReconciled), Phase::Reconciling { page: 1 });
    }

    #[test]
    fn a_phase_is_named_as_it_is_stored() {
        for phase in phases() {
            let stored = serde_json::to_value(&phase).unwrap();
            let fields = stored.as_object().and_then(|fields| fields.keys().next());
            assert_eq!(stored.as_str().or(fields.map(String::as_str)), Some(phase.name()));
            assert!(RUN_STATUSES.contains(&phase.name()), "{phase:?}");
        }
        assert_eq!(phases().len(), RUN_STATUSES.len());
    }
}
