//! Whose a data folder is: told from what lies in it, before anything is written to it.

use super::{
    OpenError,
    files::{BUCKETS, DATABASE, LOCK, LOG, MARK, OF_AN_OPENING},
    lock::FolderLock,
    loss::{self, Loss},
    mark::{Mark, Told},
    private,
    sqlite::{Contents, check_whole},
    store::table_name,
    store_error::StoreError,
};
use crate::model::Model;
use rusqlite::ErrorCode;
use std::{
    collections::BTreeSet,
    fs,
    io::{self, ErrorKind},
    path::Path,
};

/// What a folder holds.
enum Found {
    /// Nothing yet, or there is no folder.
    Nothing,
    /// Files, and no database of an engine's.
    NoData,
    /// A database of an engine's.
    Data(Contents),
}

/// Whether `folder` may be opened for `model`: it is new, or the model's own.
pub(super) fn check(folder: &Path, model: &Model) -> Result<(), OpenError> {
    private::check(folder)?;
    match look(folder)? {
        Found::Nothing => Ok(()),
        Found::NoData => Err(OpenError::NoData { folder: folder.to_owned() }),
        Found::Data(contents) => {
            check_owner(folder, model, &contents)?;
            loss::check(folder, model, &contents)
        }
    }
}

/// What the database of `folder` holds, where it has one of an engine's.
pub(super) fn contents(folder: &Path) -> Result<Option<Contents>, OpenError> {
    match look(folder)? {
        Found::Data(contents) => Ok(Some(contents)),
        Found::Nothing | Found::NoData => Ok(None),
    }
}

/// Has the data folder of the choreography of `model` count as whole as it is, where it lacks something that an engine had
/// acknowledged. Answers the loss; none where nothing is missing, and then nothing is changed. Blocks while it reads the whole
/// database.
///
/// # Errors
/// [`OpenError`]: a process has the folder, it is another choreography's, what is left of it is damaged, or its database or a
/// bucket has to be put back first.
pub fn accept_loss(folder: &Path, model: &Model) -> Result<Option<Loss>, OpenError> {
    private::check(folder)?;
    let _lock = FolderLock::existing(folder)?.unwrap_or_else(|| FolderLock::without_file(folder));
    let Some(contents) = contents(folder)? else { return Ok(None) };
    check_owner(folder, model, &contents)?;
    let failed = |source: io::Error| OpenError::Folder { folder: folder.to_owned(), source };
    let Some(loss) = loss::loss(folder, &contents).map_err(failed)? else { return Ok(None) };
    check_whole(folder)?;
    match contents.progress {
        Some(progress) => {
            Mark::open(folder, Told { progress, copying: false }).map(drop).map_err(failed)?;
        }
        // As an earlier version left it, which knows no mark.
        None => fs::remove_file(folder.join(MARK)).map_err(failed)?,
    }
    Ok(Some(loss))
}

/// Whether `folder` is the model's own, and has all that the model has.
pub(super) fn check_existing(folder: &Path, model: &Model) -> Result<(), OpenError> {
    private::check(folder)?;
    let Some(contents) = contents(folder)? else {
        return Err(OpenError::Missing { folder: folder.to_owned() });
    };
    check_owner(folder, model, &contents)?;
    loss::check(folder, model, &contents)?;
    let lacks = |prefix: &str, name: &str| !contents.tables.contains(&table_name(prefix, name));
    let table = model.tables.iter().map(|table| &table.name).find(|name| lacks("item", name));
    let published = model.published();
    let mut queues = model.queues.iter().chain(published.values()).map(|queue| &queue.name);
    let queue = queues.find(|name| lacks("message", name));
    match table.or(queue) {
        Some(name) => Err(OpenError::Incomplete { folder: folder.to_owned(), missing: name.clone() }),
        None => Ok(()),
    }
}

/// Removes the data folder of the choreography of `model`, with all that is in it; `also` are files that a command keeps there.
/// Blocks while it does.
///
/// # Errors
/// [`OpenError`]: there is no such data folder, a process has it, it is another choreography's, or holds what no engine made. Of
/// a folder that is refused nothing is changed.
pub fn remove(folder: &Path, model: &Model, also: &[&str]) -> Result<(), OpenError> {
    let lock = FolderLock::existing(folder)?.unwrap_or_else(|| FolderLock::without_file(folder));
    match look(folder)? {
        Found::Data(contents) => check_owner(folder, model, &contents)?,
        Found::NoData => return Err(OpenError::NoData { folder: folder.to_owned() }),
        Found::Nothing => return Err(OpenError::Missing { folder: folder.to_owned() }),
    }
    let failed = |source: io::Error| OpenError::Folder { folder: folder.to_owned(), source };
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let is_ours = |known: &&str| name == **known;
        if !OF_AN_OPENING.iter().chain(&[BUCKETS, MARK]).chain(also).any(is_ours) {
            let found = name.to_string_lossy().into_owned();
            return Err(OpenError::Others { folder: folder.to_owned(), found });
        }
        entries.push((entry.path(), entry.file_type().map_err(failed)?.is_dir()));
    }
    // The lock's own file last: as long as it is there, no engine starts on what is left.
    entries.sort_by_key(|(path, _)| path.ends_with(LOCK));
    for (path, is_folder) in entries {
        let removed = if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        removed.map_err(failed)?;
    }
    fs::remove_dir(folder).map_err(failed)?;
    drop(lock);
    Ok(())
}

pub(super) fn check_owner(folder: &Path, model: &Model, contents: &Contents) -> Result<(), OpenError> {
    if let Some(owner) = &contents.owner {
        return if *owner == model.name {
            Ok(())
        } else {
            let (owner, wanted) = (owner.clone(), model.name.clone());
            Err(OpenError::Owner { folder: folder.to_owned(), owner, wanted })
        };
    }
    // An earlier version recorded no owner: the tables tell.
    let item = table_name("item", "");
    let found: BTreeSet<&str> =
        contents.tables.iter().filter_map(|table| table.strip_prefix(item.as_str())).collect();
    let wanted: BTreeSet<&str> = model.tables.iter().map(|table| table.name.as_str()).collect();
    if found == wanted {
        return Ok(());
    }
    let found = found.into_iter().map(str::to_owned).collect();
    Err(OpenError::Tables { folder: folder.to_owned(), found, wanted: model.name.clone() })
}

fn look(folder: &Path) -> Result<Found, OpenError> {
    let unreadable = |source: io::Error| OpenError::Folder { folder: folder.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
        entries => entries.map_err(unreadable)?,
    };
    let mut only_an_opening = true;
    let mut has_database = false;
    for entry in entries {
        let name = entry.map_err(unreadable)?.file_name();
        has_database |= name == DATABASE;
        only_an_opening &= OF_AN_OPENING.iter().any(|one| name == *one);
    }
    if has_database {
        loss::check_length(folder)?;
        match Contents::of(folder) {
            Ok(contents) if contents.are_an_engines() => return Ok(Found::Data(contents)),
            Ok(contents) if contents.tables.is_empty() => {}
            Ok(_) => return Ok(Found::NoData),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) => {
                return Ok(Found::NoData);
            }
            Err(error) => return Err(StoreError::from(error).into()),
        }
    }
    loss::check_without_database(folder)?;
    // An opening makes the database before all else: beside anything else, one that is missing or empty has been lost.
    let log = fs::metadata(folder.join(LOG)).map_or(0, |log| log.len());
    let is_new = only_an_opening && log == 0;
    Ok(if is_new { Found::Nothing } else { Found::NoData })
}
