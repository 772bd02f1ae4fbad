//! Time, random numbers and tasks: what a test or the simulator could not steer if anybody took them by himself.

use crate::{
    bans::Ban,
    repository::{Fault, File},
    rust,
};

const WITHIN: &[&str] = &["core/src/", "handlers/systems/src/"];

const CALLS: [Ban; 3] = [
    Ban {
        names: &[
            "SystemTime::now",
            "Instant::now",
            "Timestamp::now",
            "Zoned::now",
            "tokio::time",
            "time::sleep",
            "time::timeout",
            "time::interval",
            "timeout_at(",
            "thread::sleep",
        ],
        within: WITHIN,
        except: &[
            ("core/src/port/clock.rs", "the system's clock, as a port"),
            ("core/src/server/", "a connection's own timeouts"),
            ("core/src/http_client.rs", "a request's own timeout"),
            ("core/src/conformance/", "the suite bounds its scenarios by real time"),
            ("core/src/sim/conforms.rs", "the suite is played in real time, which its test lets go on"),
            ("handlers/systems/src/auction/bench/", "a benchmark measures real time"),
        ],
        instead: "ask `port::Clock`; a handler asks its `Context`, and waits by an event with a later time",
    },
    Ban {
        names: &["rand::", "thread_rng", "getrandom"],
        within: WITHIN,
        except: &[("core/src/port/random.rs", "the system's random numbers, as a port")],
        instead: "draw from `port::Random`; a handler asks its `Context`",
    },
    Ban {
        names: &[
            "tokio::spawn",
            "task::spawn",
            "spawn_blocking",
            "JoinSet",
            "thread::spawn",
            "thread::Builder",
            "thread::scope",
        ],
        within: WITHIN,
        except: &[
            ("core/src/engine/", "the engine runs consumers, relay and schedules"),
            ("core/src/server/", "a connection is a task"),
            ("core/src/lambda/", "the runtime's own loop"),
            ("core/src/lines.rs", "lines are written by a thread, which may be held up"),
            ("core/src/local/store.rs", "the store's writer is a thread"),
            ("core/src/local/bucket", "a bucket's writers are threads"),
            ("core/src/notify/mod.rs", "file and terminal block"),
            ("core/src/conformance/", "calls that race, and calls that may hang"),
            ("core/src/sim/conforms.rs", "worlds of the suite, each on a thread of its own"),
            ("handlers/systems/src/auction/bench/", "clients that send at once"),
        ],
        instead: "let the engine run it, or await it where it is asked for (`join_all`)",
    },
];

/// Calls that pass by the ports.
pub fn banned(files: &[File]) -> Vec<Fault> {
    CALLS.iter().flat_map(|ban| ban.faults(files)).collect()
}

/// `select!` begins with a branch drawn by a random number of the thread's, which no seed repeats.
pub fn unbiased_select(files: &[File]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for file in files.iter().filter(|file| file.path.starts_with("core/src/") && file.path.ends_with(".rs")) {
        let code = file.code();
        for at in rust::places(code, "select!") {
            let body = code[at + "select!".len()..].trim_start().trim_start_matches(['{', '(']);
            if !body.trim_start().starts_with("biased;") {
                faults.push(file.fault(
                    at,
                    "`select!` that draws lots",
                    "begin it with `biased;`, and the urgent branch first",
                ));
            }
        }
    }
    faults
}

#[test]
fn every_banned_call_can_be_found() {
    let calls = [
        "let now = SystemTime::now();",
        "let random: u64 = rand::random();",
        "tokio::spawn(async move { relay().await });",
    ];
    for (ban, call) in CALLS.iter().zip(calls) {
        let file = File::new("core/src/pipeline/mod.rs", call);
        assert!(ban.faults(&[file]).iter().any(|fault| fault.path == "core/src/pipeline/mod.rs"), "{call}");
    }
}

#[test]
fn a_select_without_biased_is_found() {
    let file = |branches: &str| File::new("core/src/a.rs", format!("\ntokio::select! {{ {branches} }}"));
    let faults = unbiased_select(&[
        file("x = y => {}"),
        file("// biased;\n x = y => {}"),
        file("\n biased; x = y => {}"),
    ]);
    assert_eq!(faults.iter().map(|fault| fault.line).collect::<Vec<_>>(), [2, 2]);
}
