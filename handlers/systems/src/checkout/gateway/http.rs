//! The gateway behind a base URL.

use super::{Answer, Charge, PaymentGateway, Receipt, Voided};
use async_trait::async_trait;
use percent_encoding::utf8_percent_encode;
use quadrille::{
    Failure, Timestamp, excerpt,
    http_client::Method,
    http_service::{BaseUrlError, HttpService, header_value},
    percent::ALL_BUT_UNRESERVED,
};
use serde::Deserialize;
use std::time::Duration;

/// The longest answer that is read, in bytes. Our own limit.
pub const ANSWER_BYTES_MAX: usize = 65_536;

/// How much of a name or a message of the gateway's is kept, in bytes. Our own limit.
const TEXT_BYTES_MAX: usize = 256;

/// The wait before a charge that is not decided is asked for again, where the gateway names none. Our own.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// The longest of these waits. Our own limit: the budget of the step is an hour.
const ASK_AGAIN_AFTER_MAX: Duration = Duration::from_secs(600);

/// A status that gateways decline with, and that says more in its body.
const PAYMENT_REQUIRED: u16 = 402;

/// The gateway over HTTP:
///
/// - `POST {base}/payments` with `{"orderId", "userId", "amount"}` and `Idempotency-Key: {key}`. The answer, 2xx or 402, is
///   `{"status": "succeeded" | "declined" | "pending", "transactionId", "processedAt", "provider", "message",
///   "retryAfterMs"}`; all but `status` may be left out;
/// - `DELETE {base}/payments/{key}` voids it; the answer is `{"status": "voided" | "refunded", …}`.
///
/// The key is percent-encoded. Where a token is set, each request has it as `Authorization: Bearer {token}`.
#[derive(Clone)]
pub struct HttpGateway {
    service: HttpService,
    authorization: Option<String>,
}

impl std::fmt::Debug for HttpGateway {
    /// Shows no token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpGateway").field("service", &self.service).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireAnswer {
    status: String,
    transaction_id: Option<String>,
    processed_at: Option<Timestamp>,
    provider: Option<String>,
    message: Option<String>,
    retry_after_ms: Option<u64>,
}

impl WireAnswer {
    fn receipt(self) -> Receipt {
        let short = |text: String| excerpt(&text, TEXT_BYTES_MAX);
        Receipt {
            transaction_id: self.transaction_id.map(short),
            processed_at: self.processed_at,
            provider: self.provider.map_or_else(|| "gateway".to_owned(), short),
            message: self.message.map(short),
        }
    }
}

impl HttpGateway {
    /// The gateway at `base_url`, `http` or `https`; a path in it is kept. Each request has `timeout` from its start to the
    /// last byte of its answer.
    ///
    /// # Errors
    /// [`BaseUrlError`]: it does not repeat the URL.
    pub fn new(base_url: &str, token: Option<&str>, timeout: Duration) -> Result<Self, BaseUrlError> {
        let service = HttpService::new("gateway", base_url, timeout, ANSWER_BYTES_MAX)?;
        Ok(Self {
            service: service.answering_with(&[PAYMENT_REQUIRED]),
            authorization: token.map(|token| format!("Bearer {token}")),
        })
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: Option<Vec<u8>>,
    ) -> Result<WireAnswer, Failure> {
        let mut headers = vec![("accept", "application/json")];
        headers.extend(body.as_ref().map(|_| ("content-type", "application/json")));
        headers.extend(key.map(|key| ("idempotency-key", key)));
        headers.extend(self.authorization.as_deref().map(|value| ("authorization", value)));
        let answer = self.service.ask(method, path, &headers, body).await?;
        // Its text may repeat an order, so that the error is told without it.
        serde_json::from_slice(&answer)
            .map_err(|error| self.service.garbage(format_args!("not an answer: line {}", error.line())))
    }
}

#[async_trait]
impl PaymentGateway for HttpGateway {
    async fn charge(&self, charge: &Charge, _asks: u32) -> Result<Answer, Failure> {
        let body = serde_json::to_vec(charge).map_err(|error| Failure::permanent("unwritable", error))?;
        let key = header_value(&charge.key);
        let answer = self.ask(Method::POST, "/payments", Some(&key), Some(body)).await?;
        match answer.status.as_str() {
            "succeeded" => Ok(Answer::Succeeded(answer.receipt())),
            "declined" => Ok(Answer::Declined(answer.receipt())),
            "pending" => {
                let after = answer.retry_after_ms.map_or(ASK_AGAIN_AFTER, Duration::from_millis);
                Ok(Answer::Pending(after.min(ASK_AGAIN_AFTER_MAX)))
            }
            _ => Err(self.service.garbage("a payment with a status that is not known")),
        }
    }

    async fn void(&self, key: &str) -> Result<Voided, Failure> {
        let path = format!("/payments/{}", utf8_percent_encode(key, ALL_BUT_UNRESERVED));
        let answer = self.ask(Method::DELETE, &path, None, None).await?;
        match answer.status.as_str() {
            "voided" => Ok(Voided::Nothing(answer.receipt())),
            "refunded" => Ok(Voided::Refunded(answer.receipt())),
            _ => Err(self.service.garbage("a void with a status that is not known")),
        }
    }
}
