//! What an engine works, live: its server-sent events, read as they come, and from where they broke off.

use crate::{
    client::{Client, Events},
    error::CommandError,
};
use futures_util::{Stream, stream};
use quadrille::{console::Worked, excerpt};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{collections::VecDeque, pin::Pin, time::Duration};

/// How long is waited before the engine is asked again.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Bytes of a line, and of the data of an event, at most: an engine's events have some 150 KB.
const BYTES_MAX: usize = 1 << 20;

/// What is told of the work.
#[derive(Debug)]
pub enum Told {
    /// A message was worked.
    Work(Box<Worked>),
    /// So many were before it that are not told one by one.
    LeftOut(u64),
    /// Nobody tells, and why.
    Untold(String),
}

impl Told {
    pub fn to_json(&self) -> Value {
        match self {
            Self::Work(work) => json!({ "work": work }),
            Self::LeftOut(count) => json!({ "left_out": count }),
            Self::Untold(why) => json!({ "untold": why }),
        }
    }
}

/// What `client`'s engine works from now on, for as long as somebody reads it. It goes on where a connection broke.
pub async fn work(client: &Client) -> Pin<Box<dyn Stream<Item = Told> + Send + '_>> {
    if !matches!(client, Client::Remote { .. }) {
        let why = "on AWS no engine runs that tells what it works: `list KIND --watch` shows what changes";
        return Box::pin(stream::once(async { Told::Untold(why.to_owned()) }));
    }
    let mut feed = Feed { client, events: None, cursor: None, is_untold: false, told: VecDeque::new() };
    // Before anything else is looked at, so that nothing behind that look is missed.
    feed.listen().await;
    Box::pin(stream::unfold(feed, |mut feed| async { Some((feed.next().await, feed)) }))
}

/// The first event of a connection.
#[derive(Deserialize)]
struct Hello {
    cursor: String,
    missed: u64,
    is_new: bool,
}

/// A further one.
#[derive(Deserialize)]
struct Batch {
    work: Vec<Worked>,
    left_out: u64,
}

struct Feed<'a> {
    client: &'a Client,
    events: Option<(Events, Reader)>,
    /// Up to where it was told.
    cursor: Option<String>,
    /// That nobody tells was said already.
    is_untold: bool,
    told: VecDeque<Told>,
}

impl Feed<'_> {
    async fn next(&mut self) -> Told {
        loop {
            if let Some(told) = self.told.pop_front() {
                return told;
            }
            match &self.events {
                Some(_) => self.read().await,
                None => {
                    tokio::time::sleep(AGAIN_AFTER).await;
                    self.listen().await;
                }
            }
        }
    }

    async fn listen(&mut self) {
        match self.client.events(self.cursor.as_deref()).await {
            Ok(events) => self.events = Some((events, Reader::default())),
            Err(error) => self.untold(&error),
        }
    }

    /// Reads a piece of what comes. That a connection broke is no news where the next one stands.
    async fn read(&mut self) {
        let Some((mut events, mut reader)) = self.events.take() else { return };
        let Ok(Some(piece)) = events.next().await else { return };
        let read = reader.read(&piece);
        match read.and_then(|events| events.into_iter().try_for_each(|event| self.take(event))) {
            Ok(()) => self.events = Some((events, reader)),
            Err(error) => self.untold(&error),
        }
    }

    fn take(&mut self, Event { name, id, data }: Event) -> Result<(), CommandError> {
        match name.as_str() {
            "hello" => {
                let Hello { cursor, missed, is_new } = serde_json::from_str(&data)?;
                if is_new {
                    let why = "the engine was started again: of what was worked meanwhile nobody tells";
                    self.told.push_back(Told::Untold(why.to_owned()));
                }
                self.left_out(missed);
                (self.cursor, self.is_untold) = (Some(cursor), false);
            }
            "work" => {
                let batch: Batch = serde_json::from_str(&data)?;
                self.left_out(batch.left_out);
                self.told.extend(batch.work.into_iter().map(|work| Told::Work(Box::new(work))));
                self.cursor = id.or(self.cursor.take());
            }
            // Of a later version.
            _ => {}
        }
        Ok(())
    }

    fn left_out(&mut self, count: u64) {
        if count > 0 {
            self.told.push_back(Told::LeftOut(count));
        }
    }

    /// Says once that nobody tells, until somebody does again.
    fn untold(&mut self, error: &CommandError) {
        if !std::mem::replace(&mut self.is_untold, true) {
            let why = format!("what is worked is not told: {}", excerpt(&error.to_string(), 500));
            self.told.push_back(Told::Untold(why));
        }
    }
}

