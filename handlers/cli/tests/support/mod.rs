//! What the end-to-end tests share: the engine as a process, commands, a plain HTTP client, and what can be read from
//! outside. Nothing here sleeps to let something happen; whoever waits, waits for a condition, and not for ever.
#![allow(dead_code)] // Each test binary uses a part of it.

pub mod between;
pub mod server;

#[cfg(target_os = "linux")]
use rustix::process::{Resource, Rlimit, prlimit};
use rustix::{
    process::{Pid, Signal, kill_process},
    pty::{self, OpenptFlags},
    termios::{Winsize, tcsetwinsize},
};
use serde_json::{Value, value::RawValue};
use std::{
    collections::BTreeMap,
    fs,
    io::{self, BufRead as _, BufReader, ErrorKind, Read, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How long anything may take before a test gives up on it. No test takes this long unless it fails.
pub const BOUND: Duration = Duration::from_secs(60);

/// How long a condition that nothing announces is left alone between two looks at it.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// A number that the environment may set, so that a test attacks for longer than usual.
pub fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect(variable))
}

/// Looks until there is something to see, and returns it.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(began.elapsed() < BOUND, "not within {BOUND:?}: {what}");
        thread::park_timeout(LOOK_EVERY);
    }
}

/// The command, with none of the variables that the caller's environment may set, and no configuration file.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(super::COMMAND);
    command.args(args);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("QUADRILLE_") {
            command.env_remove(name);
        }
    }
    // No file that happens to lie in the working directory is read.
    command.env("QUADRILLE_CONFIG", "");
    command
}

/// The same command, which a write beyond the largest size of a file does not kill: the write fails.
pub fn without_file_size_signal(command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"trap "" XFSZ; exec "$0" "$@""#]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

/// What a command left behind.
#[derive(Debug)]
pub struct Done {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Done {
    /// Its output, which has to be that of a success.
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    /// The last line of its output as JSON.
    pub fn json(self) -> Value {
        let out = self.ok();
        let last = out.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {out}"))
    }
}

/// Runs a command to its end, with nothing on its standard input.
pub fn quadrille(args: &[&str]) -> Done {
    run(command(args), b"")
}

/// Runs a command on a data folder.
pub fn on(folder: &Path, args: &[&str]) -> Done {
    let mut command = command(args);
    command.arg("--data").arg(folder);
    run(command, b"")
}

/// Runs a command to its end with `input` on its standard input.
pub fn run(mut command: Command, input: &[u8]) -> Done {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (out, err) = (text_of(child.stdout.take().unwrap()), text_of(child.stderr.take().unwrap()));
    let mut stdin = child.stdin.take().unwrap();
    // A command that fails before it has read its input closes it.
    let _: io::Result<()> = stdin.write_all(input);
    drop(stdin);
    let status = ended(&mut child, "a command's end");
    Done { code: status.code().unwrap_or(-1), out: out.join().unwrap(), err: err.join().unwrap() }
}

fn text_of(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut text = Vec::new();
        from.read_to_end(&mut text).unwrap();
        String::from_utf8(text).expect("what a command prints is UTF-8")
    })
}

fn ended(child: &mut Child, what: &str) -> ExitStatus {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if began.elapsed() > BOUND {
            child.kill().unwrap();
            panic!("not within {BOUND:?}: {what}");
        }
        thread::park_timeout(LOOK_EVERY);
    }
}

/// The lines of a process's output, as they come.
#[derive(Clone, Default)]
pub struct Lines(Arc<(Mutex<Seen>, Condvar)>);

#[derive(Default)]
struct Seen {
    lines: Vec<String>,
    is_over: bool,
}

impl Lines {
    fn of(from: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let seen = lines.clone();
        thread::spawn(move || {
            for line in BufReader::new(from).lines() {
                let Ok(line) = line else { break };
                seen.seen().lines.push(line);
                seen.0.1.notify_all();
            }
            seen.seen().is_over = true;
            seen.0.1.notify_all();
        });
        lines
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.0.lock().unwrap()
    }

    /// The first line that `find` takes something from; none where the output ends without it.
    pub fn find<T>(&self, find: impl Fn(&str) -> Option<T>) -> Option<T> {
        let mut seen = self.seen();
        loop {
            if let Some(found) = seen.lines.iter().find_map(|line| find(line)) {
                return Some(found);
            }
            if seen.is_over {
                return None;
            }
            let (next, waited) = self.0.1.wait_timeout(seen, BOUND).unwrap();
            assert!(!waited.timed_out(), "not within {BOUND:?}: a line of output");
            seen = next;
        }
    }

