//! The writer: a thread that makes objects durable, many with one flush.
//!
//! What has gathered while it worked is one group. Each body goes to a partial file; the bodies are made durable
//! together; each file is renamed to its path; the renames are made durable together; then all are answered. So an
//! object is never seen in part, and an answer means durable.
//!
//! A key always goes to the same writer. So where the file system can't rename without replacing, to look whether there is
//! something of that name needs no lock.

use crate::port::PortError;
use std::{
    collections::HashSet,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    thread,
};
use tokio::sync::{mpsc, oneshot};

/// Puts in one group at most: bounds how long the first of them waits for the last. Ours.
const GROUP_MAX: usize = 512;

/// Up to so many files or directories are flushed one by one. That is as fast, and does not wait for what other
/// programs have written to the file system, as a flush of all of it does. Measured on ext4.
const FLUSHED_SINGLY_MAX: usize = 4;

/// Directories a writer remembers as durable at most. Beyond that it forgets them all, which costs a flush each.
const DURABLE_MAX: usize = 4_096;

/// The system has one call that flushes a whole file system.
const FLUSHES_TOGETHER: bool = cfg!(target_os = "linux");

/// An object to write.
pub(super) struct Put {
    /// Its path, inside the bucket's folder.
    pub(super) path: PathBuf,
    pub(super) body: Vec<u8>,
    /// Whether it was written now; false where it existed.
    pub(super) answer: oneshot::Sender<Result<bool, PortError>>,
}

pub(super) struct Writer {
    name: String,
    folder: PathBuf,
    partial: PathBuf,
    /// The folder, open: the file system to flush.
    #[cfg(target_os = "linux")]
    opened: fs::File,
    /// Directories flushed since this writer began, with all above them: what they held by then is durable.
    durable: HashSet<PathBuf>,
}

/// A put whose body is in a partial file.
struct Written {
    put: Put,
    partial: PathBuf,
}

/// A put that is decided, but for the flush of its directory.
struct Placed {
    put: Put,
    new: bool,
}

