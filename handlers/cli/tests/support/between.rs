//! Somebody between a command and the server it asks, who has the command die at any of its requests, or cuts connections.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

/// Where a request stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stops {
    /// Before the server gets it.
    Before,
    /// Once the server has answered, and nobody has the answer.
    Behind,
}

/// Passes requests on, all but one.
pub struct Between {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    server: String,
    /// Which request stops, counted from 1, and where.
    at: Option<(u64, Stops)>,
    /// Only requests that hold this text are counted.
    counted: &'static str,
    asked: AtomicU64,
    has_stopped: AtomicBool,
    /// Those whose answers never come.
    held: Mutex<Vec<TcpStream>>,
}

impl Between {
    /// Listens in front of `server`, which is at `host:port`.
    pub fn start(server: &str, at: Option<(u64, Stops)>, counted: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            server: server.to_owned(),
            at,
            counted,
            asked: AtomicU64::new(0),
            has_stopped: AtomicBool::new(false),
            held: Mutex::new(Vec::new()),
        });
        let listening = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming() {
                let shared = Arc::clone(&listening);
                // A connection that breaks off is for its ends to tell of.
                thread::spawn(move || _ = client.and_then(|client| shared.pass(client)));
            }
        });
        Self { address, shared }
    }

    /// How many requests it was asked that count.
    pub fn asked(&self) -> u64 {
        self.shared.asked.load(Ordering::SeqCst)
    }

    /// Whether one has stopped.
    pub fn has_stopped(&self) -> bool {
        self.shared.has_stopped.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn pass(&self, mut client: TcpStream) -> io::Result<()> {
        let mut server = TcpStream::connect(&self.server)?;
        let (mut asked, mut answered) =
            (BufReader::new(client.try_clone()?), BufReader::new(server.try_clone()?));
        loop {
            let request = message(&mut asked)?;
            let counts = String::from_utf8_lossy(&request).contains(self.counted);
            let number = if counts { self.asked.fetch_add(1, Ordering::SeqCst) + 1 } else { 0 };
            let stops = self.at.filter(|(at, _)| *at == number).map(|(_, stops)| stops);
            if stops == Some(Stops::Before) {
                return self.hold(client);
            }
            server.write_all(&request)?;
            let answer = message(&mut answered)?;
            if stops == Some(Stops::Behind) {
                return self.hold(client);
            }
            client.write_all(&answer)?;
        }
    }

    fn hold(&self, client: TcpStream) -> io::Result<()> {
        self.held.lock().unwrap().push(client);
        self.has_stopped.store(true, Ordering::SeqCst);
        Ok(())
    }
}

/// A request or an answer, whose body has a length or comes in chunks.
fn message(from: &mut BufReader<TcpStream>) -> io::Result<Vec<u8>> {
    let mut whole = Vec::new();
    let (mut length, mut is_chunked) = (0, false);
    loop {
        let line = line(from, &mut whole)?;
        let header = line.to_ascii_lowercase();
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
        is_chunked |= header.starts_with("transfer-encoding:") && header.contains("chunked");
        if line.trim().is_empty() {
            break;
        }
    }
    loop {
        if is_chunked {
            let size = line(from, &mut whole)?;
            length = usize::from_str_radix(size.trim(), 16).map_err(io::Error::other)? + 2;
        }
        let start = whole.len();
        whole.resize(start + length, 0);
        from.read_exact(&mut whole[start..])?;
        if !is_chunked || length == 2 {
            return Ok(whole);
        }
    }
}

fn line(from: &mut BufReader<TcpStream>, whole: &mut Vec<u8>) -> io::Result<String> {
    let start = whole.len();
    if from.read_until(b'\n', whole)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(String::from_utf8_lossy(&whole[start..]).into_owned())
}

/// Passes bytes on as they come, until a connection is cut.
pub struct Cable {
    /// Where it listens.
    pub address: SocketAddr,
    /// Connections by what was asked on them.
    marked: Arc<Mutex<Vec<TcpStream>>>,
}

impl Cable {
    /// Listens in front of `server`, which is at `host:port`. Connections on which `mark` is asked for can be cut.
    pub fn start(server: &str, mark: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (server, marked) = (server.to_owned(), Arc::new(Mutex::new(Vec::new())));
        let keeps = Arc::clone(&marked);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (server, keeps) = (server.clone(), Arc::clone(&keeps));
                // A connection that breaks off is for its ends to tell of.
                thread::spawn(move || _ = client.and_then(|client| pass(client, &server, mark, &keeps)));
            }
        });
        Self { address, marked }
    }

    /// Cuts the marked connections, and returns how many there were.
    pub fn cut(&self) -> usize {
        let marked: Vec<TcpStream> = self.marked.lock().unwrap().drain(..).collect();
        // One that its ends have closed can't be cut.
        marked.iter().filter(|stream| stream.shutdown(Shutdown::Both).is_ok()).count()
    }
}

fn pass(mut client: TcpStream, server: &str, mark: &str, marked: &Mutex<Vec<TcpStream>>) -> io::Result<()> {
    let mut server = TcpStream::connect(server)?;
    let (mut answers, mut answered) = (server.try_clone()?, client.try_clone()?);
    thread::spawn(move || {
        // Either end tells the other that it is over.
        let _ = io::copy(&mut answers, &mut answered);
        let _ = answered.shutdown(Shutdown::Both);
    });
    let mut piece = [0; 16 * 1024];
    loop {
        let length = client.read(&mut piece)?;
        if length == 0 {
            return server.shutdown(Shutdown::Both);
        }
        if String::from_utf8_lossy(&piece[..length]).contains(mark) {
            marked.lock().unwrap().push(client.try_clone()?);
        }
        server.write_all(&piece[..length])?;
    }
}