    /// All there is, once there will be no more.
    pub fn whole(&self) -> String {
        let mut seen = self.seen();
        while !seen.is_over {
            let (next, waited) = self.0.1.wait_timeout(seen, BOUND).unwrap();
            assert!(!waited.timed_out(), "not within {BOUND:?}: the end of the output");
            seen = next;
        }
        seen.lines.join("\n")
    }

    /// All there is by now.
    pub fn so_far(&self) -> Vec<String> {
        self.seen().lines.clone()
    }
}

/// A command that goes on until it is asked to end; killed when this is dropped.
pub struct Watcher {
    child: Child,
    pub out: Lines,
    err: Lines,
}

impl Watcher {
    pub fn start(mut command: Command) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (out, err) = (Lines::of(child.stdout.take().unwrap()), Lines::of(child.stderr.take().unwrap()));
        Self { child, out, err }
    }

    /// The same with a terminal of 40 rows as its standard output.
    pub fn on_terminal(command: Command) -> Self {
        Self::on_terminal_of(command, (40, 110))
    }

    /// The same with one of so many rows and columns.
    pub fn on_terminal_of(mut command: Command, (rows, columns): (u16, u16)) -> Self {
        let terminal = pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&terminal, size).unwrap();
        pty::grantpt(&terminal).unwrap();
        pty::unlockpt(&terminal).unwrap();
        let name = pty::ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
        let shown = fs::File::options().read(true).write(true).open(name).unwrap();
        let mut child = command.stdin(Stdio::null()).stdout(shown).stderr(Stdio::piped()).spawn().unwrap();
        // What is left in this process of the terminal would keep it open.
        drop(command);
        let (out, err) = (Lines::of(fs::File::from(terminal)), Lines::of(child.stderr.take().unwrap()));
        Self { child, out, err }
    }

    /// SIGTERM, and what it left behind.
    pub fn terminate(mut self) -> Done {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let status = ended(&mut self.child, "a watch's end");
        Done { code: status.code().unwrap_or(-1), out: self.out.whole(), err: self.err.whole() }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // It may have ended; if not, it must not outlive its test.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `up` in a process of its own, which is killed when this is dropped.
pub struct Engine {
    child: Child,
    pub folder: PathBuf,
    /// `host:port`.
    pub address: String,
    pub out: Lines,
    pub err: Lines,
}

impl Engine {
    /// Starts a command that is expected to say where it listens.
    pub fn start(mut command: Command, folder: &Path) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (out, err) = (Lines::of(child.stdout.take().unwrap()), Lines::of(child.stderr.take().unwrap()));
        let mut engine = Self { child, folder: folder.to_owned(), address: String::new(), out, err };
        let listening = engine.out.find(|line| Some(line.strip_prefix("listening on http://")?.to_owned()));
        engine.address = listening.unwrap_or_else(|| panic!("it did not start: {}", engine.err.whole()));
        engine
    }

    /// Sends a request with a JSON body, or none; the answer has to come.
    pub fn ask(&self, method: &str, path: &str, body: Option<&[u8]>) -> Answer {
        ask(&self.address, method, path, &[], body)
            .unwrap_or_else(|error| panic!("{error}: {method} {path}: {:?}", self.err.so_far()))
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, None)
    }

    /// The queues by name, as `queues` tells of them.
    pub fn queues(&self) -> BTreeMap<String, Value> {
        let queues = self.get("/_quadrille/queues").json();
        let named = |queue: &Value| (queue["name"].as_str().unwrap().to_owned(), queue.clone());
        queues.as_array().unwrap().iter().map(named).collect()
    }

    /// Dead letters of a queue.
    pub fn dead_letters(&self, queue: &str) -> Vec<Value> {
        dead_letters(&self.folder, queue)
    }

    /// The process's id.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// No file of the process can be written any more, or all can again: as on a disk that is full for a while. Of one that was
    /// started [without the signal](without_file_size_signal) of it.
    #[cfg(target_os = "linux")]
    pub fn fill_disk(&self, is_full: bool) {
        let limit = Rlimit { current: is_full.then_some(0), maximum: None };
        prlimit(Some(Pid::from_child(&self.child)), Resource::Fsize, limit).unwrap();
    }

    /// Asks the process to end, and does not wait for it.
    pub fn ask_to_end(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }

    /// Waits until the process has ended by itself.
    pub fn ended(mut self) -> Done {
        let status = ended(&mut self.child, "the engine's end");
        Done { code: status.code().unwrap_or(-1), out: self.out.whole(), err: self.err.whole() }
    }

    /// SIGTERM, which it has to obey with success.
    pub fn terminate(self) -> Done {
        self.ask_to_end();
        let done = self.ended();
        assert_eq!(done.code, 0, "{done:?}");
        done
    }

    /// `kill -9`: no code of the process runs any more.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // It may have ended; if not, it must not outlive its test.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An answer over HTTP.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// By name in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The problem of an error (RFC 9457), which has to be one.
    pub fn problem(&self) -> Value {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{}", self.text());
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{problem}");
        problem
    }
}

