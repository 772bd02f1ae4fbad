//! The writer: a thread that makes objects durable, many with one flush.
//!
//! What has gathered while it worked is one group. Each body goes to a partial file; the bodies are made durable
//! together; each file is renamed to its path; the renames are made durable together; then all are answered. So an
//! object is never seen in part, and an answer means durable.
//!
//! A key always goes to the same writer. So where the file system can't rename without replacing, to look whether there is
//! something of that name needs no lock. Of several puts of one key in a group the first that is renamed wins.

use crate::{
    local::{place::Place, private},
    port::PortError,
};
use std::{
    collections::HashSet,
    ffi::OsStr,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
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
    partial: Directory,
    /// Where `folder` was when it was opened.
    place: Arc<Place>,
    /// Directories flushed since this writer began, with all above them: what they held by then is durable.
    durable: HashSet<PathBuf>,
}

/// A put whose body is in a partial file.
struct Written {
    put: Put,
    partial: String,
}

/// A put that is decided, but for the flush of its directory.
struct Placed {
    put: Put,
    new: bool,
}

impl Writer {
    /// A writer to `folder`, which is at `place`, and whose partial files lie in `partial`, a folder of its own on the same file
    /// system.
    pub(super) fn new(
        name: String,
        folder: PathBuf,
        partial: PathBuf,
        place: Arc<Place>,
    ) -> io::Result<Self> {
        private::make_folder(&partial)?;
        Ok(Self { name, folder, partial: Directory::open(partial)?, place, durable: HashSet::new() })
    }

    /// Works until every sender is gone and everything sent is answered.
    pub(super) fn run(mut self, mut puts: mpsc::Receiver<Put>) {
        let mut group = Vec::with_capacity(GROUP_MAX);
        while puts.blocking_recv_many(&mut group, GROUP_MAX) > 0 {
            // Whoever hands over one has more in hand most of the time: those of a batch are to be one group.
            thread::yield_now();
            while group.len() < GROUP_MAX
                && let Ok(put) = puts.try_recv()
            {
                group.push(put);
            }
            self.work(&mut group);
        }
    }

