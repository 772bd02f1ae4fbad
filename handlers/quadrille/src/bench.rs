//! `quadrille bench`.

use crate::{args::Bench, error::CommandError};

pub async fn bench(_: Bench) -> Result<(), CommandError> {
    Err(CommandError::Failed("not yet".into()))
}
