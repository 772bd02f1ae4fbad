//! A listing: the keys of a folder, in the order of their bytes.
//!
//! The order of paths is another one than that of keys, so every directory that may hold keys of the page is read as a
//! whole. But no more is kept in memory than the page and the directories still to be read.

use super::path;
use crate::{limits::OBJECT_KEY_BYTES_MAX, local::private, port::ObjectPage};
use std::{
    collections::BinaryHeap,
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

/// A page of keys that begin with `prefix`, after `after`, at most `limit`.
pub(super) fn list(folder: &Path, prefix: &str, after: Option<&str>, limit: usize) -> io::Result<ObjectPage> {
    // One more than the page holds tells whether there are more behind it.
    let mut page = Page { prefix, after, room: limit.saturating_add(1), found: BinaryHeap::new() };
    // All keys of the page lie in one directory: the names that the prefix holds whole.
    let (directory, base) = match prefix.rsplit_once('/') {
        Some((directories, _)) => (folder.join(path::of_directory(directories)), format!("{directories}/")),
        None => (folder.to_owned(), String::new()),
    };
    let mut directories: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    if prefix.len() <= OBJECT_KEY_BYTES_MAX {
        directories.push((directory, base.into_bytes()));
    }
    let mut is_asked_for = true;
    while let Some((directory, base)) = directories.pop() {
        if !page.may_take_from(&base) {
            continue;
        }
        let before = directories.len();
        match read(folder, &directory, &base, &mut page, &mut directories) {
            // Nothing else was asked for.
            Err(error) if is_asked_for => return Err(error),
            Err(error) => unreadable(&directory, &error),
            Ok(()) => {}
        }
        is_asked_for = false;
        // The first ones next: the fuller the page, the fewer of the others are read.
        directories[before..].sort_unstable_by(|one, other| other.1.cmp(&one.1));
    }
    Ok(page.finish(limit))
}

/// What can't be read is left out by itself, and told.
fn unreadable(path: &Path, error: &io::Error) {
    tracing::error!(path = %path.display(), %error, "a part of a bucket can't be read; a listing leaves it out");
}

/// Offers the keys of one directory to the page and appends the directories in it.
fn read(
    folder: &Path,
    directory: &Path,
    base: &[u8],
    page: &mut Page<'_>,
    directories: &mut Vec<(PathBuf, Vec<u8>)>,
) -> io::Result<()> {
    let opened = private::check_way(folder, directory).and_then(|()| fs::read_dir(directory));
    let entries = match opened {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let file_type = match entry.file_type() {
            Ok(file_type) => file_type,
            Err(error) => {
                unreadable(&entry.path(), &error);
                continue;
            }
        };
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if file_type.is_dir() {
            let Some(piece) = path::directory_name(name) else {
                continue;
            };
            let base = [base, &piece].concat();
            if page.may_take_from(&base) {
                directories.push((entry.path(), base));
            }
        } else if file_type.is_file() {
            let Some(end) = path::file_name(name) else {
                continue;
            };
            let key = [base, &end].concat();
            if page.wants(&key)
                && let Ok(key) = String::from_utf8(key)
                // What someone else put into the folder may look like an object and not be one.
                && folder.join(path::of(&key)) == entry.path()
            {
                page.take(key);
            }
        }
    }
    Ok(())
}

/// The smallest keys found so far.
struct Page<'a> {
    prefix: &'a str,
    after: Option<&'a str>,
    room: usize,
    found: BinaryHeap<String>,
}

impl Page<'_> {
    /// Whether a key that begins with `base` may belong to the page.
    fn may_take_from(&self, base: &[u8]) -> bool {
        let prefix = self.prefix.as_bytes();
        let passed =
            self.after.is_some_and(|after| base < after.as_bytes() && !after.as_bytes().starts_with(base));
        (base.starts_with(prefix) || prefix.starts_with(base)) && !passed && self.is_in_time(base)
    }

    fn wants(&self, key: &[u8]) -> bool {
        key.starts_with(self.prefix.as_bytes())
            && self.after.is_none_or(|after| key > after.as_bytes())
            && self.is_in_time(key)
    }

    /// Whether the page has room, or something greater to give up.
    fn is_in_time(&self, key: &[u8]) -> bool {
        self.found.len() < self.room || self.found.peek().is_some_and(|last| key < last.as_bytes())
    }

    fn take(&mut self, key: String) {
        self.found.push(key);
        if self.found.len() > self.room {
            self.found.pop();
        }
    }

    fn finish(self, limit: usize) -> ObjectPage {
        let mut keys = self.found.into_sorted_vec();
        let more = keys.len() > limit;
        keys.truncate(limit);
        let next = if more { keys.last().cloned() } else { None };
        ObjectPage { keys, next }
    }
}
