//! That a data folder is its owner's alone: what lies in it was put there by nobody else, and nobody else reads it.
//!
//! A link that somebody prepared would let the engine write elsewhere, in the name of whoever runs it. So the folder is
//! looked at before anything in it is opened. As others can't write to it from then on, what was found stays true.

use super::{
    OpenError,
    files::{BUCKETS, DATABASE, OF_AN_OPENING},
};
use std::{
    fs::{self, DirBuilder, Metadata, OpenOptions},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

/// How a file in a data folder is opened: one that is made is its owner's alone, and no link is followed.
pub(super) fn file() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    }
    options
}

/// Makes a folder and what is missing above it, for their owner alone.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
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

/// Whether `folder`, where it is there, and all that an engine opens in it are this user's and no links.
pub(super) fn check(folder: &Path) -> Result<(), OpenError> {
    let failed = |source: io::Error| OpenError::Folder { folder: folder.to_owned(), source };
    match fs::metadata(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        found => refuse(folder, folder_fault(&found.map_err(failed)?))?,
    }
    // In a folder that is no engine's it is not ours to say what may lie there.
    let is_ours = fs::symlink_metadata(folder.join(DATABASE)).is_ok();
    for path in entries(folder).map_err(failed)? {
        let is_known = OF_AN_OPENING.iter().any(|name| path.ends_with(name));
        if is_ours || is_known {
            refuse(&path, fault(&fs::symlink_metadata(&path).map_err(failed)?))?;
        }
    }
    for path in entries(&folder.join(BUCKETS)).map_err(failed)? {
        refuse(&path, fault(&fs::symlink_metadata(&path).map_err(failed)?))?;
    }
    Ok(())
}

/// Takes from others what an earlier version, or the user's habits, let them read of the files in `folder`, and of its buckets.
pub(super) fn close_to_others(folder: &Path) -> io::Result<()> {
    let buckets = entries(&folder.join(BUCKETS))?;
    entries(folder)?.into_iter().chain(buckets).try_for_each(|path| close(&path))
}

/// Fails where a folder from `base` down to `folder` is a link, or somebody else's.
pub(super) fn check_way(base: &Path, folder: &Path) -> io::Result<()> {
    let mut way: Vec<&Path> = folder.ancestors().take_while(|above| above.starts_with(base)).collect();
    while let Some(above) = way.pop() {
        let found = fs::symlink_metadata(above)?;
        // A file there is for the caller to meet.
        if let Some(fault) = fault(&found).filter(|_| !found.is_file()) {
            let text = format!("{} {fault}", above.display());
            return Err(io::Error::new(ErrorKind::PermissionDenied, text));
        }
    }
    Ok(())
}

fn refuse(path: &Path, fault: Option<&'static str>) -> Result<(), OpenError> {
    fault.map_or(Ok(()), |fault| Err(OpenError::NotPrivate { path: path.to_owned(), fault }))
}

/// What lies in a folder; nothing where it is missing, or no folder.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(Vec::new())
        }
        found => found?.map(|entry| Ok(entry?.path())).collect(),
    }
}

#[cfg(unix)]
fn is_of_others(found: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    found.uid() != rustix::process::geteuid().as_raw()
}

/// Why the data folder itself can't be used.
#[cfg(unix)]
fn folder_fault(found: &Metadata) -> Option<&'static str> {
    use std::os::unix::fs::MetadataExt as _;
    if is_of_others(found) {
        return Some("belongs to another user: run the engine as that user, or give another folder");
    }
    let is_open = found.is_dir() && found.mode() & 0o022 != 0;
    is_open.then_some(
        "can be written by other users: take that from them with `chmod go-w`, and look at what lies in it",
    )
}

/// Why something in the data folder can't be used.
#[cfg(unix)]
fn fault(found: &Metadata) -> Option<&'static str> {
    use std::os::unix::fs::MetadataExt as _;
    if found.is_symlink() {
        return Some("is a link, which no engine made: put in its place what it leads to");
    }
    if is_of_others(found) {
        return Some(
            "belongs to another user, and no engine of yours made it: remove it, or give another folder",
        );
    }
    if !found.is_file() && !found.is_dir() {
        return Some("is neither a file nor a folder, and no engine made it: remove it");
    }
    let is_linked = found.is_file() && found.nlink() > 1;
    is_linked.then_some(
        "has a second name elsewhere (a hard link), where it would be written too: put a copy in its place",
    )
}

#[cfg(unix)]
fn close(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let found = fs::symlink_metadata(path)?;
    if found.is_symlink() || found.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    let mode = if found.is_dir() { 0o700 } else { 0o600 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn folder_fault(_: &Metadata) -> Option<&'static str> {
    None
}

#[cfg(not(unix))]
fn fault(found: &Metadata) -> Option<&'static str> {
    found.is_symlink().then_some("is a link, which no engine made: put in its place what it leads to")
}

#[cfg(not(unix))]
fn close(_: &Path) -> io::Result<()> {
    Ok(())
}
