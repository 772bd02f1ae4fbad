//! Where a command finds the system.

use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// What a system runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Place {
    /// An engine on this machine, or the data folder of one.
    Local,
    /// A stack that is deployed to AWS.
    Aws,
}

/// Where a command finds the system.
#[derive(Clone, Debug, Args)]
pub struct Target {
    /// What the system runs on. For `aws` the command has to be built with the feature `aws`; it goes by the AWS SDK's
    /// environment: AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL.
    #[arg(long = "target", value_enum, value_name = "TARGET", default_value_t = Place::Local)]
    pub place: Place,
    /// The stack on AWS, `dev` for example. Its names are read from the Parameter Store: `/quadrille/SYSTEM/STACK`.
    #[arg(long)]
    pub stack: Option<String>,
    /// A file with the JSON of the stack's parameter, instead of a stack.
    #[arg(long, value_name = "FILE", conflicts_with = "stack")]
    pub settings: Option<PathBuf>,
    /// A data folder. One that a running engine holds is reached through that engine.
    #[arg(long, default_value = ".quadrille", env = "QUADRILLE_DATA")]
    pub data: PathBuf,
    /// The address of a running engine, instead of a data folder.
    #[arg(long, env = "QUADRILLE_URL")]
    pub url: Option<String>,
    /// A file that holds the bearer token of a running engine that asks for one.
    #[arg(long, env = "QUADRILLE_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}
