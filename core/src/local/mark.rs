//! The mark: how many transactions were acknowledged, told outside of the database.
//!
//! A log that is cut or damaged reads as one that ends there, so that a database can't tell what it has lost. So each
//! transaction counts itself in the table `progress`, and once it is committed the mark says so, before anybody is answered. At
//! the next start the database has to have at least as many.
//!
//! The mark has two slots, written in turn: one that is torn leaves the one before it.

use super::{
    files::{MARK, PARTIAL_MARK},
    private,
    sqlite::Progress,
};
use crate::port::stable_hash;
use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _},
    path::Path,
    time::Duration,
};

/// Bytes from one slot to the next: no sector of a disk, and no page of the system, has parts of both.
const SLOT_BYTES: u64 = 4_096;

/// The mark is flushed at most once in this time; between flushes it is with the system, which outlives the process.
const FLUSHED_EVERY: Duration = Duration::from_secs(1);

/// What a mark says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) progress: Progress,
    /// The log is being copied into the database: until that is done, neither is whole without the other.
    pub(super) copying: bool,
}

/// What lies in the place of a mark.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    /// No slot of it is whole.
    Damaged,
    Mark(Told),
}

/// A slot: which turn wrote it, and what it says.
type Slot = (u64, Told);

/// The open mark of a store.
pub(super) struct Mark {
    file: File,
    turn: u64,
    flushed: Option<Duration>,
}

impl Mark {
    /// Opens the mark in `folder`, or makes it, and has it say `told`, durably.
    pub(super) fn open(folder: &Path, told: Told) -> io::Result<Self> {
        let (path, partial) = (folder.join(MARK), folder.join(PARTIAL_MARK));
        let turn = slots(folder)?.and_then(latest).map_or(0, |(turn, _)| turn);
        if turn == 0 {
            match fs::remove_file(&partial) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = private::file().write(true).create_new(true).open(&partial)?;
            file.set_len(2 * SLOT_BYTES)?;
            for turn in [1, 2] {
                write_slot(&mut file, turn, told)?;
            }
            file.sync_all()?;
            fs::rename(&partial, &path)?;
            private::flush_directory(folder)?;
        }
        let file = private::file().write(true).open(&path)?;
        let mut mark = Self { file, turn: turn.max(2), flushed: None };
        mark.say(told)?;
        mark.file.sync_data()?;
        Ok(mark)
    }

    /// Says `told`: that outlives the process.
    pub(super) fn say(&mut self, told: Told) -> io::Result<()> {
        self.turn += 1;
        write_slot(&mut self.file, self.turn, told)
    }

    /// Has what was said outlive the machine as well.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// The same, where the last time was a while ago.
    pub(super) fn flush_by_and_by(&mut self, uptime: Duration) -> io::Result<()> {
        if self.flushed.is_some_and(|flushed| uptime.saturating_sub(flushed) < FLUSHED_EVERY) {
            return Ok(());
        }
        self.flushed = Some(uptime);
        self.flush()
    }
}

/// The mark of `folder`, which stays as it is.
pub(super) fn find(folder: &Path) -> io::Result<Found> {
    let Some(slots) = slots(folder)? else { return Ok(Found::Nothing) };
    Ok(latest(slots).map_or(Found::Damaged, |(_, told)| Found::Mark(told)))
}

fn latest(slots: [Option<Slot>; 2]) -> Option<Slot> {
    slots.into_iter().flatten().max_by_key(|(turn, _)| *turn)
}

fn write_slot(file: &mut File, turn: u64, told: Told) -> io::Result<()> {
    file.seek(SeekFrom::Start(turn % 2 * SLOT_BYTES))?;
    file.write_all(line(turn, told).as_bytes())
}

fn line(turn: u64, Told { progress, copying }: Told) -> String {
    let (store, commits, copying) = (progress.store, progress.commits, u8::from(copying));
    // Of one length: a shorter line would leave the end of a longer one.
    let text = format!("{turn:020} {store:020} {commits:020} {copying}");
    format!("{text} {:020}\n", stable_hash(text.as_bytes()))
}

/// Both slots, as far as they are whole; none where there is no mark.
fn slots(folder: &Path) -> io::Result<Option<[Option<Slot>; 2]>> {
    let file = match private::file().read(true).open(folder.join(MARK)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = Vec::new();
    file.take(2 * SLOT_BYTES).read_to_end(&mut bytes)?;
    let slots = [0, SLOT_BYTES].map(|at| usize::try_from(at).ok().and_then(|at| slot(bytes.get(at..)?)));
    Ok(Some(slots))
}

fn slot(bytes: &[u8]) -> Option<Slot> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let text = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut numbers = text.split(' ').map(str::parse::<u64>);
    let mut next = || numbers.next()?.ok();
    let (turn, store, commits, copying) = (next()?, next()?, next()?, next()? != 0);
    let told = Told { progress: Progress { store, commits }, copying };
    (text == line(turn, told).trim_end()).then_some((turn, told))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(commits: u64) -> Told {
        Told { progress: Progress { store: u64::MAX, commits }, copying: commits.is_multiple_of(3) }
    }

    #[test]
    fn a_mark_says_what_was_said_last() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(find(folder.path()).unwrap(), Found::Nothing);
        let mut mark = Mark::open(folder.path(), told(0)).unwrap();
        for commits in 0..10 {
            mark.say(told(commits)).unwrap();
            assert_eq!(find(folder.path()).unwrap(), Found::Mark(told(commits)));
        }
        drop(mark);
        for commits in 10..13 {
            Mark::open(folder.path(), told(commits)).unwrap();
            assert_eq!(find(folder.path()).unwrap(), Found::Mark(told(commits)));
        }
    }

    #[test]
    fn a_mark_that_is_torn_or_damaged_anywhere_says_at_least_what_it_said_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(MARK);
        let mut mark = Mark::open(folder.path(), told(7)).unwrap();
        mark.say(told(8)).unwrap();
        let whole = fs::read(&path).unwrap();
        let used = line(0, told(0)).len();
        for at in (0..used).chain(usize::try_from(SLOT_BYTES).unwrap()..).take(2 * used) {
            for bit in 0..8 {
                let mut damaged = whole.clone();
                damaged[at] ^= 1 << bit;
                fs::write(&path, &damaged).unwrap();
                let found = find(folder.path()).unwrap();
                assert!([7, 8].map(|commits| Found::Mark(told(commits))).contains(&found), "{at}: {found:?}");
            }
        }
        for damaged in [Vec::new(), vec![0; whole.len()], whole[..10].to_vec()] {
            fs::write(&path, damaged).unwrap();
            assert_eq!(find(folder.path()).unwrap(), Found::Damaged);
        }
    }
}