    fn work(&mut self, group: &mut Vec<Put>) {
        // What is missing on the way to an object is made, and a folder that is gone must not be.
        if let Err(error) = self.place.check() {
            group.drain(..).for_each(|put| self.refuse(put, &error));
            return;
        }
        let together = FLUSHES_TOGETHER && group.len() > FLUSHED_SINGLY_MAX;
        let mut written = Vec::with_capacity(group.len());
        let mut placed = Vec::with_capacity(group.len());
        for (number, put) in group.drain(..).enumerate() {
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
                self.partial.remove(&partial);
                self.refuse(put, &error);
            }
        }
        // Open for this group only: someone may move a directory that is in nobody's hand.
        let mut directory = None;
        for Written { put, partial } in written {
            match self.place(&partial, &put.path, &mut directory) {
                Ok(new) => placed.push(Placed { put, new }),
                Err(error) => {
                    self.partial.remove(&partial);
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
        let found = self.place.check();
        for Placed { put, new } in placed {
            match &found {
                // A caller that went away needs no answer.
                Ok(()) => drop(put.answer.send(Ok(new))),
                Err(error) => self.refuse(put, error),
            }
        }
    }

    /// Writes a body to a partial file. Whether the object exists shows when that is renamed: most do not.
    fn write(&self, number: usize, body: &[u8], flush: bool) -> io::Result<String> {
        let partial = number.to_string();
        let write = || {
            let mut file = self.partial.create(&partial)?;
            file.write_all(body)?;
            if flush { file.sync_data() } else { Ok(()) }
        };
        write().inspect_err(|_| self.partial.remove(&partial))?;
        Ok(partial)
    }

    /// Renames the partial file to its path, by way of `directory` where that is the one it goes to, and else opens that one
    /// for the next. False: the object is there already.
    fn place(&mut self, partial: &str, path: &Path, directory: &mut Option<Directory>) -> io::Result<bool> {
        let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidFilename.into());
        };
        let renamed = match self.rename_into(directory, above, partial, name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Directories are made when one is missing, not looked for each time. Someone may have removed one
                // that was remembered.
                self.durable.clear();
                // A link on the way leads elsewhere, whatever is missing behind it.
                let there = above.ancestors().find(|above| above.symlink_metadata().is_ok());
                private::check_way(&self.folder, there.unwrap_or(&self.folder))?;
                private::make_folder(above)?;
                *directory = None;
                self.rename_into(directory, above, partial, name)
            }
            renamed => renamed,
        };
        match renamed {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.partial.remove(partial);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn rename_into(
        &self,
        directory: &mut Option<Directory>,
        path: &Path,
        partial: &str,
        name: &OsStr,
    ) -> io::Result<()> {
        let directory = match directory {
            Some(directory) if directory.path == path => directory,
            other => {
                private::check_way(&self.folder, path)?;
                other.insert(Directory::open(path.to_owned())?)
            }
        };
        self.partial.rename_new(partial, directory, name)
    }

    /// Makes what was renamed durable; and what was found there, which a killed process may have left unflushed.
    fn flush_directories(&mut self, placed: &[Placed]) -> io::Result<()> {
        let mut directories = HashSet::new();
        let mut last = None;
        for Placed { put, new } in placed {
            let Some(directory) = put.path.parent().filter(|directory| last != Some((*directory, *new)))
            else {
                continue;
            };
            last = Some((directory, *new));
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
            directories.iter().try_for_each(|directory| private::flush_directory(directory))
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
        Ok(rustix::fs::syncfs(&self.partial.opened)?)
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

/// A directory. On Linux it is held open, which spares the walk to it from the root for each name in it.
struct Directory {
    path: PathBuf,
    #[cfg(target_os = "linux")]
    opened: File,
}

impl Directory {
    #[cfg(target_os = "linux")]
    fn open(path: PathBuf) -> io::Result<Self> {
        let opened = File::open(&path)?;
        Ok(Self { path, opened })
    }

    /// It need not be there yet.
    #[cfg(not(target_os = "linux"))]
    fn open(path: PathBuf) -> io::Result<Self> {
        Ok(Self { path })
    }

    /// An empty file. Truncated: one that could not be removed earlier may be there.
    #[cfg(target_os = "linux")]
    fn create(&self, name: &str) -> io::Result<File> {
        use rustix::fs::{Mode, OFlags, openat};
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(openat(&self.opened, name, flags, Mode::from_raw_mode(0o600))?.into())
    }

    #[cfg(not(target_os = "linux"))]
    fn create(&self, name: &str) -> io::Result<File> {
        private::file().write(true).create(true).truncate(true).open(self.path.join(name))
    }

    /// Renames a file of this directory to another unless there is something of that name, in one step where the file
    /// system can.
    #[cfg(target_os = "linux")]
    fn rename_new(&self, from: &str, to: &Self, name: &OsStr) -> io::Result<()> {
        use rustix::{
            fs::{RenameFlags, renameat_with},
            io::Errno,
        };
        match renameat_with(&self.opened, from, &to.opened, name, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                rename_unless_there(&self.path.join(from), &to.path.join(name))
            }
            renamed => Ok(renamed?),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn rename_new(&self, from: &str, to: &Self, name: &OsStr) -> io::Result<()> {
        rename_unless_there(&self.path.join(from), &to.path.join(name))
    }

    fn remove(&self, name: &str) {
        remove(&self.path.join(name));
    }
}

/// Renames in two steps: whoever else renames to that path is this writer.
fn rename_unless_there(from: &Path, to: &Path) -> io::Result<()> {
    match to.symlink_metadata() {
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::rename(from, to),
        Err(error) => Err(error),
    }
}
