//! Settings: what may differ from one place to another where a choreography runs, each declared once.
//!
//! A [`Setting`] has a name, a kind, a default and a sentence. From this one declaration come an option of the command
//! (`--kitchen-timeout`), an environment variable of the functions that need it (`QUADRILLE_KITCHEN_TIMEOUT`), a key of the
//! infrastructure's configuration (`kitchenTimeout`), and a row in the documentation. A handler or a service that needs it
//! says so in its [`Uses`](crate::Uses).
//!
//! ```
//! use quadrille::Setting;
//! let timeout = Setting::duration("kitchen_timeout").default("10s").help("How long the kitchen may take.");
//! assert_eq!(timeout.model().option(), "kitchen-timeout");
//! assert_eq!(timeout.model().variable(), "QUADRILLE_KITCHEN_TIMEOUT");
//! assert_eq!(timeout.model().key(), "kitchenTimeout");
//! ```

mod duration;
mod value;

pub use duration::parse_duration;
pub(crate) use duration::write_duration;
pub(crate) use value::parse;
pub use value::{FromSetting, Place, SettingError, SettingErrors, SettingValue, Settings};

use std::{ops::RangeInclusive, time::Duration};

/// A setting, while it is being declared.
#[derive(Clone, Debug)]
pub struct Setting {
    model: SettingModel,
}

/// A setting, as plain data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingModel {
    /// Its name: `kitchen_timeout`.
    pub name: String,
    /// What its value is.
    pub kind: SettingKind,
    /// One sentence about it.
    pub about: String,
    /// Its value where nobody says another; none where it has to be said, or may be left out.
    pub default: Option<String>,
    /// The default on one machine, where that differs: the engine there is for trying things out.
    pub default_locally: Option<String>,
    /// Words that it may be instead of a value of its kind.
    pub words: Vec<String>,
    /// Whether it may be left out.
    pub is_optional: bool,
    /// Whether its value is a secret: never shown, and kept in Secrets Manager on AWS.
    pub is_secret: bool,
    /// Its environment variable, where that is not derived.
    pub own_variable: Option<String>,
}

/// What the value of a setting is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingKind {
    /// Any text.
    Text,
    /// An `http` or `https` URL.
    Url,
    /// A whole number in this range.
    Integer(RangeInclusive<u64>),
    /// `true` or `false`.
    Boolean,
    /// A whole number with a unit (`200ms`, `30s`, `5m`, `1h`, `2d`), up to this long.
    Duration(Duration),
}

impl SettingKind {
    /// What a value has to be, in a few words.
    pub fn expected(&self) -> String {
        match self {
            Self::Text => "a text".into(),
            Self::Url => "an http or https URL".into(),
            Self::Integer(range) if *range == (0..=u64::MAX) => "a whole number".into(),
            Self::Integer(range) => format!("a whole number from {} to {}", range.start(), range.end()),
            Self::Boolean => "`true` or `false`".into(),
            Self::Duration(max) => {
                format!(
                    "a whole number with its unit (200ms, 30s, 5m, 1h, 2d), up to {}",
                    write_duration(*max)
                )
            }
        }
    }
}

impl Setting {
    /// A text.
    pub fn text(name: impl Into<String>) -> Self {
        Self::of(name.into(), SettingKind::Text)
    }

    /// An `http` or `https` URL.
    pub fn url(name: impl Into<String>) -> Self {
        Self::of(name.into(), SettingKind::Url)
    }

    /// A whole number that is not negative.
    pub fn integer(name: impl Into<String>) -> Self {
        Self::of(name.into(), SettingKind::Integer(0..=u64::MAX))
    }

    /// Yes or no.
    pub fn boolean(name: impl Into<String>) -> Self {
        Self::of(name.into(), SettingKind::Boolean)
    }

    /// A time, 1 ms to 14 days, as [`parse_duration`] reads it.
    pub fn duration(name: impl Into<String>) -> Self {
        Self::of(name.into(), SettingKind::Duration(duration::MAX))
    }

    fn of(name: String, kind: SettingKind) -> Self {
        Self {
            model: SettingModel {
                name,
                kind,
                about: String::new(),
                default: None,
                default_locally: None,
                words: Vec::new(),
                is_optional: false,
                is_secret: false,
                own_variable: None,
            },
        }
    }

    /// What it is for, in one sentence.
    #[must_use]
    pub fn help(mut self, sentence: impl Into<String>) -> Self {
        self.model.about = sentence.into();
        self
    }

    /// Its value where nobody says another. Without it, and not [`optional`](Self::optional), everybody has to say one.
    #[must_use]
    pub fn default(mut self, value: impl Into<String>) -> Self {
        self.model.default = Some(value.into());
        self
    }

    /// The default of the engine on one machine, where that is another.
    #[must_use]
    pub fn default_locally(mut self, value: impl Into<String>) -> Self {
        self.model.default_locally = Some(value.into());
        self
    }

    /// A word that it may be instead of a value of its kind, such as `simulated` instead of a URL.
    #[must_use]
    pub fn or_word(mut self, word: impl Into<String>) -> Self {
        self.model.words.push(word.into());
        self
    }

    /// A whole number within these bounds.
    #[must_use]
    pub fn within(mut self, range: RangeInclusive<u64>) -> Self {
        self.model.kind = SettingKind::Integer(range);
        self
    }

    /// A time of at most this.
    #[must_use]
    pub fn up_to(mut self, longest: Duration) -> Self {
        self.model.kind = SettingKind::Duration(longest);
        self
    }

    /// It may be left out.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.model.is_optional = true;
        self
    }

    /// Its value is a secret: no error, log line or file shows it, and on AWS it lies in Secrets Manager.
    #[must_use]
    pub fn secret(mut self) -> Self {
        self.model.is_secret = true;
        self
    }

    /// Its environment variable, where that can't be `QUADRILLE_<NAME>`.
    #[must_use]
    pub fn variable(mut self, name: impl Into<String>) -> Self {
        self.model.own_variable = Some(name.into());
        self
    }

    /// The same as plain data.
    pub fn model(&self) -> &SettingModel {
        &self.model
    }

    pub(crate) fn into_model(self) -> SettingModel {
        self.model
    }
}

impl SettingModel {
    /// Its option on the command line, without the dashes: `kitchen-timeout`.
    pub fn option(&self) -> String {
        self.name.replace('_', "-")
    }

    /// Its environment variable: its own, or `QUADRILLE_KITCHEN_TIMEOUT`.
    pub fn variable(&self) -> String {
        self.own_variable.clone().unwrap_or_else(|| format!("QUADRILLE_{}", self.name.to_ascii_uppercase()))
    }

    /// The environment variable of a function: of a secret it holds the secret's ARN, and ends in `_SECRET`.
    pub fn function_variable(&self) -> String {
        if self.is_secret { self.variable() + "_SECRET" } else { self.variable() }
    }

    /// Its key in the configuration of the infrastructure: `kitchenTimeout`.
    pub fn key(&self) -> String {
        let mut key = String::with_capacity(self.name.len());
        for (at, word) in self.name.split('_').enumerate() {
            let mut letters = word.chars();
            match letters.next().filter(|_| at > 0) {
                Some(first) => {
                    key.push(first.to_ascii_uppercase());
                    key.push_str(letters.as_str());
                }
                None => key.push_str(word),
            }
        }
        key
    }

    /// Its default in a place.
    pub fn default_in(&self, place: Place) -> Option<&str> {
        let locally = self.default_locally.as_deref().filter(|_| place == Place::Command);
        locally.or(self.default.as_deref())
    }
}
