//! What an engine does, line by line, as a person sees it on a terminal.

use crate::print::{Shown, shown};
use quadrille::{
    Observation, Pipeline,
    console::{Became, Worked},
    excerpt,
};
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
        Told::Work(work) => window.line(&(&*work).into(), &lines),
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
    fn line(&mut self, work: &Worked, lines: &SyncSender<String>) {
        let Some(row) = row(work) else { return };
        self.lines += 1;
        if self.lines > LINES_MAX {
            *self.left_out.entry(work.step.clone()).or_default() += 1;
            return;
        }
        // One that finds no room is lost.
        let _ = lines.try_send(row);
    }

    fn end(&mut self, lines: &SyncSender<String>) {
        let Self { missed, left_out, .. } = std::mem::take(self);
        let of_steps = left_out.iter().map(|(step, count)| format!("{count} of {step}"));
        let mut more: Vec<String> = of_steps.collect();
        if missed > 0 {
            more.push(format!("{missed} that came too fast to be told"));
        }
        if !more.is_empty() {
            let _ = lines.try_send(and(&more.join(", ")));
        }
    }
}

/// The line of a message that was worked; `None` where nothing became of it.
pub fn row(work: &Worked) -> Option<String> {
    let said = said(work, &excerpt(&work.subject, 200))?;
    let at = work.at.to_string();
    let at = shown(at.get(11..19).unwrap_or(&at), Shown::Dim);
    Some(format!("{at}  {:13}  {said}", excerpt(&work.step, 100)))
}

/// The line that tells of more.
pub fn and(more: &str) -> String {
    shown(&format!("          … and {more}"), Shown::Dim)
}

/// What became of a message, for a person; `None` where nothing did.
pub fn said(work: &Worked, about: &str) -> Option<String> {
    let about = if about.is_empty() { String::new() } else { format!("{about}: ") };
    let what = excerpt(&work.what, 1_000);
    let after = work.next.map(|next| next.since(work.at)).unwrap_or_default();
    Some(match work.verdict {
        _ if work.step == quadrille::notify::NOTIFY => return None,
        Became::Done if what.is_empty() => return None,
        Became::Done => format!("{about}{what}"),
        Became::Ended => shown(&format!("{about}ended: {what}"), Shown::Waiting),
        Became::Later => format!("{about}not before {after:?} have passed"),
        Became::Retry => shown(&format!("{about}{what}, again in {after:?}"), Shown::Waiting),
        Became::DeadLetter => shown(&format!("{about}dead-lettered: {what}"), Shown::Bad),
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
    use quadrille::Timestamp;

    fn work(step: &str, verdict: Became, what: &str) -> Worked {
        let (step, subject, what) = (step.to_owned(), "1".to_owned(), what.to_owned());
        let at = Timestamp::from_millis(0);
        Worked { at, step, subject, kind: None, attempt: 1, what, verdict, next: None }
    }

    #[test]
    fn beyond_some_lines_a_second_work_is_counted() {
        let (lines, written) = sync_channel(WAITING_MAX);
        let mut window = Window::default();
        for _ in 0..LINES_MAX + 3 {
            window.line(&work("store", Became::Done, "stored"), &lines);
            // What did nothing is no line.
            window.line(&work("store", Became::Done, ""), &lines);
        }
        window.missed = 7;
        window.end(&lines);
        window.line(&work("poll", Became::DeadLetter, "lost: gone"), &lines);
        window.end(&lines);
        let told: Vec<String> = written.try_iter().collect();
        assert_eq!(told.len() as u64, LINES_MAX + 2);
        assert_eq!(told[0], "00:00:00  store          1: stored");
        assert!(told[20].ends_with("… and 3 of store, 7 that came too fast to be told"), "{}", told[20]);
        assert_eq!(told[21], "00:00:00  poll           1: dead-lettered: lost: gone");
    }
}
