//! What an engine does, line by line, as a person sees it on a terminal.

use crate::print::{Shown, shown};
use quadrille::{Observation, Pipeline, Verdict, excerpt};
use std::{
    collections::BTreeMap,
    io::{IsTerminal as _, Write as _},
    sync::{
        Arc,
        mpsc::{SyncSender, sync_channel},
    },
    time::Duration,
};
use tokio::sync::broadcast::{Receiver, error::RecvError};

/// Lines a second; what is beyond them is told in one.
const LINES_MAX: u64 = 20;

/// How long lines are counted together.
const WINDOW: Duration = Duration::from_secs(1);

/// Lines that wait for a terminal that takes none; those behind them are lost. It holds no work up.
const WAITING_MAX: usize = 1_000;

/// Shows the work of `pipeline` where standard output is a terminal, for as long as it is polled.
pub async fn show(pipeline: &Pipeline) {
    if !std::io::stdout().is_terminal() {
        return std::future::pending().await;
    }
    let lines = writer();
    let mut window = Window::default();
    follow(pipeline.observe(), |told| match told {
        Told::Work(work) => window.line(&work, &lines),
        Told::Missed(count) => window.missed += count,
        Told::Pause => window.end(&lines),
    })
    .await;
    std::future::pending().await
}

/// What `show` is told.
enum Told {
    Work(Arc<Observation>),
    /// So many more, which nobody can tell of any longer.
    Missed(u64),
    /// The time of a window is over.
    Pause,
}

async fn follow(mut work: Receiver<Arc<Observation>>, mut tell: impl FnMut(Told)) {
    let mut pause = tokio::time::interval(WINDOW);
    loop {
        let told = tokio::select! {
            biased;
            _ = pause.tick() => Told::Pause,
            received = work.recv() => match received {
                Ok(work) => Told::Work(work),
                Err(RecvError::Lagged(count)) => Told::Missed(count),
                Err(RecvError::Closed) => return,
            },
        };
        tell(told);
    }
}

/// The lines of a second, and what there was no room for.
#[derive(Default)]
struct Window {
    lines: u64,
    missed: u64,
    /// By step, how many were left out.
    left_out: BTreeMap<String, u64>,
}

impl Window {
    fn line(&mut self, work: &Observation, lines: &SyncSender<String>) {
        let Some(said) = said(work, &excerpt(&work.subject, 200)) else { return };
        self.lines += 1;
        if self.lines > LINES_MAX {
            *self.left_out.entry(work.step.clone()).or_default() += 1;
            return;
        }
        let at = work.at.to_string();
        let at = shown(at.get(11..19).unwrap_or(&at), Shown::Dim);
        // One that finds no room is lost.
        let _ = lines.try_send(format!("{at}  {:13}  {said}", work.step));
    }

    fn end(&mut self, lines: &SyncSender<String>) {
        let Self { missed, left_out, .. } = std::mem::take(self);
        let of_steps = left_out.iter().map(|(step, count)| format!("{count} of {step}"));
        let mut more: Vec<String> = of_steps.collect();
        if missed > 0 {
            more.push(format!("{missed} that came too fast to be told"));
        }
        if !more.is_empty() {
            let _ = lines.try_send(shown(&format!("          … and {}", more.join(", ")), Shown::Dim));
        }
    }
}

/// What became of a message, for a person; `None` where nothing did.
pub fn said(work: &Observation, about: &str) -> Option<String> {
    let about = if about.is_empty() { String::new() } else { format!("{about}: ") };
    Some(match &work.verdict {
        _ if work.step == quadrille::notify::NOTIFY => return None,
        Verdict::Done if work.what.is_empty() => return None,
        Verdict::Done => format!("{about}{}", work.what),
        Verdict::Ended(_) => shown(&format!("{about}ended: {}", work.what), Shown::Waiting),
        Verdict::Later(left) => format!("{about}not before {left:?} have passed"),
        Verdict::Retry(after, _) => {
            shown(&format!("{about}{}, again in {after:?}", work.what), Shown::Waiting)
        }
        Verdict::DeadLetter(_) => shown(&format!("{about}dead-lettered: {}", work.what), Shown::Bad),
    })
}

/// A thread that writes lines, so that a terminal which takes none holds nothing else up.
fn writer() -> SyncSender<String> {
    let (lines, written) = sync_channel::<String>(WAITING_MAX);
    std::thread::spawn(move || {
        while let Ok(line) = written.recv() {
            if writeln!(std::io::stdout(), "{line}").is_err() {
                return;
            }
        }
    });
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use quadrille::{Failure, Timestamp};

    fn work(step: &str, verdict: Verdict, what: &str) -> Observation {
        let (step, subject, what) = (step.to_owned(), "1".to_owned(), what.to_owned());
        let (at, event) = (Timestamp::from_millis(0), String::new());
        Observation { began: at, at, event, traceparent: None, step, subject, attempt: 1, what, verdict }
    }

    #[test]
    fn beyond_some_lines_a_second_work_is_counted() {
        let (lines, written) = sync_channel(WAITING_MAX);
        let mut window = Window::default();
        for _ in 0..LINES_MAX + 3 {
            window.line(&work("store", Verdict::Done, "stored"), &lines);
            // What did nothing is no line.
            window.line(&work("store", Verdict::Done, ""), &lines);
        }
        window.missed = 7;
        window.end(&lines);
        window.line(
            &work("poll", Verdict::DeadLetter(Failure::permanent("lost", "gone")), "lost: gone"),
            &lines,
        );
        window.end(&lines);
        let told: Vec<String> = written.try_iter().collect();
        assert_eq!(told.len() as u64, LINES_MAX + 2);
        assert_eq!(told[0], "00:00:00  store          1: stored");
        assert!(told[20].ends_with("… and 3 of store, 7 that came too fast to be told"), "{}", told[20]);
        assert_eq!(told[21], "00:00:00  poll           1: dead-lettered: lost: gone");
    }
}
