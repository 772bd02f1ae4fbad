//! Whether what was opened still lies where it was opened.
//!
//! A file that is removed, replaced or renamed goes on taking what is written to it, and nobody finds it again. The same goes
//! for a folder. So a path is looked at before an answer says that something is durable there.

use std::{
    fs::{self, File, Metadata},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

/// A file or a folder as it was when it was opened. Whoever has one keeps it open, so that nothing else gets its number.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    is: Identity,
    _open: Option<File>,
}

impl Place {
    /// The file at `path`, which somebody else keeps open.
    pub(super) fn of(path: PathBuf) -> io::Result<Self> {
        let is = identity(&fs::metadata(&path)?);
        Ok(Self { path, is, _open: None })
    }

    /// The folder at `path`, which is kept open here.
    pub(super) fn of_folder(path: PathBuf) -> io::Result<Self> {
        let open = open_folder(&path)?;
        Ok(Self { _open: open, ..Self::of(path)? })
    }

    /// # Errors
    /// It lies there no longer; the text names the path.
    pub(super) fn check(&self) -> io::Result<()> {
        let lost = |kind, what: &str| {
            let text = format!(
                "{} was {what} while the engine runs: stop it, put back what was there, and start it again",
                self.path.display()
            );
            Err(io::Error::new(kind, text))
        };
        match fs::metadata(&self.path) {
            Ok(found) if identity(&found) == self.is => Ok(()),
            Ok(_) => lost(ErrorKind::Other, "replaced"),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                lost(ErrorKind::NotFound, "removed or renamed")
            }
            Err(error) => Err(io::Error::new(error.kind(), format!("{}: {error}", self.path.display()))),
        }
    }
}

/// Whether `path` leads to this open file.
pub(super) fn leads_to(path: &Path, file: &File) -> io::Result<bool> {
    Ok(identity(&fs::metadata(path)?) == identity(&file.metadata()?))
}

/// The numbers of its device and of itself there.
#[cfg(unix)]
type Identity = (u64, u64);

#[cfg(unix)]
fn identity(found: &Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt as _;
    (found.dev(), found.ino())
}

#[cfg(unix)]
fn open_folder(path: &Path) -> io::Result<Option<File>> {
    File::open(path).map(Some)
}

/// Elsewhere than on Unix what is open can't be removed, and not be renamed either.
#[cfg(not(unix))]
type Identity = bool;

#[cfg(not(unix))]
fn identity(found: &Metadata) -> Identity {
    found.is_dir()
}

#[cfg(not(unix))]
fn open_folder(_: &Path) -> io::Result<Option<File>> {
    Ok(None)
}
