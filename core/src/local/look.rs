//! What can be told of a data folder by who only looks at it, an engine on it or not.

use super::{
    OpenError, TIME, folder, lock::FolderLock, loss, sqlite, store::SCHEMA, store_error::StoreError,
};
use crate::{model::Model, timestamp::Timestamp};
use rusqlite::OptionalExtension as _;
use std::{io, path::Path};

/// The version of the format that this library writes a data folder in. It reads earlier ones.
pub const FORMAT: i64 = SCHEMA;

/// What stands in a data folder that nobody has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// The version of its format.
    pub format: i64,
    /// The latest time that was written in it: a minute old at most where an engine has just ended.
    pub time: Option<Timestamp>,
}

/// Looks at `folder`, and reads all of it: whether it is that of the choreography of `model`, lacks nothing that was acknowledged, and
/// fits together. `None` where there is nothing of an engine's yet.
/// Changes nothing. Blocks, for as long as it takes to read the database.
///
/// # Errors
/// [`OpenError`]: a process has the folder, it is not this user's alone, it is another choreography's, it can't be read, it lacks
/// something, or it is damaged.
pub fn look(folder: &Path, model: &Model) -> Result<Option<Look>, OpenError> {
    super::private::check(folder)?;
    let _lock = FolderLock::existing(folder)?;
    let Some(contents) = folder::contents(folder)? else { return Ok(None) };
    folder::check_owner(folder, model, &contents)?;
    loss::check(folder, model, &contents)?;
    sqlite::check_whole(folder)?;
    let read = || {
        let connection = sqlite::reader(folder)?;
        let format = connection.query_row("PRAGMA user_version", (), |row| row.get(0))?;
        let mut time = connection.prepare("SELECT reserved FROM sequence WHERE name = ?1")?;
        let time = time.query_row((TIME,), |row| Ok(row.get_ref(0)?.as_i64().ok())).optional()?;
        Ok((format, time.flatten().map(Timestamp::from_millis)))
    };
    let (format, time) = read().map_err(|error: rusqlite::Error| StoreError::from(error))?;
    Ok(Some(Look { format, time }))
}

/// How many bytes may still be written where `folder` is, or is to be.
///
/// # Errors
/// The file system does not tell.
#[cfg(unix)]
pub fn free_bytes(folder: &Path) -> io::Result<u64> {
    // A relative one begins in the working directory.
    let above = folder.ancestors().chain([Path::new(".")]);
    let found = above.filter(|path| !path.as_os_str().is_empty()).find(|path| path.exists());
    let found = rustix::fs::statvfs(found.unwrap_or(Path::new(".")))?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// How many bytes may still be written where `folder` is: not told here.
///
/// # Errors
/// Always.
#[cfg(not(unix))]
pub fn free_bytes(_: &Path) -> io::Result<u64> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{local::Local, memory::VirtualClock, model::Model, port::SeededRandom};
    use std::{collections::BTreeMap, fs, sync::Arc};

    const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn held(folder: &Path) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.is_file()).map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }

    #[test]
    fn a_folder_is_looked_at_and_stays_as_it_is() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("data");
        let model = Model { name: "shop".into(), ..Model::default() };
        assert_eq!(look(&folder, &model).unwrap(), None);
        assert!(!folder.exists());
        let open = || {
            let (clock, random) = (Arc::new(VirtualClock::new(START)), Arc::new(SeededRandom::new(1)));
            Local::open(&folder, &model, clock, random).unwrap()
        };
        let local = open();
        assert!(matches!(look(&folder, &model), Err(OpenError::Lock(_))), "a process has it");
        drop(local);
        let before = held(&folder);
        let found = look(&folder, &model).unwrap().unwrap();
        assert_eq!(found.format, FORMAT);
        let other = Model { name: "inn".into(), ..Model::default() };
        assert!(matches!(look(&folder, &other), Err(OpenError::Owner { .. })));
        assert_eq!(held(&folder), before);
        assert!(free_bytes(&folder).unwrap() > 0 && free_bytes(Path::new("nowhere/at/all")).unwrap() > 0);
    }
}
