//! Subscribers of alerts: a terminal, a file, a webhook.
//!
//! A notification may come twice (its message is delivered at least once), and never with an order's content: an
//! [`Alert`] has ids, counts and reasons only.

mod several;
mod slack;
mod step;
#[cfg(feature = "client")]
mod webhook;

pub use several::SeveralNotifiers;
pub use slack::slack_message;
pub use step::{NOTIFY, WEBHOOK, by_webhook};
pub(crate) use step::{consumer, service, setting};
#[cfg(feature = "client")]
pub use webhook::WebhookNotifier;

use crate::{
    alarm::{Alert, AlertState},
    failure::{Failure, excerpt},
    lines,
};
use async_trait::async_trait;
use std::{
    env,
    fs::OpenOptions,
    io::{self, IsTerminal as _, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// The longest line for a terminal, in bytes. Our own limit.
const LINE_BYTES_MAX: usize = 4_096;

/// One who is told of alerts.
#[async_trait]
pub trait Notifier: Send + Sync {
    /// Tells of `alert`. Once it returns, the alert was handed over.
    ///
    /// # Errors
    /// A transient [`Failure`] where telling again can help, a permanent one where it can't.
    async fn notify(&self, alert: &Alert) -> Result<(), Failure>;
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
        let written = lines::stderr().write(self.line(alert).as_bytes()).await;
        written.map_err(|error| Failure::transient("terminal_unwritable", error))
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
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.read(true).append(true).create(true).open(path)?;
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

/// An alert for the tests of this folder.
#[cfg(test)]
pub(super) fn example() -> Alert {
    use crate::timestamp::Timestamp;
    use std::collections::BTreeMap;
    Alert {
        choreography: "shop".into(),
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

#[cfg(test)]
mod tests {
    use super::example as alert;
    use super::*;
    use std::{collections::BTreeMap, fs};

    #[test]
    fn a_terminal_is_told_in_colour_and_obeys_nothing() {
        let mut hostile = Alert { queue: "dlq\x1b]0;owned\x07".into(), reasons: BTreeMap::new(), ..alert() };
        let plain = TerminalNotifier { is_coloured: false };
        let summary = "ALARM shop: 3 dead letter(s) in dlq\\u{1b}]0;owned\\u{7}";
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
}
