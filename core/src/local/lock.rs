//! The lock on a data folder: one process has it, and it says where that process listens.
//!
//! The lock is the operating system's, on the file `lock`: it ends with the process, however that ends. The file
//! itself stays; to delete it would let two processes hold locks on two files of that name.

use super::{
    files::{ANNOUNCEMENT, LOCK, PARTIAL_ANNOUNCEMENT},
    place, private,
};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Read as _, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

/// Most that is read of an announcement: it holds one address, and whatever else lies there is not ours.
const ANNOUNCEMENT_BYTES_MAX: u64 = 1_024;

/// Why a data folder could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another engine has it.
    #[error("another engine has the folder {}; {}", folder.display(), way_out(address.as_deref()))]
    Held {
        /// The data folder.
        folder: PathBuf,
        /// Where that engine listens, where it has said so.
        address: Option<String>,
    },
    /// The folder could not be created, read or written.
    #[error("the folder {}: {source}; give another folder or mend its permissions", folder.display())]
    Folder {
        /// The data folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn way_out(address: Option<&str>) -> String {
    match address {
        Some(address) => format!("stop it, or use it with `--url http://{address}`"),
        None => "stop it, or give another folder".to_owned(),
    }
}

/// What `engine.json` holds.
#[derive(Serialize, Deserialize)]
struct Announcement {
    address: SocketAddr,
}

/// The exclusive lock on a data folder, held until dropped or until the process ends.
#[derive(Debug)]
pub struct FolderLock {
    folder: PathBuf,
    /// The lock is on this open file and ends when it is closed.
    file: Option<File>,
    announced: AtomicBool,
}

impl FolderLock {
    /// Locks `folder` where an engine has left its lock file, and changes nothing in it.
    ///
    /// # Errors
    /// [`LockError::Held`] while another process, or another lock of this one, has the folder; [`LockError::Folder`]
    /// where its file can't be opened.
    pub(super) fn existing(folder: &Path) -> Result<Option<Self>, LockError> {
        Self::on(folder, private::file().write(true))
    }

    /// Locks `folder`, creating it where it is missing: on Unix for its owner only (mode 0700).
    ///
    /// # Errors
    /// As for [`existing`](Self::existing), and where the folder or the file can't be created.
    pub(super) fn create(folder: &Path) -> Result<Self, LockError> {
        private::make_folder(folder).map_err(|source| failed(folder, source))?;
        // Neither truncated nor written: the file is only there to be locked.
        let lock = Self::on(folder, private::file().write(true).create(true).truncate(false))?;
        lock.ok_or_else(|| failed(folder, ErrorKind::NotFound.into()))
    }

    /// A lock on a folder that has no lock file, so that nobody holds it.
    pub(super) fn without_file(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), file: None, announced: AtomicBool::new(false) }
    }

    fn on(folder: &Path, options: &OpenOptions) -> Result<Option<Self>, LockError> {
        let file = match options.open(folder.join(LOCK)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            file => file.map_err(|source| failed(folder, source))?,
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held { folder: folder.to_owned(), address: announced(folder) });
            }
            Err(TryLockError::Error(error)) => return Err(failed(folder, error)),
        }
        let announced = AtomicBool::new(false);
        Ok(Some(Self { folder: folder.to_owned(), file: Some(file), announced }))
    }

    /// Takes back what an engine announced that was killed before it could.
    pub(super) fn forget_announcement(&self) -> Result<(), LockError> {
        self.withdraw().map_err(|source| failed(&self.folder, source))
    }

    /// The locked folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Tells others where this process listens: in `engine.json`, whole or not at all, until the lock is dropped.
    ///
    /// # Errors
    /// Where the file can't be written.
    pub fn announce(&self, address: SocketAddr) -> io::Result<()> {
        self.announced.store(true, Ordering::Relaxed);
        let partial = self.folder.join(PARTIAL_ANNOUNCEMENT);
        // Made anew, so that it is written to no file that was there.
        unless_missing(fs::remove_file(&partial))?;
        let text = serde_json::to_vec(&Announcement { address })?;
        private::file().write(true).create_new(true).open(&partial)?.write_all(&text)?;
        fs::rename(&partial, self.folder.join(ANNOUNCEMENT))
    }

    fn withdraw(&self) -> io::Result<()> {
        unless_missing(fs::remove_file(self.folder.join(ANNOUNCEMENT)))
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // In the place of a folder that was renamed another engine may have one of its own by now.
        let lock = self.folder.join(LOCK);
        let is_there =
            self.file.as_ref().is_some_and(|file| place::leads_to(&lock, file).unwrap_or_default());
        if is_there
            && self.announced.load(Ordering::Relaxed)
            && let Err(error) = self.withdraw()
        {
            tracing::warn!(%error, "engine.json could not be removed; the next engine does it");
        }
    }
}

