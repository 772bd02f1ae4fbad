//! Subscribers of alerts: a terminal, a file, a webhook.
//!
//! A notification may come twice (its message is delivered at least once), and never with an order's content: an
//! [`Alert`] has ids, counts and reasons only.

use crate::http_client::{HttpClient, HttpClientError, Method, origin, parse_url};
use async_trait::async_trait;
use quadrille::{ALERT_SUBJECTS_MAX, Alert, AlertState, Failure, Handled, Outcome, excerpt};
use serde_json::{Value, json};
use std::{
    env, fmt,
    fs::OpenOptions,
    io::{self, IsTerminal as _, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// The longest line for a terminal, in bytes. Our own limit.
const LINE_BYTES_MAX: usize = 4_096;

/// The longest id, reason or name in a message to a webhook, in bytes before it is escaped. Our own limit.
const NAME_BYTES_MAX: usize = 100;

/// The longest list in a message to a webhook, in bytes. Just under Slack's own limit of 3,000 characters for a text
/// object (docs.slack.dev, "Text object"), with room left for the title.
const LIST_BYTES_MAX: usize = 2_900;

/// How much of a webhook's answer is read, in bytes. Our own limit: its status says it all.
const ANSWER_BYTES_MAX: usize = 16 * 1_024;

/// One who is told of alerts.
#[async_trait]
pub trait Notifier: Send + Sync {
    /// Tells of `alert`. Once it returns, the alert was handed over.
    ///
    /// # Errors
    /// A transient [`Failure`] where telling again can help, a permanent one where it can't.
    async fn notify(&self, alert: &Alert) -> Result<(), Failure>;
}

/// The handler: tells `notifier` of `alert`, and commits nothing.
///
/// # Errors
/// The notifier's failure.
pub async fn notify(notifier: Arc<dyn Notifier>, alert: Alert) -> Outcome<()> {
    notifier.notify(&alert).await?;
    Ok(Handled::Done)
}

/// Nobody: where a definition is looked at and not run.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

#[async_trait]
impl Notifier for Nobody {
    async fn notify(&self, _: &Alert) -> Result<(), Failure> {
        Err(Failure::permanent("no_notifier", "nobody is notified here"))
    }
}

/// Writes one line per alert to standard error, red or green where that is a terminal and `NO_COLOR` is not set
/// (no-color.org).
#[derive(Clone, Copy, Debug)]
pub struct TerminalNotifier {
    is_coloured: bool,
}

impl TerminalNotifier {
    /// A notifier that looks at standard error and `NO_COLOR` now.
    pub fn new() -> Self {
        let is_plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { is_coloured: !is_plain && io::stderr().is_terminal() }
    }

    fn line(self, alert: &Alert) -> String {
        // Names and reasons may come from outside, and a terminal obeys control characters.
        let summary = excerpt(&alert.summary(), LINE_BYTES_MAX);
        let colour = match alert.state {
            AlertState::Alarm | AlertState::Digest => 31,
            AlertState::Ok => 32,
        };
        if self.is_coloured { format!("\x1b[{colour}m{summary}\x1b[0m\n") } else { summary + "\n" }
    }
}

impl Default for TerminalNotifier {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Notifier for TerminalNotifier {
    async fn notify(&self, alert: &Alert) -> Result<(), Failure> {
        let line = self.line(alert);
        blocking(move || io::stderr().write_all(line.as_bytes()))
            .await
            .map_err(|error| Failure::transient("terminal_unwritable", error))
    }
}

/// Appends one line of JSON per alert to a file, which is on the disk before it returns. The file is made where it is
/// missing; its folder is not.
#[derive(Clone, Debug)]
pub struct FileNotifier {
    path: Arc<Path>,
    /// Held while a line is written: a line must be whole before the next begins.
    writing: Arc<Mutex<()>>,
}

impl FileNotifier {
    /// A notifier that appends to the file at `path`. Only this notifier and its clones may write to it.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into().into(), writing: Arc::default() }
    }
}

#[async_trait]
impl Notifier for FileNotifier {
    async fn notify(&self, alert: &Alert) -> Result<(), Failure> {
        let mut line = serde_json::to_vec(alert).map_err(|error| Failure::permanent("unwritable", error))?;
        line.push(b'\n');
        let Self { path, writing } = self.clone();
        blocking(move || {
            let _turn = writing.lock().unwrap_or_else(PoisonError::into_inner);
            append(&path, &line)
        })
        .await
        .map_err(|error| {
            Failure::transient("file_unwritable", format_args!("{}: {error}", self.path.display()))
        })
    }
}

/// Appends `line`, on a line of its own even where a crash or a full disk left half of one.
fn append(path: &Path, line: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    if file.seek(SeekFrom::End(0))? == 0 {
        sync_folder(path)?;
    } else {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    file.write_all(line)?;
    file.sync_data()
}

/// Makes the name of a new file durable: the file's own sync covers its content only.
fn sync_folder(path: &Path) -> io::Result<()> {
    // Elsewhere a folder can't be opened, and its entries need no sync of their own.
    if cfg!(unix) {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        OpenOptions::new().read(true).open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Runs what may block on a thread where it may.
async fn blocking(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|stopped| Err(io::Error::other(stopped)))
}

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
        let sent = self.client.send(Method::POST, &self.url, &headers, Some(body), ANSWER_BYTES_MAX).await;
        let status = match sent {
            Ok((status, _)) | Err(HttpClientError::TooLarge { status, .. }) => status,
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
        match status {
            200..=299 => Ok(()),
            408 => Err(Failure::transient("webhook_timeout", detail)),
            425 | 429 => Err(Failure::transient("webhook_throttled", detail)),
            500..=599 => Err(Failure::transient("webhook_error", detail)),
            _ => Err(Failure::permanent("webhook_refused", detail)),
        }
    }
}

/// The alert as a message to a Slack incoming webhook: `text` for notifications and for those who show no blocks,
/// `blocks` for all others. What comes from outside is cut, escaped, and shown as code, so that it can neither mention
/// anyone nor become a link.
pub fn slack_message(alert: &Alert) -> Value {
    if let Some(detail) = &alert.detail {
        return cloudwatch_message(alert, detail);
    }
    let headline = match alert.state {
        AlertState::Alarm => ":rotating_light: *Dead letters*",
        AlertState::Digest => ":rotating_light: *More dead letters*",
        AlertState::Ok => ":white_check_mark: *Empty again*",
    };
    let fields = [
        format!("*Choreography*\n{}", code(&alert.choreography)),
        format!("*Queue*\n{}", code(&alert.queue)),
        format!("*Arrived*\n{}", alert.arrived),
        format!("*In the queue*\n{}", alert.depth),
    ];
    let mut blocks =
        vec![section(headline), json!({"type": "section", "fields": fields.map(|field| mrkdwn(&field))})];
    let reasons = alert.reasons.iter().map(|(reason, count)| format!("{} {count}", code(reason)));
    if let Some(list) = list(reasons, "\n") {
        blocks.push(section(&format!("*Reasons*\n{list}")));
    }
    let subjects = alert.subjects.iter().take(ALERT_SUBJECTS_MAX).map(|subject| code(subject));
    if let Some(list) = list(subjects, ", ") {
        blocks.push(section(&format!("*Entities*\n{list}")));
    }
    blocks.push(json!({"type": "context", "elements": [mrkdwn(&alert.at.to_string())]}));
    json!({"text": escape(&excerpt(&alert.summary(), LIST_BYTES_MAX / 5)), "blocks": blocks})
}

/// An alarm of CloudWatch, which may be about anything and says itself what.
fn cloudwatch_message(alert: &Alert, detail: &str) -> Value {
    let headline = match alert.state {
        AlertState::Alarm | AlertState::Digest => ":rotating_light: *Alarm*",
        AlertState::Ok => ":white_check_mark: *Alarm over*",
    };
    let fields = [
        format!("*Choreography*\n{}", code(&alert.choreography)),
        format!("*Alarm*\n{}", code(&alert.queue)),
    ];
    let detail = escape(&excerpt(detail, LIST_BYTES_MAX / 5));
    json!({
        "text": escape(&excerpt(&alert.summary(), LIST_BYTES_MAX / 5)),
        "blocks": [
            section(headline),
            {"type": "section", "fields": fields.map(|field| mrkdwn(&field))},
            section(&detail),
            {"type": "context", "elements": [mrkdwn(&alert.at.to_string())]},
        ],
    })
}

fn section(text: &str) -> Value {
    json!({"type": "section", "text": mrkdwn(text)})
}

/// A text object. Verbatim, or Slack would make links and mentions of plain words.
fn mrkdwn(text: &str) -> Value {
    json!({"type": "mrkdwn", "text": text, "verbatim": true})
}

/// The entries up to Slack's limit, and how many were left out; none where there are none.
fn list(entries: impl Iterator<Item = String>, separator: &str) -> Option<String> {
    let (mut list, mut left_out) = (String::new(), 0_usize);
    for entry in entries {
        if left_out > 0 || list.len() + separator.len() + entry.len() > LIST_BYTES_MAX {
            left_out += 1;
            continue;
        }
        if !list.is_empty() {
            list.push_str(separator);
        }
        list.push_str(&entry);
    }
    if left_out > 0 {
        list.push_str(&format!("{separator}and {left_out} more"));
    }
    (!list.is_empty()).then_some(list)
}

/// A name from outside as code. A backtick would end it and can't be escaped, so it is shown as an apostrophe.
fn code(name: &str) -> String {
    format!("`{}`", escape(&excerpt(name, NAME_BYTES_MAX).replace('`', "'")))
}

/// The three characters Slack wants escaped (docs.slack.dev, "Formatting message text").
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http_client::tests::{response, serve};
    use quadrille::Timestamp;
    use std::{collections::BTreeMap, fs};

    const TIMEOUT: Duration = Duration::from_secs(5);

    fn alert() -> Alert {
        Alert {
            choreography: "auction".into(),
            queue: "results-dlq".into(),
            state: AlertState::Alarm,
            at: Timestamp::parse("2026-11-20T09:15:00Z").unwrap(),
            depth: 5,
            arrived: 3,
            reasons: BTreeMap::from([("rejected".into(), 2), ("undecided".into(), 1)]),
            subjects: vec!["order-1".into(), "<!channel> & `x`\u{1b}".into()],
            detail: None,
        }
    }

    #[test]
    fn a_slack_message_is_exactly_this() {
        let text = |text: &str| json!({"type": "mrkdwn", "text": text, "verbatim": true});
        let expected = json!({
            "text": "ALARM auction: 3 dead letter(s) in results-dlq (rejected 2, undecided 1)",
            "blocks": [
                {"type": "section", "text": text(":rotating_light: *Dead letters*")},
                {"type": "section", "fields": [
                    text("*Choreography*\n`auction`"),
                    text("*Queue*\n`results-dlq`"),
                    text("*Arrived*\n3"),
                    text("*In the queue*\n5"),
                ]},
                {"type": "section", "text": text("*Reasons*\n`rejected` 2\n`undecided` 1")},
                {"type": "section", "text": text("*Entities*\n`order-1`, `&lt;!channel&gt; &amp; 'x'\\u{1b}`")},
                {"type": "context", "elements": [text("2026-11-20T09:15:00.000Z")]},
            ],
        });
        assert_eq!(slack_message(&alert()), expected);
    }

    #[test]
    fn an_empty_queue_is_a_short_message() {
        let ok = Alert { state: AlertState::Ok, reasons: BTreeMap::new(), subjects: vec![], ..alert() };
        let message = slack_message(&ok);
        assert_eq!(message["text"], "OK auction: results-dlq is empty again");
        assert_eq!(message["blocks"].as_array().unwrap().len(), 3);
        assert_eq!(message["blocks"][0]["text"]["text"], ":white_check_mark: *Empty again*");
    }

    #[test]
    fn a_message_stays_within_slacks_limits() {
        let hostile = "&".repeat(5_000);
        let long = Alert {
            choreography: hostile.clone(),
            queue: hostile.clone(),
            reasons: (0..100).map(|n| (format!("{n:03}{hostile}"), u64::MAX)).collect(),
            subjects: vec![hostile; 100],
            ..alert()
        };
        let message = slack_message(&long);
        assert!(message["text"].as_str().unwrap().len() <= 3_000);
        for block in message["blocks"].as_array().unwrap() {
            let fields =
                block["fields"].as_array().or(block["elements"].as_array()).cloned().unwrap_or_default();
            assert!(
                fields.len() <= 10
                    && fields.iter().all(|field| field["text"].as_str().unwrap().len() <= 2_000)
            );
            assert!(block["text"]["text"].as_str().is_none_or(|text| text.len() <= 3_000), "{block}");
        }
        let subjects = message["blocks"][3]["text"]["text"].as_str().unwrap();
        assert!(subjects.ends_with(" more"), "{subjects}");
    }

    #[test]
    fn a_terminal_is_told_in_colour_and_obeys_nothing() {
        let mut hostile = Alert { queue: "dlq\x1b]0;owned\x07".into(), reasons: BTreeMap::new(), ..alert() };
        let plain = TerminalNotifier { is_coloured: false };
        let summary = "ALARM auction: 3 dead letter(s) in dlq\\u{1b}]0;owned\\u{7}";
        assert_eq!(plain.line(&hostile), format!("{summary}\n"));
        let coloured = TerminalNotifier { is_coloured: true };
        assert_eq!(coloured.line(&hostile), format!("\x1b[31m{summary}\x1b[0m\n"));
        hostile.state = AlertState::Ok;
        assert!(coloured.line(&hostile).starts_with("\x1b[32mOK "));
    }

    #[tokio::test]
    async fn a_file_has_a_line_for_every_alert() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("alerts.jsonl");
        let notifier = FileNotifier::new(&path);
        notifier.notify(&alert()).await.unwrap();
        // As a crash in the middle of a line leaves it.
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"chor").unwrap();
        let together: Vec<_> = (0..8)
            .map(|_| {
                let notifier = notifier.clone();
                tokio::spawn(async move { notifier.notify(&alert()).await })
            })
            .collect();
        for told in together {
            told.await.unwrap().unwrap();
        }
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.ends_with('\n'));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!((lines.len(), lines[1]), (10, "{\"chor"));
        for line in lines.iter().enumerate().filter(|(index, _)| *index != 1).map(|(_, line)| line) {
            assert_eq!(serde_json::from_str::<Alert>(line).unwrap(), alert());
        }
    }

    #[tokio::test]
    async fn a_file_that_can_not_be_written_may_be_writable_later() {
        let folder = tempfile::tempdir().unwrap();
        let failure =
            FileNotifier::new(folder.path().join("missing/alerts")).notify(&alert()).await.unwrap_err();
        assert_eq!((failure.reason(), failure.is_permanent()), ("file_unwritable", false));
    }

    #[tokio::test]
    async fn a_webhook_gets_the_message_and_its_status_decides() {
        let server = serve(|request| {
            assert_eq!(request.method(), Method::POST);
            assert_eq!(request.headers()["content-type"], "application/json");
            let body: Value = serde_json::from_slice(request.body()).unwrap();
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
            let told = notify(Arc::new(notifier), alert()).await;
            let failure = told.err();
            let kind = failure.as_ref().map(|failure| (failure.reason(), failure.is_permanent()));
            assert_eq!(kind, expected, "{status}");
            assert!(!format!("{failure:?}").contains("secret"), "{failure:?}");
        }
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
