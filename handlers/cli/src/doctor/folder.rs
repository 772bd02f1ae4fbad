//! A data folder on this machine, and the clock beside it.

use super::Check;
use crate::{App, error::CommandError};
use quadrille::{
    Timestamp,
    local::{self, FORMAT, Look, OpenError},
    port::{Clock as _, SystemClock},
};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// Free disk below which a folder soon takes no writes, in bytes, and below which somebody should look. Ours: the store's log alone
/// grows to 32 MB.
const FREE_MIN: u64 = 64 * 1024 * 1024;
const FREE_LOW: u64 = 1024 * 1024 * 1024;

/// How far a folder may be ahead of the machine's clock without a word. Ours: a clock is set by some seconds now and then.
const AHEAD_SILENT: Duration = Duration::from_secs(10);

/// A folder as it was found.
pub enum Found {
    /// An engine, or a command, has it; where that listens, if it has said so.
    Held(Option<String>),
    /// Nobody has it, and it can be looked at.
    AtRest,
    /// There is nothing to look at.
    Nothing,
}

/// Looks at the folder.
pub async fn checks(app: &App<'_>, folder: &Path) -> (Found, Vec<Check>) {
    let (path, model) = (folder.to_owned(), app.choreography.model().clone());
    let looked = move || (local::look(&path, &model), local::free_bytes(&path));
    let looked = tokio::task::spawn_blocking(looked).await;
    let (looked, free) = match looked {
        Ok(found) => found,
        Err(error) => return (Found::Nothing, vec![Check::fail("folder", error.to_string())]),
    };
    let shown = folder.display();
    let (found, mut checks) = match looked {
        Ok(None) => {
            let text = format!("{shown} holds nothing yet: {} makes it", app.typed("up"));
            (Found::Nothing, vec![Check::warn("folder", text)])
        }
        Ok(Some(look)) => of_look(app, folder, &look),
        Err(OpenError::Lock(_)) if local::is_held(folder) => {
            let address = local::address(folder);
            let check = match &address {
                Some(address) => {
                    Check::ok("folder", format!("an engine that listens on {address} has {shown}"))
                }
                None => Check::warn(
                    "folder",
                    format!(
                        "a process has {shown} that has not said where it listens: wait for it, or end it"
                    ),
                ),
            };
            (Found::Held(address), vec![check])
        }
        Err(error) => {
            let error = CommandError::from(error).to_string();
            let text = format!("{error}; docs/operating.md tells how to go on (the data folder)");
            (Found::Nothing, vec![Check::fail("folder", text)])
        }
    };
    checks.push(match free {
        Ok(free) => of_free(free),
        Err(error) => Check::warn("disk", format!("what is free is not known: {error}")),
    });
    (found, checks)
}

fn of_look(app: &App<'_>, folder: &Path, look: &Look) -> (Found, Vec<Check>) {
    let shown = folder.display();
    let check = if look.format > FORMAT {
        let text = format!(
            "{shown} has the format {}, and this command knows {FORMAT}: take the newer command, or another folder",
            look.format
        );
        Check::fail("folder", text)
    } else {
        let owner = app.system.name();
        Check::ok(
            "folder",
            format!("{shown} is of {owner}, format {}, whole, and nobody has it", look.format),
        )
    };
    let found = if check.state == super::State::Ok { Found::AtRest } else { Found::Nothing };
    (found, vec![check, of_clock(look.time, SystemClock.now())])
}

/// The folder's last time beside the machine's.
fn of_clock(time: Option<Timestamp>, now: Timestamp) -> Check {
    let Some(time) = time else { return Check::ok("clock", format!("{now}; the folder tells no time")) };
    let ahead = time.since(now);
    if ahead <= AHEAD_SILENT {
        return Check::ok("clock", format!("{now}; the folder was last written at {time}"));
    }
    let text = format!(
        "{now}, and the folder was last written at {time}, {} s later: an engine goes on from there; set the machine's clock",
        ahead.as_secs()
    );
    Check::warn("clock", text)
}

fn of_free(free: u64) -> Check {
    let text = format!("{:.1} GB are free", free as f64 / 1e9);
    match free {
        ..FREE_MIN => Check::fail("disk", format!("{text}: an engine takes nothing more; make room")),
        FREE_MIN..FREE_LOW => Check::warn("disk", format!("{text}: make room")),
        _ => Check::ok("disk", text),
    }
}

/// Opens a folder that nobody has, to ask what is stuck in it.
pub async fn at_rest(app: &App<'_>, folder: PathBuf) -> Result<crate::node::Node, CommandError> {
    let choreography = app.choreography.clone();
    let opened =
        tokio::task::spawn_blocking(move || crate::node::Node::to_look(&folder, &choreography)).await;
    opened.map_err(|error| CommandError::Failed(error.to_string()))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn a_folder_that_is_ahead_of_the_clock_and_a_disk_that_is_nearly_full_are_told() {
        let now = Timestamp::from_millis(1_800_000_000_000);
        for (ahead, state) in [(0, State::Ok), (10, State::Ok), (11, State::Warn), (90_000, State::Warn)] {
            let check = of_clock(Some(now + Duration::from_secs(ahead)), now);
            assert_eq!(check.state, state, "{ahead}: {}", check.found);
            assert!(
                state == State::Ok || check.found.contains(&format!("{ahead} s later")),
                "{}",
                check.found
            );
        }
        assert_eq!(of_clock(None, now).state, State::Ok);
        for (free, state) in [(0, State::Fail), (FREE_MIN, State::Warn), (FREE_LOW, State::Ok)] {
            assert_eq!(of_free(free).state, state, "{free}");
        }
    }
}