/// Where the engine that has `folder` listens, if one has it and has said so. Changes nothing in the folder.
pub fn address(folder: &Path) -> Option<String> {
    match FolderLock::existing(folder) {
        Err(LockError::Held { address, .. }) => address,
        _ => None,
    }
}

/// Whether an engine, or a command, has `folder` at the moment. Changes nothing in the folder.
pub fn is_held(folder: &Path) -> bool {
    matches!(FolderLock::existing(folder), Err(LockError::Held { .. }))
}

fn unless_missing(removed: io::Result<()>) -> io::Result<()> {
    removed.or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

fn failed(folder: &Path, source: io::Error) -> LockError {
    LockError::Folder { folder: folder.to_owned(), source }
}

/// Where the holder of `folder` listens. Best effort: it may not have said so yet.
fn announced(folder: &Path) -> Option<String> {
    let mut text = String::new();
    let file = private::file().read(true).open(folder.join(ANNOUNCEMENT)).ok()?;
    file.take(ANNOUNCEMENT_BYTES_MAX).read_to_string(&mut text).ok()?;
    let announcement: Announcement = serde_json::from_str(&text).ok()?;
    Some(announcement.address.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(folder: &Path) -> Option<String> {
        match FolderLock::create(folder) {
            Err(LockError::Held { address, .. }) => address,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_has_the_folder_and_says_where() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a/b");
        let lock = FolderLock::create(&folder).unwrap();
        assert_eq!(held(&folder), None);
        lock.announce(([127, 0, 0, 1], 1_234).into()).unwrap();
        lock.announce(([127, 0, 0, 1], 5_678).into()).unwrap();
        assert_eq!(held(&folder).as_deref(), Some("127.0.0.1:5678"));
        assert_eq!(fs::read_to_string(folder.join(ANNOUNCEMENT)).unwrap(), r#"{"address":"127.0.0.1:5678"}"#);
        let text = FolderLock::create(&folder).unwrap_err().to_string();
        assert!(text.ends_with("stop it, or use it with `--url http://127.0.0.1:5678`"), "{text}");

        assert_eq!(address(&folder).as_deref(), Some("127.0.0.1:5678"));
        assert!(is_held(&folder));
        drop(lock);
        assert!(!is_held(&folder));
        assert!(!folder.join(ANNOUNCEMENT).exists());
        assert_eq!(address(&folder), None);
        FolderLock::existing(&folder).unwrap().unwrap();
    }

    #[test]
    fn what_a_killed_engine_announced_is_forgotten() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join(ANNOUNCEMENT), r#"{"address": "127.0.0.1:9"}"#).unwrap();
        let lock = FolderLock::create(root.path()).unwrap();
        lock.forget_announcement().unwrap();
        assert_eq!(held(root.path()), None);
        fs::write(root.path().join(ANNOUNCEMENT), "not an announcement").unwrap();
        assert_eq!(held(root.path()), None);
        drop(lock);
    }

    #[cfg(unix)]
    #[test]
    fn a_new_folder_is_its_owners_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("data");
        let _lock = FolderLock::create(&folder).unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn to_ask_for_an_address_makes_nothing() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("data");
        assert_eq!(address(&folder), None);
        assert!(!folder.exists());
        assert_eq!(address(root.path()), None);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_in_the_place_of_the_folder_is_an_error_that_names_it() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("data");
        fs::write(&folder, "").unwrap();
        let text = FolderLock::create(&folder).unwrap_err().to_string();
        assert!(text.contains("data"), "{text}");
    }
}
