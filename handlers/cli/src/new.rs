//! `new`: a crate with a choreography of one's own.

use crate::{App, args, error::CommandError};

pub fn new(_: &App<'_>, _: &args::New) -> Result<(), CommandError> {
    Err(CommandError::Failed("not yet".into()))
}
