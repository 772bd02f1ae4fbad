//! `clean`: removes a data folder.

use crate::{
    App, args,
    confirm::is_wanted,
    error::CommandError,
    print::{line, readable},
    up::NOTIFICATIONS,
};
use quadrille::local;

pub async fn clean(app: &App<'_>, args: args::Clean) -> Result<(), CommandError> {
    let folder = readable(args.data.display());
    if !args.data.exists() {
        line(format_args!("there is no data folder {folder}: nothing to remove"));
        return Ok(());
    }
    if !args.yes && !is_wanted(&format!("Remove {folder} with all that is in it? [y/N] "))? {
        return Err(CommandError::Refused(format!("{folder} stays as it is")));
    }
    let (data, model) = (args.data.clone(), app.choreography.model().clone());
    let removed = tokio::task::spawn_blocking(move || local::remove(&data, &model, &[NOTIFICATIONS])).await;
    removed.map_err(|error| CommandError::Failed(error.to_string()))??;
    line(format_args!("{folder} is removed"));
    Ok(())
}
