//! Files accepted orders, once, and fails the others into the dead-letter queue.

use crate::shared::{Done, Queue, Step, Table, backoff, config, count, json, took, unavailable, variable};
use aws_sdk_s3::{Client, error::ProvideErrorMetadata as _};
use lambda_runtime::Error;
use quadrille::{
    Failure, Timestamp,
    decimal::Decimal,
    domain::auction::{Order, OrderResult, OrderStatus, result_key},
};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, time::Duration};

const WAIT_MAX: Duration = Duration::from_secs(300);

/// "This order is decided", or why it can't be: all that is needed to finish, for the order may be gone by a redrive.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OrderDecided {
    record_id: String,
    run_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    result: Option<Decided>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fault: Option<Cow<'static, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// A decision with what is filed of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Decided {
    status: OrderStatus,
    power: Option<Decimal>,
    parameter_1: String,
    parameter_2: Decimal,
    decided_at: Timestamp,
}

impl OrderDecided {
    pub fn of(order: &Order, run_id: &str) -> Self {
        let result = order.result().map(|result| Decided {
            status: result.status,
            power: result.power.cloned(),
            parameter_1: result.parameter_1.to_owned(),
            parameter_2: result.parameter_2.clone(),
            decided_at: result.decided_at,
        });
        let (record_id, run_id) = (order.record_id.clone(), run_id.to_owned());
        Self { record_id, run_id, result, fault: order.undecidable.clone(), detail: None }
    }

    /// A decision that fits no order of the run.
    pub fn fault(run_id: &str, record_id: &str, fault: &'static str) -> Self {
        let (record_id, run_id) = (record_id.to_owned(), run_id.to_owned());
        Self { record_id, run_id, result: None, fault: Some(Cow::Borrowed(fault)), detail: None }
    }

    /// A decision that could not be read.
    pub fn broken(run_id: &str, detail: String) -> Self {
        Self { detail: Some(detail), ..Self::fault(run_id, "", "broken_decision") }
    }
}

struct Filing {
    orders: Table,
    results: Client,
    bucket: String,
    /// Prefixes that the keys of results are spread over.
    prefixes: u64,
}

pub async fn run() -> Result<(), Error> {
    let config = config().await;
    let orders = Table::new(&config, "TABLE_NAME", "key")?;
    let (bucket, prefixes) = (variable("RESULTS_BUCKET")?, variable("RESULT_PREFIXES")?.parse()?);
    let filing = Filing { orders, results: Client::new(&config), bucket, prefixes };
    Queue::new(&config, 5, |attempt| backoff(attempt, WAIT_MAX))?.work(filing).await
}

impl Step for Filing {
    type Message = OrderDecided;

    fn read(&self, body: &str) -> Result<OrderDecided, Failure> {
        json(body)
    }

    async fn handle(&self, event: &OrderDecided, _: u32) -> Done {
        if let Some(fault) = &event.fault {
            let unfit = || format!("the decision of run {} fits no rule", event.run_id);
            return Err(Failure::permanent(fault.clone(), event.detail.clone().unwrap_or_else(unfit)));
        }
        let Some(decided) = &event.result else {
            return Err(Failure::permanent("decision_missing", "the event holds no decision"));
        };
        match decided.status {
            OrderStatus::Accepted => {}
            OrderStatus::Rejected => {
                let detail = format_args!("run {} rejected the order", event.run_id);
                return Err(Failure::permanent("rejected", detail));
            }
            other => {
                let detail = format_args!("an order is not filed as {other}");
                return Err(Failure::permanent("unknown_status", detail));
            }
        }
        let order = self.orders.get::<Order>(&event.record_id).await?;
        if order.as_ref().is_some_and(|order| order.result_key.is_some()) {
            return Ok("already filed");
        }
        let key = self.file(event, decided).await?;
        let Some(mut order) = order else { return Ok("filed; the order itself has expired") };
        order.result_key = Some(key);
        self.orders.commit(&order, "stored", Vec::new()).await?;
        count("OrdersStored");
        took("ReceivedToStored", order.received_at);
        Ok("stored")
    }

    async fn note(&self, event: &OrderDecided, what: &str) -> Result<(), Failure> {
        self.orders.note::<Order>(&event.record_id, what).await
    }
}

impl Filing {
    /// Puts the result where it is not there yet: the key is a function of the decision.
    async fn file(&self, event: &OrderDecided, decided: &Decided) -> Result<String, Failure> {
        let result = OrderResult {
            record_id: &event.record_id,
            status: decided.status,
            power: decided.power.as_ref(),
            parameter_1: &decided.parameter_1,
            parameter_2: &decided.parameter_2,
            run_id: &event.run_id,
            decided_at: decided.decided_at,
        };
        let body = serde_json::to_vec(&result).map_err(|error| Failure::permanent("unwritable", error))?;
        let key = result_key(&event.record_id, decided.decided_at, self.prefixes);
        let put = self.results.put_object().bucket(&self.bucket).key(&key).body(body.into());
        match put.if_none_match("*").send().await {
            Ok(_) => Ok(key),
            Err(error) if error.code() == Some("PreconditionFailed") => Ok(key),
            Err(error) => Err(unavailable("bucket", &error)),
        }
    }
}