/// Sends one request on a connection of its own. `headers` are added to those that every request needs, and stand for
/// those of the same name.
///
/// # Errors
/// No whole answer came.
pub fn ask(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&[u8]>,
) -> io::Result<Answer> {
    let length = body.unwrap_or_default().len().to_string();
    let mut all = BTreeMap::from([
        ("host", address),
        ("connection", "close"),
        ("content-length", &length),
        ("content-type", "application/json"),
    ]);
    all.extend(headers.iter().copied());
    let mut request = format!("{method} {path} HTTP/1.1\r\n");
    for (name, value) in all {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    let mut request = request.into_bytes();
    request.extend_from_slice(body.unwrap_or_default());
    exchange(address, &request)
}

/// Sends bytes and reads the answer.
///
/// # Errors
/// No whole answer came.
pub fn exchange(address: &str, request: &[u8]) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(BOUND))?;
    stream.set_write_timeout(Some(BOUND))?;
    // One that is refused before it is read to its end may not be taken whole; the answer says so.
    let written = stream.write_all(request);
    let answer = read_answer(&mut stream);
    answer.or_else(|error| written.and(Err(error)))
}

/// Reads an answer that ends with its connection.
///
/// # Errors
/// It is not whole.
pub fn read_answer(stream: &mut TcpStream) -> io::Result<Answer> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let cut = || io::Error::from(ErrorKind::UnexpectedEof);
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(cut)?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let status = status.and_then(|status| status.parse().ok()).ok_or_else(cut)?;
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let body = bytes[end + 4..].to_vec();
    match headers.get("content-length").map(|length| length.parse::<usize>()) {
        Some(Ok(length)) if body.len() == length => Ok(Answer { status, headers, body }),
        _ => Err(cut()),
    }
}

/// A part of a path, percent-encoded.
pub fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// A JSON object's members, each value in the text it is written in.
pub fn members(object: &[u8]) -> BTreeMap<String, String> {
    let members: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(object).unwrap();
    members.into_iter().map(|(name, value)| (name, value.get().to_owned())).collect()
}

/// Every file below a folder. One that vanishes meanwhile is passed over.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let Ok(entry) = entry else { continue };
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(_) => found.push(entry.path()),
                Err(_) => {}
            }
        }
    }
    found.sort();
    found
}

/// Dead letters of a queue, as `dlq list` tells of them.
pub fn dead_letters(folder: &Path, queue: &str) -> Vec<Value> {
    let letters = on(folder, &["dlq", "list", "--queue", queue, "--json"]).json();
    letters.as_array().unwrap().clone()
}

/// The subjects of dead letters, sorted, each as often as it is there.
pub fn subjects(letters: &[Value]) -> Vec<String> {
    let mut subjects: Vec<String> =
        letters.iter().map(|letter| letter["subject"].as_str().unwrap_or("-").to_owned()).collect();
    subjects.sort();
    subjects
}

/// The texts of a trail, in their order.
pub fn whats(trail: &Value) -> Vec<String> {
    let entries = trail.as_array().unwrap().iter();
    entries.map(|entry| entry["what"].as_str().unwrap().to_owned()).collect()
}

/// The notifications in the data folder, one for each line of the file, each of which has to be whole.
pub fn notifications(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("notifications.jsonl")).unwrap_or_default();
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.map(|line| serde_json::from_str(line).unwrap()).collect()
}