/// An event of a stream.
#[derive(Debug, PartialEq, Eq)]
struct Event {
    name: String,
    id: Option<String>,
    data: String,
}

/// Reads events from pieces of a stream (HTML Living Standard, 9.2.6), wherever it was cut.
#[derive(Default)]
struct Reader {
    line: Vec<u8>,
    name: String,
    id: Option<String>,
    data: String,
}

impl Reader {
    /// The events that end in `piece`.
    fn read(&mut self, piece: &[u8]) -> Result<Vec<Event>, CommandError> {
        let mut events = Vec::new();
        for byte in piece {
            if *byte != b'\n' {
                self.line.push(*byte);
                if self.line.len() > BYTES_MAX {
                    return Err(too_long());
                }
                continue;
            }
            let line = String::from_utf8_lossy(&self.line);
            let line = line.strip_suffix('\r').unwrap_or(&line).to_owned();
            self.line.clear();
            events.extend(self.take(&line)?);
        }
        Ok(events)
    }

    /// Takes a line; the event, where it ends with it.
    fn take(&mut self, line: &str) -> Result<Option<Event>, CommandError> {
        if line.is_empty() {
            let Self { name, id, data, .. } = std::mem::take(self);
            return Ok(Some(Event { name, id, data }).filter(|event| !event.data.is_empty()));
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.name = value.to_owned(),
            "id" => self.id = Some(value.to_owned()),
            "data" => {
                if self.data.len() + value.len() > BYTES_MAX {
                    return Err(too_long());
                }
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            // A comment, or a field of no use here.
            _ => {}
        }
        Ok(None)
    }
}

fn too_long() -> CommandError {
    CommandError::Failed(format!("an event of more than {BYTES_MAX} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, id: Option<&str>, data: &str) -> Event {
        Event { name: name.to_owned(), id: id.map(str::to_owned), data: data.to_owned() }
    }

    #[test]
    fn events_are_read_wherever_the_stream_was_cut() {
        let text = ": a comment\n\nevent: hello\ndata: {\"a\": \"\u{e9}\"}\n\nid:7\r\nevent: work\r\nretry: 5\r\n\
                    data: one\r\ndata: two\r\n\r\nevent: without data\n\ndata: last\n\nevent: half";
        let all = [
            event("hello", None, "{\"a\": \"\u{e9}\"}"),
            event("work", Some("7"), "one\ntwo"),
            event("", None, "last"),
        ];
        for at in 0..text.len() {
            let mut reader = Reader::default();
            let (before, behind) = text.as_bytes().split_at(at);
            let mut read = reader.read(before).unwrap();
            read.extend(reader.read(behind).unwrap());
            assert_eq!(read, all, "cut at {at}");
        }
    }

    #[test]
    fn an_event_that_does_not_end_is_not_held() {
        let long = vec![b'x'; BYTES_MAX + 1];
        assert!(Reader::default().read(&long).is_err());
        let mut reader = Reader::default();
        let line = [b"data: ".as_slice(), &long[..BYTES_MAX / 2], b"\n"].concat();
        assert!(reader.read(&line).is_ok() && reader.read(&line).is_ok());
        assert!(reader.read(&line).is_err());
    }
}
