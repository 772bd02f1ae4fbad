//! Buckets: every key is an object of its own, whatever the local engine calls its file.

use super::{START, alike, folder, same, sequences};
use proptest::{collection::vec, prelude::*};
use quadrille::{
    conformance,
    local::bucket,
    memory::{Memory, VirtualClock},
    port::SeededRandom,
};
use std::sync::Arc;

#[derive(Clone, Debug)]
enum Call {
    Put(String, Vec<u8>),
    Get(String),
    List { prefix: String, after: Option<String>, limit: usize },
    Reopen,
}

/// Keys that meet each other: in folders and beside them, escaped and not, too long and empty.
fn key() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "a",
        "A",
        "b",
        "/",
        ".",
        "..",
        "%",
        "%2F",
        "2F",
        "-",
        " ",
        "é",
        "e\u{301}",
        "\\",
        "\0",
        "\u{10FFFF}",
        ".partial",
        "~",
        "_",
        "con",
        "\n",
        ":",
    ]);
    prop_oneof![
        20 => vec(part, 0..5).prop_map(|parts| parts.concat()),
        1 => (1_020_usize..1_027).prop_map(|length| "k".repeat(length)),
        1 => (250_usize..260).prop_map(|length| ["a/", &"é".repeat(length / 2), "/b"].concat()),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    let limit =
        prop_oneof![8 => 1..4_usize, 2 => 4..12_usize, 1 => Just(1_000), 1 => Just(1_001), 1 => Just(0)];
    prop_oneof![
        8 => (key(), vec(any::<u8>(), 0..4)).prop_map(|(key, body)| Call::Put(key, body)),
        3 => key().prop_map(Call::Get),
        5 => (key(), prop::option::of(key()), limit)
            .prop_map(|(prefix, after, limit)| Call::List { prefix, after, limit }),
        1 => Just(Call::Reopen),
    ]
}

async fn play(calls: Vec<Call>) -> Result<(), TestCaseError> {
    let clock = Arc::new(VirtualClock::new(START));
    let ports = Memory::new(&conformance::model(), clock, Arc::new(SeededRandom::new(1))).ports();
    let (memory, folder) = (&ports.buckets["objects"], folder());
    let mut local = bucket(folder.path()).unwrap();
    for call in calls {
        match &call {
            Call::Put(key, body) => {
                let first = memory.put_if_absent(key, body.clone()).await;
                same(&call, [alike(first), alike(local.put_if_absent(key, body.clone()).await)])?;
            }
            Call::Get(key) => same(&call, [alike(memory.get(key).await), alike(local.get(key).await)])?,
            Call::List { prefix, after, limit } => {
                let first = memory.list(prefix, after.as_deref(), *limit).await;
                let second = local.list(prefix, after.as_deref(), *limit).await;
                same(&call, [alike(first), alike(second)])?;
            }
            Call::Reopen => {
                drop(local);
                local = bucket(folder.path()).unwrap();
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(sequences(150))]

    #[test]
    fn buckets_answer_the_same(calls in vec(call(), 1..25)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(play(calls))?;
    }
}
