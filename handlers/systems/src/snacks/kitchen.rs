//! The kitchen: who makes what is ordered.

use async_trait::async_trait;
use quadrille::{
    Failure, Service, Setting, Surroundings, Uses, Wire, domain::snacks::SnackItem, port::stable_hash,
    setting::SettingError,
};
use std::sync::Arc;

/// The setting of what the simulated kitchen fails by.
pub const SEED: &str = "seed";
/// The setting of how many of 100 orders the simulated kitchen never makes.
pub const FAILING: &str = "failing";
/// The setting of how many of 100 orders it makes at the second attempt.
pub const BUSY: &str = "busy";

/// The reason of a failure that may pass.
pub const KITCHEN_BUSY: &str = "kitchen_busy";

/// What the kitchen is told of an order: not who ordered.
#[derive(Clone, Copy, Debug)]
pub struct Ticket<'a> {
    /// The order. Whatever is asked again for it has no second effect.
    pub order_id: &'a str,
    /// What to make.
    pub items: &'a [SnackItem],
    /// Which attempt this is, counted from 1.
    pub attempt: u32,
}

/// The kitchen, which makes orders in two steps. Each call may be repeated, and is, after a crash or a lost answer.
#[async_trait]
pub trait Kitchen: Send + Sync {
    /// Prepares the snacks of an order, once. Of one that was called off it prepares nothing.
    ///
    /// # Errors
    /// A transient [`Failure`] where the kitchen is busy or can't be reached, a permanent one where it refuses the order.
    async fn prepare(&self, ticket: Ticket<'_>) -> Result<(), Failure>;

    /// Packs what it has prepared, once.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare).
    async fn pack(&self, ticket: Ticket<'_>) -> Result<(), Failure>;

    /// Calls an order off, whether it knows it or not. What comes of it later is not made.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare).
    async fn call_off(&self, order_id: &str) -> Result<(), Failure>;
}

/// What becomes of an order in the simulated kitchen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is made at once.
    Made,
    /// It is made at the second attempt.
    MadeLater,
    /// Each attempt fails.
    Failing,
}

/// The kitchen where there is none. It makes nothing, and fails by seed and order: an order has one fate in every run, process
/// and machine.
#[derive(Clone, Debug)]
pub struct SimulatedKitchen {
    seed: u64,
    failing: u64,
    busy: u64,
    wire: Wire,
}

impl SimulatedKitchen {
    /// A kitchen in which of 100 orders `failing` fail and `busy` are made at the second attempt, as `seed` decides.
    pub fn new(seed: u64, failing: u64, busy: u64) -> Self {
        Self { seed, failing, busy, wire: Wire::direct() }
    }

    /// The same, asked over this wire.
    #[must_use]
    pub fn over(self, wire: Wire) -> Self {
        Self { wire, ..self }
    }

    /// Whether it has a hand free for an order now.
    fn has_hand(&self, ticket: Ticket<'_>) -> Result<(), Failure> {
        match (self.fate(ticket.order_id), ticket.attempt) {
            (Fate::Made, _) | (Fate::MadeLater, 2..) if !self.wire.is_fickle() => Ok(()),
            _ => Err(Failure::transient(KITCHEN_BUSY, "the kitchen has no hand free for it")),
        }
    }

    /// What becomes of an order.
    pub fn fate(&self, order_id: &str) -> Fate {
        let bytes = [&self.seed.to_le_bytes(), order_id.as_bytes()].concat();
        let share = stable_hash(&bytes) % 100;
        if share < self.failing {
            Fate::Failing
        } else if share < self.failing.saturating_add(self.busy) {
            Fate::MadeLater
        } else {
            Fate::Made
        }
    }
}

#[async_trait]
impl Kitchen for SimulatedKitchen {
    async fn prepare(&self, ticket: Ticket<'_>) -> Result<(), Failure> {
        let what = format!("prepare {}", ticket.order_id);
        self.wire.call(what, async { self.has_hand(ticket) }).await
    }

    async fn pack(&self, ticket: Ticket<'_>) -> Result<(), Failure> {
        self.wire.call(format!("pack {}", ticket.order_id), async { Ok(()) }).await
    }

    async fn call_off(&self, order_id: &str) -> Result<(), Failure> {
        self.wire.call(format!("call off {order_id}"), async { Ok(()) }).await
    }
}

/// What may be set of it.
pub fn settings() -> [Setting; 3] {
    [
        Setting::integer(SEED).default("1").help("The seed of the simulated kitchen's failures."),
        Setting::integer(FAILING)
            .within(0..=100)
            .default("0")
            .default_locally("25")
            .help("Of how many of 100 orders each attempt of the simulated kitchen fails."),
        Setting::integer(BUSY)
            .within(0..=100)
            .default("0")
            .default_locally("20")
            .help("How many of 100 orders the simulated kitchen makes at the second attempt."),
    ]
}

/// The service, made of the settings.
pub fn service() -> Service<dyn Kitchen> {
    // It only stands for a kitchen.
    Service::<dyn Kitchen>::new(made)
        .tried_where(|_| Ok(true))
        .uses(Uses::new().setting(SEED).setting(FAILING).setting(BUSY))
}

fn made(around: &Surroundings<'_>) -> Result<Arc<dyn Kitchen>, SettingError> {
    let number = |name| around.setting::<u64>(name);
    let kitchen = SimulatedKitchen::new(number(SEED)?, number(FAILING)?, number(BUSY)?);
    Ok(Arc::new(kitchen.over(around.wire())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fate_follows_from_seed_and_order_in_the_shares_that_are_set() {
        let kitchen = SimulatedKitchen::new(1, 10, 20);
        let fates: Vec<Fate> = (0..10_000).map(|number| kitchen.fate(&format!("order-{number}"))).collect();
        let of = |wanted| fates.iter().filter(|fate| **fate == wanted).count();
        assert!((900..1_100).contains(&of(Fate::Failing)), "{}", of(Fate::Failing));
        assert!((1_850..2_150).contains(&of(Fate::MadeLater)), "{}", of(Fate::MadeLater));
        let again = |seed| {
            let kitchen = SimulatedKitchen::new(seed, 10, 20);
            (0..10_000).map(move |number| kitchen.fate(&format!("order-{number}")))
        };
        assert!(again(1).eq(fates.iter().copied()) && !again(2).eq(fates.iter().copied()));
    }

    #[tokio::test]
    async fn what_fails_may_pass_and_what_is_busy_is_made_at_the_second_attempt() {
        let ticket = |attempt| Ticket { order_id: "1", items: &[], attempt };
        for (kitchen, fails) in [
            (SimulatedKitchen::new(1, 0, 0), [false, false, false]),
            (SimulatedKitchen::new(1, 0, 100), [true, false, false]),
            (SimulatedKitchen::new(1, 100, 0), [true, true, true]),
        ] {
            for (attempt, fails) in (1..).zip(fails) {
                let prepared = kitchen.prepare(ticket(attempt)).await;
                assert_eq!(prepared.is_err(), fails, "{kitchen:?}, attempt {attempt}");
                assert!(prepared.err().is_none_or(|failure| !failure.is_permanent()));
            }
        }
    }
}
