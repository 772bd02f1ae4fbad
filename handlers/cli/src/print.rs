//! What a command prints: lines to standard output, progress to standard error, colours only where a person looks.

use quadrille::{TrailEntry, TrailEntryKind, excerpt};
use std::{
    fmt::Display,
    io::{ErrorKind, IsTerminal as _, Write as _},
    time::Duration,
};

/// How a piece of text is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    Plain,
    Bold,
    Dim,
    Good,
    Bad,
    Waiting,
}

impl Shown {
    /// The colour of an entity's status: whether it has ended, and whether one of its messages was given up last.
    pub fn of_end(is_ended: bool, trail: &[TrailEntry]) -> Self {
        let failed = |entry: &TrailEntry| {
            matches!(entry.kind, TrailEntryKind::DeadLettered { .. } | TrailEntryKind::Ended { .. })
        };
        match (trail.last().is_some_and(failed), is_ended) {
            (true, _) => Self::Bad,
            (false, true) => Self::Good,
            (false, false) => Self::Waiting,
        }
    }
}

/// The text, coloured where standard output is a terminal and `NO_COLOR` is not set.
pub fn shown(text: &str, how: Shown) -> String {
    let plain = std::env::var_os("NO_COLOR").is_some() || !std::io::stdout().is_terminal();
    let code = match how {
        _ if plain => return text.to_owned(),
        Shown::Plain => return text.to_owned(),
        Shown::Bold => "1",
        Shown::Dim => "2",
        Shown::Good => "32",
        Shown::Bad => "31",
        Shown::Waiting => "33",
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

/// Text for people, of which the lines stay and whatever else drives a terminal is escaped. For what is not cut, such as an error.
pub fn readable(text: impl Display) -> String {
    let text = text.to_string();
    let lines: Vec<String> = text.split('\n').map(|line| excerpt(line, usize::MAX)).collect();
    lines.join("\n")
}

/// A line on standard output. A reader that went away (`| head`) ends the process quietly, as it does others; what can't be
/// written for another reason ends it as failed, for a script would take the rest for all there is.
pub fn line(line: impl Display) {
    text(format_args!("{line}\n"));
}

pub fn text(text: impl Display) {
    let mut out = std::io::stdout().lock();
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            // Where this can't be written either, the exit code says it.
            let _ = writeln!(std::io::stderr(), "error: standard output: {error}");
            std::process::exit(1);
        }
    }
}

/// A JSON array on one line of standard output, printed item by item: it is never held as a whole.
pub struct Array {
    is_begun: bool,
}

impl Array {
    pub fn new() -> Self {
        Self { is_begun: false }
    }

    pub fn item(&mut self, item: &serde_json::Value) {
        text(format_args!("{}{item}", if self.is_begun { ',' } else { '[' }));
        self.is_begun = true;
    }

    pub fn end(self) {
        line(if self.is_begun { "]" } else { "[]" });
    }
}

/// A line on standard error that is written over, where a person looks.
pub struct Progress {
    shown: bool,
}

impl Progress {
    pub fn new() -> Self {
        Self { shown: std::io::stderr().is_terminal() }
    }

    pub fn show(&self, text: impl Display) {
        if self.shown {
            eprint!("\r\u{1b}[K{text}");
        }
    }

    pub fn clear(&self) {
        if self.shown {
            eprint!("\r\u{1b}[K");
        }
    }
}

/// How long something lasted, as a person says it.
pub fn lasted(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => format!("{} ms", time.as_millis()),
        1..60 => format!("{}.{} s", seconds, time.subsec_millis() / 100),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}