impl Writer {
    /// A writer to `folder` whose partial files lie in `partial`, a folder of its own on the same file system.
    pub(super) fn new(name: String, folder: PathBuf, partial: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&partial)?;
        Ok(Self {
            name,
            #[cfg(target_os = "linux")]
            opened: fs::File::open(&folder)?,
            folder,
            partial,
            durable: HashSet::new(),
        })
    }

    /// Works until every sender is gone and everything sent is answered.
    pub(super) fn run(mut self, mut puts: mpsc::Receiver<Put>) {
        let mut waiting = Vec::with_capacity(GROUP_MAX);
        while !waiting.is_empty() || puts.blocking_recv_many(&mut waiting, GROUP_MAX) > 0 {
            // Whoever hands over one has more in hand most of the time: those of a batch are to be one group.
            thread::yield_now();
            while waiting.len() < GROUP_MAX
                && let Ok(put) = puts.try_recv()
            {
                waiting.push(put);
            }
            // Of several puts of one key the later ones wait for the next group, which finds the object there.
            let mut paths = HashSet::with_capacity(waiting.len());
            let (group, later) = waiting.drain(..).partition(|put: &Put| paths.insert(put.path.clone()));
            self.work(group);
            waiting = later;
        }
    }

    fn work(&mut self, group: Vec<Put>) {
        let together = FLUSHES_TOGETHER && group.len() > FLUSHED_SINGLY_MAX;
        let mut written = Vec::with_capacity(group.len());
        let mut placed = Vec::with_capacity(group.len());
        for (number, put) in group.into_iter().enumerate() {
            match self.write(number, &put.body, !together) {
                Ok(partial) => written.push(Written { put, partial }),
                Err(error) => self.refuse(put, &error),
            }
        }
        if together
            && !written.is_empty()
            && let Err(error) = self.flush_all()
        {
            for Written { put, partial } in written.drain(..) {
                remove(&partial);
                self.refuse(put, &error);
            }
        }
        for Written { put, partial } in written {
            match self.place(&partial, &put.path) {
                Ok(new) => placed.push(Placed { put, new }),
                Err(error) => {
                    remove(&partial);
                    self.refuse(put, &error);
                }
            }
        }
        if let Err(error) = self.flush_directories(&placed) {
            // Not known to be durable, and a flush after a failed one proves nothing: they must not be found there.
            for Placed { put, new } in placed {
                if new {
                    remove(&put.path);
                }
                self.refuse(put, &error);
            }
            return;
        }
        for Placed { put, new } in placed {
            // A caller that went away needs no answer.
            let _ = put.answer.send(Ok(new));
        }
    }

    /// Writes a body to a partial file. Whether the object exists shows when that is renamed: most do not.
    fn write(&self, number: usize, body: &[u8], flush: bool) -> io::Result<PathBuf> {
        let partial = self.partial.join(number.to_string());
        let write = || {
            // Truncated: one that could not be removed earlier may be there.
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&partial)?;
            file.write_all(body)?;
            if flush { file.sync_data() } else { Ok(()) }
        };
        write().inspect_err(|_| remove(&partial))?;
        Ok(partial)
    }

    /// Renames the partial file to its path. False: the object is there already.
    fn place(&mut self, partial: &Path, path: &Path) -> io::Result<bool> {
        let renamed = match rename_new(partial, path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Directories are made when one is missing, not looked for each time. Someone may have removed one
                // that was remembered.
                self.durable.clear();
                if let Some(directory) = path.parent() {
                    fs::create_dir_all(directory)?;
                }
                rename_new(partial, path)
            }
            renamed => renamed,
        };
        match renamed {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                remove(partial);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Makes what was renamed durable; and what was found there, which a killed process may have left unflushed.
    fn flush_directories(&mut self, placed: &[Placed]) -> io::Result<()> {
        let mut directories = HashSet::new();
        for Placed { put, new } in placed {
            let Some(directory) = put.path.parent() else {
                continue;
            };
            if *new || !self.durable.contains(directory) {
                directories.insert(directory);
            }
        }
        // A new directory is durable once the one above it is flushed.
        for directory in directories.clone() {
            if !self.durable.contains(directory) {
                let above = directory.ancestors().take_while(|above| above.starts_with(&self.folder));
                directories.extend(above);
            }
        }
        let flushed = if FLUSHES_TOGETHER && directories.len() > FLUSHED_SINGLY_MAX {
            self.flush_all()
        } else {
            directories.iter().try_for_each(|directory| flush_directory(directory))
        };
        if flushed.is_err() || self.durable.len() + directories.len() > DURABLE_MAX {
            self.durable.clear();
        }
        if flushed.is_ok() {
            let new = directories.into_iter().filter(|directory| !self.durable.contains(*directory));
            let new: Vec<PathBuf> = new.map(Path::to_owned).collect();
            self.durable.extend(new);
        }
        flushed
    }

    #[cfg(target_os = "linux")]
    fn flush_all(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.opened)?)
    }

    #[cfg(not(target_os = "linux"))]
    fn flush_all(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn refuse(&self, put: Put, error: &io::Error) {
        let _ = put.answer.send(Err(super::refused(&self.name, error)));
    }
}

/// Best effort: a partial file that stays is removed when the bucket is opened again.
fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "a file could not be removed");
    }
}

/// Renames unless there is something of that name, in one step where the file system can.
#[cfg(target_os = "linux")]
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::{
        fs::{CWD, RenameFlags, renameat_with},
        io::Errno,
    };
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => rename_unless_there(from, to),
        renamed => Ok(renamed?),
    }
}

#[cfg(not(target_os = "linux"))]
use rename_unless_there as rename_new;

/// The same in two steps: whoever else renames to that path is this writer.
fn rename_unless_there(from: &Path, to: &Path) -> io::Result<()> {
    match to.symlink_metadata() {
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::rename(from, to),
        Err(error) => Err(error),
    }
}

/// Makes the names in a directory durable.
#[cfg(unix)]
pub(super) fn flush_directory(directory: &Path) -> io::Result<()> {
    fs::File::open(directory)?.sync_all()
}

/// Makes the names in a directory durable: elsewhere than on Unix the file system does so by itself.
#[cfg(not(unix))]
pub(super) fn flush_directory(_: &Path) -> io::Result<()> {
    Ok(())
}
