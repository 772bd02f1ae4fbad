//! A webhook that is told of alerts.

use super::{Notifier, slack_message};
use crate::{
    alarm::Alert,
    failure::Failure,
    http_client::{HttpAnswer, HttpClient, HttpClientError, Method, origin, parse_url},
};
use async_trait::async_trait;
use std::{fmt, time::Duration};

/// How much of a webhook's answer is read, in bytes. Our own limit: its status says it all.
const ANSWER_BYTES_MAX: usize = 16 * 1_024;

/// Posts every alert to a Slack incoming webhook, or to what understands the same messages.
///
/// The URL is the secret that permits it: it is never written anywhere, and neither is what the webhook answers, since
/// an error page may repeat the path it was asked for.
#[derive(Clone)]
pub struct WebhookNotifier {
    client: HttpClient,
    url: String,
    origin: String,
}

impl fmt::Debug for WebhookNotifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookNotifier")
            .field("origin", &self.origin)
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

impl WebhookNotifier {
    /// A notifier that posts to `url`, `http` or `https`. Each post has `timeout` from its start to its answer.
    ///
    /// # Errors
    /// [`HttpClientError`] where the URL is malformed or there is no client; it does not repeat the URL.
    pub fn new(url: &str, timeout: Duration) -> Result<Self, HttpClientError> {
        let origin = origin(&parse_url(url)?);
        Ok(Self { client: HttpClient::new(timeout)?, url: url.to_owned(), origin })
    }
}

#[async_trait]
impl Notifier for WebhookNotifier {
    async fn notify(&self, alert: &Alert) -> Result<(), Failure> {
        let headers = [("content-type", "application/json")];
        let body = slack_message(alert).to_string().into_bytes();
        let sent =
            self.client.exchange(Method::POST, &self.url, &headers, Some(body), ANSWER_BYTES_MAX).await;
        let HttpAnswer { status, retry_after, .. } = match sent {
            Ok(answer) => answer,
            Err(error) => {
                let detail = format_args!("{}: {error}", self.origin);
                return Err(match error {
                    HttpClientError::Request(_) => Failure::permanent("webhook_refused", detail),
                    HttpClientError::Timeout(_) => Failure::transient("webhook_timeout", detail),
                    _ => Failure::transient("webhook_unreachable", detail),
                });
            }
        };
        let detail = format_args!("{} answered with status {status}", self.origin);
        let told = match status {
            200..=299 => Ok(()),
            408 => Err(Failure::transient("webhook_timeout", detail)),
            425 | 429 => Err(Failure::transient("webhook_throttled", detail)),
            500..=599 => Err(Failure::transient("webhook_error", detail)),
            _ => Err(Failure::permanent("webhook_refused", detail)),
        };
        told.map_err(|failure| failure.not_before(retry_after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        http_client::http_server::{response, serve},
        notify::example as alert,
    };

    const TIMEOUT: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn a_webhook_gets_the_message_and_its_status_decides() {
        let server = serve(|request| {
            assert_eq!(request.method(), Method::POST);
            assert_eq!(request.headers()["content-type"], "application/json");
            let body: serde_json::Value = serde_json::from_slice(request.body()).unwrap();
            assert_eq!(body, slack_message(&alert()));
            let status = request.uri().path().trim_start_matches("/secret/").parse().unwrap();
            (status != 999).then(|| response(status, "no such path: /secret"))
        })
        .await;
        for (status, expected) in [
            (200, None),
            (204, None),
            (302, Some(("webhook_refused", true))),
            (403, Some(("webhook_refused", true))),
            (404, Some(("webhook_refused", true))),
            (408, Some(("webhook_timeout", false))),
            (429, Some(("webhook_throttled", false))),
            (500, Some(("webhook_error", false))),
            (999, Some(("webhook_timeout", false))),
        ] {
            let timeout = if status == 999 { Duration::from_millis(50) } else { TIMEOUT };
            let notifier =
                WebhookNotifier::new(&format!("http://{server}/secret/{status}"), timeout).unwrap();
            assert!(!format!("{notifier:?}").contains("secret"));
            let failure = notifier.notify(&alert()).await.err();
            let kind = failure.as_ref().map(|failure| (failure.reason(), failure.is_permanent()));
            assert_eq!(kind, expected, "{status}");
            assert!(!format!("{failure:?}").contains("secret"), "{failure:?}");
        }
    }

    #[tokio::test]
    async fn how_long_it_asks_not_to_be_asked_comes_with_the_failure() {
        let server = serve(|_| {
            let mut response = response(429, "");
            response.headers_mut().insert("retry-after", "30".parse().unwrap());
            Some(response)
        })
        .await;
        let notifier = WebhookNotifier::new(&format!("http://{server}/secret"), TIMEOUT).unwrap();
        let failure = notifier.notify(&alert()).await.unwrap_err();
        assert_eq!(failure.wait_at_least(), Duration::from_secs(30));
    }

    #[tokio::test]
    async fn a_webhook_that_is_away_keeps_its_url_secret() {
        let away = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let notifier = WebhookNotifier::new(&format!("http://{away}/secret"), TIMEOUT).unwrap();
        let failure = notifier.notify(&alert()).await.unwrap_err();
        assert_eq!((failure.reason(), failure.is_permanent()), ("webhook_unreachable", false));
        assert!(!failure.to_string().contains("secret"), "{failure}");
        let refused = WebhookNotifier::new("hooks.example.net/secret", TIMEOUT).unwrap_err();
        assert!(!format!("{refused} {refused:?}").contains("secret"));
    }
}
