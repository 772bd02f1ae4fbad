//! What differs from one deployment of the auction to another, by environment variables.

use quadrille::Backoff;
use std::{str::FromStr, time::Duration};
use systems::{
    auction::{
        Settings,
        infrastructure::{
            SIMULATED,
            variables::{NOT_READY, PLATFORM, PLATFORM_TIMEOUT, SEED, WEBHOOK_SECRET},
        },
    },
    duration::parse_duration,
};

const EVERY: &str = "QUADRILLE_EVERY";
const BACKOFF: &str = "QUADRILLE_BACKOFF";
const DEADLINE: &str = "QUADRILLE_DEADLINE";

/// A variable that is missing or wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentError {
    /// It has to be there.
    #[error("the environment lacks {name}: {what}")]
    Missing {
        /// Its name.
        name: &'static str,
        /// What it should hold.
        what: &'static str,
    },
    /// It is there, and of no use.
    #[error("{name}={value:?}: {why}")]
    Wrong {
        /// Its name.
        name: &'static str,
        /// What it holds.
        value: String,
        /// What is wrong with it.
        why: String,
    },
}

/// The environment of a function of the auction. An empty variable counts as a missing one.
///
/// | variable | what | default | who needs it |
/// | --- | --- | --- | --- |
/// | `QUADRILLE_PLATFORM` | the platform's base URL, or `simulated` | none | `poll_auction` |
/// | `QUADRILLE_PLATFORM_TIMEOUT` | how long it may take to answer | `10s` | `poll_auction` |
/// | `QUADRILLE_SEED` | what the simulated platform decides by | `1` | `poll_auction` |
/// | `QUADRILLE_NOT_READY` | how often it answers that it is not ready | `3` | `poll_auction` |
/// | `QUADRILLE_EVERY` | time between two runs | `5m` | none: the schedule is the infrastructure's |
/// | `QUADRILLE_BACKOFF` | the first wait before the platform is asked again, which doubles up to 60 times it | `10s` up to `5m` | `poll_auction` |
/// | `QUADRILLE_DEADLINE` | the longest a run may take | `1h` | `poll_auction` |
/// | `QUADRILLE_WEBHOOK_SECRET` | name or ARN of the Secrets Manager secret that holds the webhook's URL | none | `notify` |
#[derive(Clone, Debug)]
pub struct Environment {
    /// The auction's settings.
    pub settings: Settings,
    /// How long the platform may take to answer.
    pub platform_timeout: Duration,
    /// What the simulated platform decides by.
    pub seed: u64,
    /// How often the simulated platform answers that it is not ready.
    pub not_ready: u32,
    platform: Option<String>,
    webhook: Option<Webhook>,
}

/// The platform that is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Platform<'a> {
    Simulated,
    Http(&'a str),
}

/// Where the webhook's URL is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Webhook {
    /// In a secret of Secrets Manager: its name or ARN.
    Secret(String),
}

impl Environment {
    /// Reads the variables that `read` tells.
    ///
    /// # Errors
    /// [`EnvironmentError::Wrong`] for the first that is of no use.
    pub fn read(read: impl Fn(&str) -> Option<String>) -> Result<Self, EnvironmentError> {
        let text = |name| read(name).filter(|value| !value.trim().is_empty());
        let time = |name, default| match text(name) {
            None => Ok(default),
            Some(value) => parse_duration(&value).map_err(|why| EnvironmentError::Wrong { name, value, why }),
        };
        let standard = Settings::default();
        let initial = time(BACKOFF, standard.poll_backoff.initial)?;
        let poll_backoff = match text(BACKOFF) {
            None => standard.poll_backoff,
            Some(_) => Backoff { initial, max: initial * 60, ..standard.poll_backoff },
        };
        Ok(Self {
            settings: Settings {
                every: time(EVERY, standard.every)?,
                poll_backoff,
                deadline: time(DEADLINE, standard.deadline)?,
                platform_bucket: None,
            },
            platform_timeout: time(PLATFORM_TIMEOUT, Duration::from_secs(10))?,
            seed: number(SEED, text(SEED), 1)?,
            not_ready: number(NOT_READY, text(NOT_READY), 3)?,
            platform: text(PLATFORM),
            webhook: text(WEBHOOK_SECRET).map(Webhook::Secret),
        })
    }

    /// The platform. There is no default: a simulated one must not decide real orders because a variable was forgotten.
    pub(crate) fn platform(&self) -> Result<Platform<'_>, EnvironmentError> {
        match self.platform.as_deref() {
            None => Err(EnvironmentError::Missing {
                name: PLATFORM,
                what: "the platform's base URL, or `simulated`",
            }),
            Some(SIMULATED) => Ok(Platform::Simulated),
            Some(url) => Ok(Platform::Http(url)),
        }
    }

    pub(crate) fn webhook(&self) -> Result<&Webhook, EnvironmentError> {
        self.webhook.as_ref().ok_or(EnvironmentError::Missing {
            name: WEBHOOK_SECRET,
            what: "the name or ARN of the secret that holds the webhook's URL",
        })
    }
}

fn number<T: FromStr<Err: ToString>>(
    name: &'static str,
    value: Option<String>,
    default: T,
) -> Result<T, EnvironmentError> {
    let Some(value) = value else { return Ok(default) };
    let parsed = value.parse::<T>().map_err(|why| why.to_string());
    parsed.map_err(|why| EnvironmentError::Wrong { name, value, why })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Environment, EnvironmentError> {
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name);
        Environment::read(|name| find(name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn without_variables_all_is_standard_but_what_must_be_said() {
        let environment = read(&[(PLATFORM, " "), (BACKOFF, "")]).unwrap();
        let standard = Settings::default();
        assert_eq!(environment.settings.every, standard.every);
        assert_eq!(environment.settings.deadline, standard.deadline);
        assert_eq!(environment.settings.poll_backoff.max, standard.poll_backoff.max);
        let missing = environment.platform().unwrap_err().to_string();
        assert!(missing.contains(PLATFORM), "{missing}");
        assert!(environment.webhook().unwrap_err().to_string().contains(WEBHOOK_SECRET));
    }

    #[test]
    fn variables_are_read_and_a_wrong_one_is_named() {
        let environment = read(&[
            (PLATFORM, "https://auction.example"),
            (BACKOFF, "2s"),
            (SEED, "7"),
            (WEBHOOK_SECRET, "hook"),
        ]);
        let environment = environment.unwrap();
        assert_eq!(environment.platform(), Ok(Platform::Http("https://auction.example")));
        assert_eq!(environment.settings.poll_backoff.max, Duration::from_secs(120));
        assert_eq!((environment.seed, environment.webhook()), (7, Ok(&Webhook::Secret("hook".into()))));
        for (name, value) in [(DEADLINE, "1"), (NOT_READY, "-1"), (EVERY, "soon")] {
            let wrong = read(&[(name, value)]).unwrap_err().to_string();
            assert!(wrong.starts_with(&format!("{name}={value:?}: ")), "{wrong}");
        }
    }
}
