//! Lines for standard error that hold nobody up: a thread of their own writes them. What it can't write, or can't write as fast as
//! it comes, is dropped and counted.

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::oneshot;

/// Bytes of lines that wait to be written at most.
const WAITING_BYTES_MAX: usize = 1024 * 1024;

/// How long the end of a process waits until its lines are written.
#[cfg(any(feature = "local", feature = "lambda"))]
const FLUSH: std::time::Duration = std::time::Duration::from_secs(1);

/// Lines on their way to a writer. Clones share them.
#[derive(Clone)]
pub(crate) struct Lines(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    lines: VecDeque<Line>,
    bytes: usize,
    is_writing: bool,
    /// Lines that are lost, and were not told to be.
    dropped: u64,
}

struct Line {
    text: Vec<u8>,
    written: Option<oneshot::Sender<io::Result<()>>>,
}

impl Lines {
    /// Lines that `writer` gets. Where `tells`, the log tells how many of them were lost, as soon as it can.
    fn to(writer: impl Write + Send + 'static, tells: bool) -> Self {
        let lines = Self(Arc::default());
        let shared = Arc::clone(&lines.0);
        let thread = std::thread::Builder::new().name("quadrille-lines".into());
        // Without the thread all lines are dropped, once their room is full.
        let _ = thread.spawn(move || shared.write_all_to(writer, tells));
        lines
    }

    /// Hands a line over; it never waits for its writer. Gives whether there was room.
    #[cfg(any(feature = "local", feature = "lambda"))]
    pub(crate) fn push(&self, text: &[u8]) -> bool {
        self.add(Line { text: text.to_vec(), written: None })
    }

    /// Hands a line over and waits until it is written.
    ///
    /// # Errors
    /// It could not be written, or there was no room.
    pub(crate) async fn write(&self, text: &[u8]) -> io::Result<()> {
        let (written, told) = oneshot::channel();
        self.add(Line { text: text.to_vec(), written: Some(written) });
        told.await.unwrap_or_else(|_| Err(io::Error::other("nobody takes the lines before it")))
    }

    fn add(&self, line: Line) -> bool {
        let mut waiting = self.0.waiting();
        if waiting.bytes + line.text.len() > WAITING_BYTES_MAX {
            waiting.dropped += 1;
            return false;
        }
        waiting.bytes += line.text.len();
        waiting.lines.push_back(line);
        drop(waiting);
        self.0.changed.notify_all();
        true
    }

    /// Waits until all lines are written, for a second at most. Gives whether they are.
    #[cfg(any(feature = "local", feature = "lambda"))]
    pub(crate) fn flush(&self) -> bool {
        let waiting = self.0.waiting();
        let is_left = |waiting: &mut Waiting| waiting.is_writing || !waiting.lines.is_empty();
        let flushed = self.0.changed.wait_timeout_while(waiting, FLUSH, is_left);
        !flushed.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_all_to(&self, mut writer: impl Write, tells: bool) {
        loop {
            let Line { text, written } = self.next();
            let result = writer.write_all(&text).and_then(|()| writer.flush());
            let dropped = {
                let mut waiting = self.waiting();
                if result.is_err() {
                    waiting.dropped += 1;
                }
                if tells && result.is_ok() { std::mem::take(&mut waiting.dropped) } else { 0 }
            };
            if let Some(written) = written {
                // Who asked may have gone.
                let _ = written.send(result);
            }
            if dropped > 0 {
                tracing::error!(lines = dropped, "lines of this log could not be written and are lost");
            }
            self.waiting().is_writing = false;
            self.changed.notify_all();
        }
    }

    fn next(&self) -> Line {
        let waiting = self.changed.wait_while(self.waiting(), |waiting| waiting.lines.is_empty());
        let mut waiting = waiting.unwrap_or_else(PoisonError::into_inner);
        let line = waiting.lines.pop_front();
        let line = line.unwrap_or_else(|| Line { text: Vec::new(), written: None });
        waiting.bytes -= line.text.len();
        waiting.is_writing = true;
        line
    }
}

/// The lines of this process for standard error.
pub(crate) fn stderr() -> &'static Lines {
    static LINES: LazyLock<Lines> = LazyLock::new(|| Lines::to(io::stderr(), true));
    &LINES
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Writes what it is allowed to, each time.
    struct Gate {
        allowed: mpsc::Receiver<io::Result<()>>,
        written: mpsc::Sender<String>,
    }

    impl Write for Gate {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.allowed.recv().map_err(io::Error::other)??;
            self.written.send(String::from_utf8_lossy(text).into_owned()).map_err(io::Error::other)?;
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gated() -> (Lines, mpsc::Sender<io::Result<()>>, mpsc::Receiver<String>) {
        let ((allow, allowed), (written, read)) = (mpsc::channel(), mpsc::channel());
        (Lines::to(Gate { allowed, written }, false), allow, read)
    }

    #[test]
    fn lines_that_nobody_takes_are_bounded_dropped_and_counted() {
        let (lines, allow, read) = gated();
        let long = vec![b'x'; WAITING_BYTES_MAX / 4];
        // One is with the writer, which waits for ever.
        let taken = (0..100).filter(|_| lines.push(&long)).count();
        assert!((4..=5).contains(&taken), "{taken}");
        assert_eq!(lines.0.waiting().dropped, 100 - taken as u64);
        assert!(!lines.flush(), "the end waits for a second");
        for _ in 0..taken {
            allow.send(Ok(())).unwrap();
        }
        assert!(lines.flush());
        assert_eq!(read.try_iter().count(), taken);
        assert!(lines.push(b"there is room again\n"));
    }

    #[tokio::test]
    async fn a_line_that_can_not_be_written_is_told_to_who_asks_and_the_next_one_is_written() {
        let (lines, allow, read) = gated();
        allow.send(Err(io::ErrorKind::StorageFull.into())).unwrap();
        assert_eq!(lines.write(b"a").await.unwrap_err().kind(), io::ErrorKind::StorageFull);
        allow.send(Ok(())).unwrap();
        lines.write(b"b").await.unwrap();
        assert_eq!(read.try_iter().collect::<Vec<_>>(), ["b"]);
        assert_eq!(lines.0.waiting().dropped, 1);
    }
}
