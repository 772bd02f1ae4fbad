//! A data folder that is damaged after a kill, or goes away under the engine.

use crate::support::{Engine, eventually, on, orders, run};
use std::{
    fs,
    path::{Path, PathBuf},
};

fn up(folder: &Path, more: &[&str]) -> Engine {
    Engine::up(folder, &[&["--seed", "7", "--backoff", "20ms"], more].concat())
}

/// How many orders the engine knows.
fn known(engine: &Engine) -> usize {
    let told = on(&engine.folder, &["orders", "--json", "--limit", "10000"]).json();
    told.as_array().unwrap().len()
}

#[test]
fn a_log_that_is_damaged_after_a_kill_is_refused_until_the_loss_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    up(folder.path(), &[]).terminate();
    let engine = up(folder.path(), &[]);
    let all = orders("order-", 400);
    all.chunks(20).for_each(|batch| engine.take(batch));
    assert_eq!(known(&engine), 400);
    engine.kill();
    let log = folder.path().join("quadrille.db-wal");
    let mut content = fs::read(&log).unwrap();
    // In the middle of what was written: behind it there are zeros.
    let end = content.chunks(1_024).rposition(|chunk| *chunk != [0; 1_024][..chunk.len()]).unwrap() * 1_024;
    content[end / 2] ^= 1;
    fs::write(&log, &content).unwrap();

    let refused = run(Engine::command(folder.path(), &[]), b"");
    assert_eq!((refused.code, refused.out.as_str()), (4, ""), "{refused:?}");
    let says = ["acknowledged transactions", "quadrille.db-wal", "up --accept-loss"];
    assert!(says.iter().all(|says| refused.err.contains(says)), "{refused:?}");
    for words in [&["orders"][..], &["queues"], &["kickoff"]] {
        let refused = on(folder.path(), words);
        assert_eq!((refused.code, refused.out.as_str()), (4, ""), "{refused:?}");
    }
    assert!(fs::read(&log).unwrap() == content, "what is refused is left as it is");

    let engine = up(folder.path(), &["--accept-loss"]);
    let left = known(&engine);
    assert!((1..400).contains(&left), "{left}");
    // Who still has the orders sends them again.
    for order in &all {
        assert_eq!(engine.post(&format!("[{}]", order.json())).status, 202);
    }
    engine.kill();
    let engine = up(folder.path(), &[]);
    assert_eq!(known(&engine), 400);
    engine.terminate();
}

#[test]
fn a_folder_that_goes_away_takes_no_order_and_is_told_until_it_is_back() {
    let root = tempfile::tempdir().unwrap();
    let (folder, aside) = (root.path().join("data"), root.path().join("aside"));
    let engine = up(&folder, &[]);
    let all = orders("order-", 30);
    engine.take(&all[..10]);
    type Change = fn(&PathBuf, &PathBuf);
    let changes: [Change; 2] = [
        |folder, aside| fs::rename(folder, aside).unwrap(),
        |folder, aside| {
            fs::rename(folder, aside).unwrap();
            fs::create_dir(folder).unwrap();
        },
    ];
    for change in changes {
        change(&folder, &aside);
        for order in &all[10..] {
            let answer = engine.post(&format!("[{}]", order.json()));
            assert_eq!(answer.status, 503, "{}", answer.text());
        }
        eventually("healthz tells", || {
            let answer = engine.get("/healthz");
            let names = ["writes of orders", "writes of order-results"];
            (answer.status == 503 && names.iter().all(|name| answer.text().contains(name))).then_some(())
        });
        if folder.exists() {
            assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "nothing was made anew");
            fs::remove_dir(&folder).unwrap();
        }
        fs::rename(&aside, &folder).unwrap();
        eventually("it goes on", || (engine.get("/healthz").status == 200).then_some(()));
    }
    engine.take(&all[10..]);
    engine.kill();
    let engine = up(&folder, &[]);
    assert_eq!(known(&engine), 30);
    engine.terminate();
}

#[test]
fn a_bit_that_a_disk_turns_over_in_an_order_is_told_and_the_other_orders_are_decided() {
    let folder = tempfile::tempdir().unwrap();
    let engine = up(folder.path(), &[]);
    let all = orders("order-", 20);
    engine.take(&all);
    engine.terminate();
    let database = folder.path().join("quadrille.db");
    let mut content = fs::read(&database).unwrap();
    let damaged = &all[6];
    // The order is still JSON, and one that could have been posted.
    let text = damaged.parameter_1.as_bytes();
    let found: Vec<usize> =
        (0..content.len() - text.len()).filter(|at| content[*at..].starts_with(text)).collect();
    assert!(!found.is_empty());
    found.into_iter().for_each(|at| content[at] ^= 1);
    fs::write(&database, content).unwrap();

    let engine = up(folder.path(), &[]);
    let refused = engine.get(&format!("/orders/{}", damaged.record_id));
    assert_eq!(refused.status, 500, "{}", refused.text());
    let told = on(folder.path(), &["orders", "--json"]).json();
    let unreadable: Vec<&serde_json::Value> =
        told.as_array().unwrap().iter().filter(|row| row["status"] == "unreadable").collect();
    assert!(told.as_array().unwrap().len() == 20 && unreadable.len() == 1, "{told}");
    assert_eq!(unreadable[0]["id"], damaged.record_id.as_str());
    assert!(unreadable[0]["why"].as_str().unwrap().contains("checksum"), "{told}");
    engine.kickoff();
    engine.settled(19);
    engine.terminate();
}
