//! A data folder that was damaged in a drawn way after a kill: it is refused with a sentence and stays as it is, or it has all that
//! was acknowledged.

use crate::support::{Engine, command, number, on};
use quadrille::port::{Random as _, SeededRandom};
use serde_json::json;
use std::{
    fs::{self, File, OpenOptions},
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

/// Ways of damage that are tried, unless `ATTACK_VARIANTS` says another number.
const VARIANTS: u64 = 60;
/// Orders acknowledged before the clean end, and before the kill.
const ORDERS: usize = 300;

const DATABASE: &str = "quadrille.db";
const LOG: &str = "quadrille.db-wal";
const MARK: &str = "quadrille.mark";

fn up(folder: &Path, first: usize) -> Engine {
    let mut up = command(&["up", "auction", "--port", "0", "--every", "336h", "--data"]);
    up.arg(folder);
    let engine = Engine::start(up, folder);
    let order = |number| json!({"record_id": format!("o-{number}"), "parameter_1": "abc", "parameter_2": 4});
    for number in (first..first + ORDERS).step_by(10) {
        let body = json!((number..number + 10).map(order).collect::<Vec<_>>()).to_string();
        assert_eq!(engine.ask("POST", "/orders", Some(body.as_bytes())).status, 202);
    }
    engine
}

/// Bytes of a file up to its last one that is not zero: what is behind is room for more.
fn used(path: &Path) -> usize {
    fs::read(path).unwrap().iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

/// A damage that can be undone.
struct Damage {
    file: PathBuf,
    how: String,
    undo: Undo,
}

enum Undo {
    /// What was at a place, and how long the file was.
    Write {
        at: u64,
        bytes: Vec<u8>,
        length: u64,
    },
    Rename(PathBuf),
}

impl Damage {
    fn drawn(folder: &Path, used: &[(&str, usize)], random: &SeededRandom) -> Self {
        let below = |limit: usize| usize::try_from(random.next_u64() % limit.max(1) as u64).unwrap();
        let (name, used) = used[below(used.len())];
        let file = folder.join(name);
        let at = below(used);
        // What is inside of the database has no checksum, and may be served as good: that is not promised.
        let kind = below(if name == DATABASE { 2 } else { 5 });
        if kind == 0 {
            let aside = folder.with_extension("aside");
            fs::rename(&file, &aside).unwrap();
            return Self { how: format!("{name} is gone"), file, undo: Undo::Rename(aside) };
        }
        let mut open = OpenOptions::new().read(true).write(true).open(&file).unwrap();
        let length = open.metadata().unwrap().len();
        let mut bytes = vec![0; if kind == 1 { used - at } else { (used - at).min(512) }];
        read_at(&mut open, at, &mut bytes);
        let how = match kind {
            1 => {
                open.set_len(at as u64).unwrap();
                format!("{name} is cut at {at}")
            }
            2 => {
                write_at(&mut open, at, &vec![0; bytes.len()]);
                format!("{name} has {} zeros at {at}", bytes.len())
            }
            _ => {
                let bit = below(8);
                write_at(&mut open, at, &[bytes[0] ^ 1 << bit]);
                format!("{name} has bit {bit} of byte {at} changed")
            }
        };
        Self { file, how, undo: Undo::Write { at: at as u64, bytes, length } }
    }

    fn undo(self) {
        match self.undo {
            Undo::Rename(aside) => fs::rename(aside, self.file).unwrap(),
            Undo::Write { at, bytes, length } => {
                let mut open = OpenOptions::new().write(true).open(self.file).unwrap();
                write_at(&mut open, usize::try_from(at).unwrap(), &bytes);
                open.set_len(length).unwrap();
            }
        }
    }
}

fn read_at(file: &mut File, at: usize, bytes: &mut [u8]) {
    file.seek(SeekFrom::Start(at as u64)).unwrap();
    file.read_exact(bytes).unwrap();
}

fn write_at(file: &mut File, at: usize, bytes: &[u8]) {
    file.seek(SeekFrom::Start(at as u64)).unwrap();
    file.write_all(bytes).unwrap();
}

#[test]
fn a_damaged_folder_is_refused_or_has_all_that_was_acknowledged() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("data");
    up(&folder, 0).terminate();
    up(&folder, ORDERS).kill();
    let all = 2 * ORDERS;
    let used: Vec<(&str, usize)> =
        [DATABASE, LOG, LOG, LOG, MARK].map(|name| (name, used(&folder.join(name)))).to_vec();
    let look = || on(&folder, &["orders", "--json", "--limit", "100000"]);
    let random = SeededRandom::new(number("ATTACK_SEED", 20_261_129));
    let (variants, mut refused) = (number("ATTACK_VARIANTS", VARIANTS), 0);
    for variant in 0..variants {
        let damage = Damage::drawn(&folder, &used, &random);
        let looked = look();
        let told = format!("variant {variant}: {}: {looked:?}", damage.how);
        match looked.code {
            0 => assert_eq!(looked.json().as_array().unwrap().len(), all, "{told}"),
            code => {
                assert!([1, 4].contains(&code) && looked.out.is_empty() && !looked.err.is_empty(), "{told}");
                refused += 1;
            }
        }
        damage.undo();
    }
    assert_eq!(look().json().as_array().unwrap().len(), all, "nothing was changed by looking");
    println!("{variants} ways of damage: {refused} refused, {} have all {all} orders", variants - refused);
    assert!(refused > 0 && refused < variants, "both come up");
}
