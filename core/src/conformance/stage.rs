//! What a scenario plays on: the world, names of its own, waiting with a bound, and assertions that answer.

use super::{Capabilities, Violation, World};
use crate::{
    port::{Damage, Ports, stable_hash},
    timestamp::Timestamp,
};
use std::{collections::BTreeMap, fmt::Debug, future::Future, time::Duration};
use tokio::task::JoinSet;

/// How long, in real time, a call is given that should answer without any time passing in the world.
const GRACE: Duration = Duration::from_secs(2);

/// How long, in real time, a call that is due gets before more time passes in the world.
const GLANCE: Duration = Duration::from_millis(10);

/// How long, in real time, an adapter may be at work on what is due. Where time is not real, none passes meanwhile.
const AT_WORK: Duration = Duration::from_millis(500);

/// The world as one scenario has it.
pub(super) struct Stage<'a> {
    world: &'a dyn World,
    pub(super) ports: Ports,
    pub(super) claims: Capabilities,
    /// In every name that the scenario uses, so that nothing of an earlier one is mistaken for its own.
    pub(super) tag: String,
}

impl<'a> Stage<'a> {
    pub(super) fn new(world: &'a dyn World, scenario: &str) -> Self {
        let ports = world.ports();
        // A seeded world that is reopened draws the same numbers again, but at a later time.
        let seed = format!("{:x}/{}/{scenario}", ports.random.next_u64(), ports.clock.now());
        let tag = format!("{:016x}", stable_hash(seed.as_bytes()));
        Self { world, claims: world.capabilities(), ports, tag }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.ports.clock.now()
    }

    /// The time `seconds` from now, rounded down to a whole second, which is all that some clouds keep of an expiry.
    pub(super) fn in_seconds(&self, seconds: i64) -> Timestamp {
        Timestamp::from_millis((self.now().as_secs() + seconds) * 1_000)
    }

    pub(super) async fn pass(&self, time: Duration) {
        self.world.pass(time).await;
    }

    pub(super) async fn damage(&self, damage: Damage<'_>) -> Result<(), Violation> {
        holds("what is to be damaged is there", self.world.damage(damage).await, damage)
    }

    /// Patience for something that is due now: as much as the adapter may be late.
    pub(super) fn patience(&self) -> Patience<'_> {
        let step = (self.claims.lateness / 20).max(GLANCE);
        Patience { stage: self, left: self.claims.lateness, at_work: AT_WORK, step }
    }

    /// The answer of a call that something wakes: it comes without time passing, but for what the adapter may be late.
    pub(super) async fn woken<T: 'static>(&self, what: &str, mut call: Call<T>) -> Result<T, Violation> {
        let mut late = self.claims.lateness;
        while !late.is_zero() {
            if let Ok(answer) = tokio::time::timeout(GLANCE, call.joined()).await {
                return answer;
            }
            let step = (self.claims.lateness / 20).max(GLANCE).min(late);
            late -= step;
            self.pass(step).await;
        }
        let hangs = |_| Violation::Hangs { what: what.to_owned(), time: GRACE };
        tokio::time::timeout(GRACE, call.answer()).await.map_err(hangs)?
    }

    /// Asserts how often a message was received, as exactly as the adapter counts.
    pub(super) fn received(&self, what: &str, expected: u32, found: u32) -> Result<(), Violation> {
        if self.claims.exact_receives {
            return same(what, &expected, &found);
        }
        let off = expected.abs_diff(found);
        holds(&format!("{what} is about {expected}"), off <= 1, found)
    }

    /// The answer of a call that is to come while `time` passes.
    pub(super) async fn answered<T: 'static>(
        &self,
        what: &str,
        mut call: Call<T>,
        time: Duration,
    ) -> Result<T, Violation> {
        const STEPS: u32 = 8;
        for _ in 0..STEPS {
            if let Ok(answer) = tokio::time::timeout(GLANCE, call.joined()).await {
                return answer;
            }
            self.pass(time / STEPS).await;
        }
        self.woken(what, call).await
    }
}

/// Waiting with a bound.
pub(super) struct Patience<'a> {
    stage: &'a Stage<'a>,
    left: Duration,
    at_work: Duration,
    step: Duration,
}

impl Patience<'_> {
    /// Lets a little time pass; false once the bound is reached.
    pub(super) async fn wait(&mut self) -> bool {
        if self.left.is_zero() {
            let step = GLANCE.min(self.at_work);
            self.at_work -= step;
            tokio::time::sleep(step).await;
            return !step.is_zero();
        }
        let step = self.step.min(self.left);
        self.left -= step;
        self.stage.pass(step).await;
        true
    }
}

/// A call under way beside the scenario. Dropped, it is given up.
pub(super) struct Call<T>(JoinSet<T>);

impl<T: Send + 'static> Call<T> {
    pub(super) fn begin(call: impl Future<Output = T> + Send + 'static) -> Self {
        let mut calls = JoinSet::new();
        calls.spawn(call);
        Self(calls)
    }
}

impl<T: 'static> Call<T> {
    async fn answer(mut self) -> Result<T, Violation> {
        self.joined().await
    }

    async fn joined(&mut self) -> Result<T, Violation> {
        let broken = |error: String| Violation::Call { what: "a call under way".to_owned(), error };
        let joined = self.0.join_next().await.ok_or_else(|| broken("it has already answered".to_owned()))?;
        joined.map_err(|error| broken(error.to_string()))
    }
}

/// The answers of calls that are all under way together, in the order of `calls`.
pub(super) async fn together<T, F>(calls: impl IntoIterator<Item = F>) -> Result<Vec<T>, Violation>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let begun: Vec<Call<T>> = calls.into_iter().map(Call::begin).collect();
    let mut answers = Vec::with_capacity(begun.len());
    for call in begun {
        answers.push(call.answer().await?);
    }
    Ok(answers)
}

/// `text`, filled up to `bytes` bytes.
pub(super) fn filled(text: String, bytes: usize) -> String {
    let filler = "x".repeat(bytes.saturating_sub(text.len()));
    text + &filler
}

/// Asserts that `found` is what was promised.
pub(super) fn same<T: PartialEq + Debug + ?Sized>(
    what: &str,
    expected: &T,
    found: &T,
) -> Result<(), Violation> {
    if expected == found { Ok(()) } else { Err(Violation::differs(what, expected, found)) }
}

/// Asserts a condition; `found` is what stands against it.
pub(super) fn holds(what: &str, condition: bool, found: impl Debug) -> Result<(), Violation> {
    if condition { Ok(()) } else { Err(Violation::differs(what, format_args!("that it holds"), found)) }
}

/// Asserts that both hold the same ids equally often, in any order.
pub(super) fn same_ids<S: Into<String>>(
    what: &str,
    expected: impl IntoIterator<Item = S>,
    found: impl IntoIterator<Item = S>,
) -> Result<(), Violation> {
    let mut balance: BTreeMap<String, i64> = BTreeMap::new();
    expected.into_iter().for_each(|id| *balance.entry(id.into()).or_default() += 1);
    found.into_iter().for_each(|id| *balance.entry(id.into()).or_default() -= 1);
    let (mut missing, mut extra) = (Vec::new(), Vec::new());
    for (id, balance) in balance {
        let side = if balance > 0 { &mut missing } else { &mut extra };
        side.extend((0..balance.abs()).map(|_| id.clone()));
    }
    if missing.is_empty() && extra.is_empty() {
        return Ok(());
    }
    Err(Violation::Ids { what: what.to_owned(), missing, extra })
}
