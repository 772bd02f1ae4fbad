//! A gateway that remembers everybody whom it charged, and does as a test says.

use crate::world::Meddler;
use async_trait::async_trait;
use quadrille::{Failure, Timestamp};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use systems::checkout::gateway::{Answer, Charge, PaymentGateway, Receipt, Voided};

/// What it does with a charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    Charges,
    Declines,
    /// It charges, and its answer is lost.
    ChargesUnheard,
    /// It is not there.
    IsOut,
    /// It refuses the request: no retry helps.
    Refuses,
    /// It has not decided.
    Waits(Duration),
    /// It never answers.
    Hangs,
}

/// What became of a charge, by its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Charged,
    Declined,
    Voided,
    Refunded,
}

type Ask = Box<dyn Fn(&str, usize) -> Does + Send + Sync>;

pub struct Bank {
    /// What it does with an order's charge, and the how manyth ask of that it is, from 0.
    does: Mutex<Ask>,
    asked: Mutex<BTreeMap<String, usize>>,
    /// By key.
    pub fates: Mutex<BTreeMap<String, Fate>>,
    /// How many times money went from somebody, by order.
    pub charged: Mutex<BTreeMap<String, usize>>,
    pub meddler: Arc<Meddler>,
    /// While set, voids fail.
    pub voids_fail: Mutex<bool>,
}

impl Bank {
    pub fn new(meddler: Arc<Meddler>) -> Self {
        Self {
            does: Mutex::new(Box::new(|_, _| Does::Charges)),
            asked: Mutex::default(),
            fates: Mutex::default(),
            charged: Mutex::default(),
            meddler,
            voids_fail: Mutex::new(false),
        }
    }

    pub fn does(&self, does: impl Fn(&str, usize) -> Does + Send + Sync + 'static) {
        *self.does.lock().unwrap() = Box::new(does);
    }

    /// How often a charge of this order was asked for.
    pub fn asked(&self, order_id: &str) -> usize {
        self.asked.lock().unwrap().get(order_id).copied().unwrap_or_default()
    }

    /// What became of an order's charge.
    pub fn fate(&self, order_id: &str) -> Option<Fate> {
        let fates = self.fates.lock().unwrap();
        let mut found = fates.iter().filter(|(key, _)| order_of(key) == order_id);
        let fate = found.next().map(|(_, fate)| *fate);
        assert!(found.next().is_none(), "{order_id} has two keys");
        fate
    }

    fn charge_now(&self, charge: &Charge) -> Fate {
        let mut fates = self.fates.lock().unwrap();
        *fates.entry(charge.key.clone()).or_insert_with(|| {
            *self.charged.lock().unwrap().entry(charge.order_id.clone()).or_default() += 1;
            Fate::Charged
        })
    }
}

fn order_of(key: &str) -> &str {
    key.rsplit_once('@').unwrap().0
}

fn receipt(key: &str) -> Receipt {
    Receipt {
        transaction_id: Some(format!("bank-{key}")),
        processed_at: Some(Timestamp::from_millis(1_000)),
        provider: "the bank".into(),
        message: None,
    }
}

fn told(fate: Fate, key: &str) -> Answer {
    match fate {
        Fate::Charged => Answer::Succeeded(receipt(key)),
        Fate::Declined | Fate::Voided | Fate::Refunded => Answer::Declined(receipt(key)),
    }
}

#[async_trait]
impl PaymentGateway for Bank {
    async fn charge(&self, charge: &Charge, _: u32) -> Result<Answer, Failure> {
        let nth = {
            let mut asked = self.asked.lock().unwrap();
            let count = asked.entry(charge.order_id.clone()).or_default();
            *count += 1;
            *count - 1
        };
        let does = (self.does.lock().unwrap())(&charge.order_id, nth);
        let out = || Failure::transient("gateway_unreachable", "the bank is out");
        self.meddler.before().map_err(|()| out())?;
        tokio::task::yield_now().await;
        let answer = match does {
            Does::Charges => Ok(told(self.charge_now(charge), &charge.key)),
            Does::ChargesUnheard => {
                self.charge_now(charge);
                Err(out())
            }
            Does::Declines => {
                let fate = *self.fates.lock().unwrap().entry(charge.key.clone()).or_insert(Fate::Declined);
                Ok(told(fate, &charge.key))
            }
            Does::IsOut => Err(out()),
            Does::Refuses => Err(Failure::permanent("gateway_refused", "the bank does not know us")),
            Does::Waits(time) => Ok(Answer::Pending(time)),
            Does::Hangs => std::future::pending().await,
        };
        self.meddler.after().map_err(|()| out())?;
        answer
    }

    async fn void(&self, key: &str) -> Result<Voided, Failure> {
        let out = || Failure::transient("gateway_unreachable", "the bank is out");
        self.meddler.before().map_err(|()| out())?;
        if *self.voids_fail.lock().unwrap() {
            return Err(out());
        }
        let fate = {
            let mut fates = self.fates.lock().unwrap();
            let fate = fates.entry(key.to_owned()).or_insert(Fate::Voided);
            if *fate == Fate::Charged {
                *fate = Fate::Refunded;
            }
            *fate
        };
        self.meddler.after().map_err(|()| out())?;
        Ok(match fate {
            Fate::Refunded => Voided::Refunded(receipt(key)),
            Fate::Charged | Fate::Declined | Fate::Voided => Voided::Nothing(receipt(key)),
        })
    }
}
