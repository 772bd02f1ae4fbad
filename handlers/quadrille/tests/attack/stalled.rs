//! Bodies that never end: the engine's memory is bounded, and others are answered.

use crate::support::{Engine, command, eventually, number};
use std::{fs, io::Write as _, net::TcpStream, thread, time::Duration};

const MIB: usize = 1_048_576;
/// Connections that hold a body back, unless `ATTACK_STALLED` says another number.
const STALLED: u64 = 505;
/// Rounds over all connections without one that takes a byte: then none will.
const QUIET: usize = 50;
/// The most that the engine may use for all: 64 MiB of bodies, and what it needs anyway.
const MEMORY_MAX: u64 = 256;

/// The most memory that a process has used, in MiB; where the system tells.
fn memory(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib / 1_024)
}

#[test]
fn bodies_that_never_end_take_a_bounded_memory_and_end_with_their_connections() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = command(&["up", "--port", "0", "--data"]);
    up.arg(folder.path());
    let engine = Engine::start(up, folder.path());
    let stalled = number("ATTACK_STALLED", STALLED);
    let head = format!(
        "POST /orders HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {MIB}\r\n\r\n",
        engine.address
    );
    let body = vec![b' '; MIB - 1];
    let connections = (0..stalled).map(|_| {
        let mut stream = TcpStream::connect(&engine.address).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        (stream, 0)
    });
    let mut connections: Vec<(TcpStream, usize)> = connections.collect();
    // As much as it takes: past its budget it reads no further.
    let (mut quiet, mut sent) = (0, 0);
    while quiet < QUIET {
        let before = sent;
        for (stream, at) in &mut connections {
            let more = stream.write(&body[*at..]).unwrap_or(0);
            (*at, sent) = (*at + more, sent + more);
        }
        quiet = if sent == before { quiet + 1 } else { 0 };
        thread::park_timeout(Duration::from_millis(2));
    }
    assert_eq!(engine.get("/healthz").status, 200);
    let good = r#"[{"record_id":"good","parameter_1":"abc","parameter_2":4}]"#;
    let post = || engine.ask("POST", "/orders", Some(good.as_bytes()));
    let meanwhile = post();
    if meanwhile.status != 202 {
        assert_eq!(meanwhile.status, 503, "{}", meanwhile.text());
        assert!(meanwhile.headers.contains_key("retry-after"));
    }
    if let Some(memory) = memory(engine.process()) {
        println!(
            "{stalled} stalled bodies of 1 MiB, {} MiB of them taken: {memory} MiB of memory",
            sent / MIB
        );
        assert!(memory <= MEMORY_MAX, "{memory} MiB");
    }
    drop(connections);
    eventually("a body is taken again", || (post().status == 202).then_some(()));
    engine.terminate();
}
