//! The values of settings: read and checked in one place, with the same words everywhere.

use super::{SettingKind, SettingModel, parse_duration};
use crate::failure::{Failure, excerpt};
use std::{collections::BTreeMap, fmt, time::Duration};

/// Longest value, in bytes. Ours: all variables of a Lambda function together are 4 KB at most.
const VALUE_BYTES_MAX: usize = 2_048;

/// How much of a value an error shows, in bytes.
const SHOWN_BYTES_MAX: usize = 200;

/// Where values are said, which is also how an error names a setting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// On a command line, or in its environment: `--kitchen-timeout`.
    #[default]
    Command,
    /// In the environment of a function: `QUADRILLE_KITCHEN_TIMEOUT`.
    Function,
    /// In the configuration of a stack: `kitchenTimeout`.
    Stack,
}

impl Place {
    /// What a setting is called there.
    pub fn name_of(self, setting: &SettingModel) -> String {
        match self {
            Self::Command => format!("--{}", setting.option()),
            Self::Function => setting.function_variable(),
            Self::Stack => setting.key(),
        }
    }
}

/// The value of a setting.
#[derive(Clone, PartialEq, Eq)]
pub enum SettingValue {
    /// A text or a URL.
    Text(String),
    /// A whole number.
    Integer(u64),
    /// Yes or no.
    Boolean(bool),
    /// A time.
    Duration(Duration),
}

/// What is wrong with a setting. Its text names the setting as its [`Place`] does, the value, unless that is a secret, and
/// the cure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingError {
    /// It has to be said.
    #[error("{name} is missing: set it to {expected}{}", sentence(.about))]
    Missing {
        /// What it is called where it is said.
        name: String,
        /// What it has to be.
        expected: String,
        /// The sentence about it.
        about: String,
    },
    /// Its value is of no use.
    #[error("{name}{} {problem}: {cure}", shown(.value.as_deref()))]
    Wrong {
        /// What it is called where it is said.
        name: String,
        /// Its value, cut and escaped; none of a secret.
        value: Option<String>,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        cure: String,
    },
    /// No setting of the choreography has this name, or it is of another kind.
    #[error("no setting {0:?} of this kind is declared: add it to the definition, or mend its name")]
    Undeclared(String),
}

fn sentence(about: &str) -> String {
    if about.is_empty() { String::new() } else { format!(". {about}") }
}

fn shown(value: Option<&str>) -> String {
    // It is escaped already, but for quotes.
    value.map(|value| format!("=\"{}\"", value.replace('"', "\\\""))).unwrap_or_default()
}

impl From<SettingError> for Failure {
    fn from(error: SettingError) -> Self {
        let reason =
            if matches!(error, SettingError::Undeclared(_)) { "undeclared_use" } else { "setting_wrong" };
        Failure::permanent(reason, error)
    }
}

/// All that is wrong with the settings of a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingErrors(pub Vec<SettingError>);

impl fmt::Display for SettingErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&texts.join("\n"))
    }
}

impl std::error::Error for SettingErrors {}

impl From<SettingError> for SettingErrors {
    fn from(error: SettingError) -> Self {
        Self(vec![error])
    }
}

/// The values of a choreography's settings, in one place.
#[derive(Clone, Default)]
pub struct Settings {
    place: Place,
    values: BTreeMap<String, (SettingModel, Option<SettingValue>)>,
}

impl fmt::Debug for Settings {
    /// Shows no secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.values.iter().map(|(name, (model, value))| {
            (name, if model.is_secret { None } else { value.as_ref().map(ToString::to_string) })
        });
        f.debug_map().entries(shown).finish()
    }
}

impl fmt::Display for SettingValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Integer(number) => number.fmt(f),
            Self::Boolean(yes) => yes.fmt(f),
            Self::Duration(time) => f.write_str(&super::write_duration(*time)),
        }
    }
}

impl fmt::Debug for SettingValue {
    /// The kind alone: the value may be a secret's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text(_) => "Text",
            Self::Integer(_) => "Integer",
            Self::Boolean(_) => "Boolean",
            Self::Duration(_) => "Duration",
        })
    }
}

impl Settings {
    /// Reads the values of `settings` that `read` tells in `place`, with defaults for the others. An empty value counts as
    /// one that is not told.
    ///
    /// # Errors
    /// Everything that is missing or wrong.
    pub fn read<'a>(
        place: Place,
        settings: impl IntoIterator<Item = &'a SettingModel>,
        read: impl Fn(&SettingModel) -> Option<String>,
    ) -> Result<Self, SettingErrors> {
        let mut values = BTreeMap::new();
        let mut errors = Vec::new();
        for setting in settings {
            let told = read(setting).filter(|value| !value.is_empty());
            let text = told.or_else(|| setting.default_in(place).map(str::to_owned));
            let value = match text {
                Some(text) => match parse(setting, place, &text) {
                    Ok(value) => Some(value),
                    Err(error) => {
                        errors.push(error);
                        continue;
                    }
                },
                None if setting.is_optional => None,
                None => {
                    errors.push(missing(setting, place));
                    continue;
                }
            };
            values.insert(setting.name.clone(), (setting.clone(), value));
        }
        if errors.is_empty() { Ok(Self { place, values }) } else { Err(SettingErrors(errors)) }
    }

    /// The value of `name`.
    ///
    /// # Errors
    /// [`SettingError::Undeclared`] where there is no setting of that name, or it is of another kind;
    /// [`SettingError::Missing`] where it was left out.
    pub fn get<T: FromSetting>(&self, name: &str) -> Result<T, SettingError> {
        let (model, value) =
            self.values.get(name).ok_or_else(|| SettingError::Undeclared(name.to_owned()))?;
        let Some(value) = value else {
            return T::left_out().ok_or_else(|| missing(model, self.place));
        };
        T::from_setting(value).ok_or_else(|| SettingError::Undeclared(name.to_owned()))
    }

    /// A value as people are shown it; `None` of a secret, and where there is none.
    pub fn shown(&self, name: &str) -> Option<String> {
        let (model, value) = self.values.get(name)?;
        value.as_ref().filter(|_| !model.is_secret).map(|value| excerpt(&value.to_string(), SHOWN_BYTES_MAX))
    }

    /// The error of a value that is well formed and still of no use: `problem` says why, `cure` what to do.
    pub fn refuse(&self, name: &str, problem: impl fmt::Display, cure: impl fmt::Display) -> SettingError {
        let Some((model, value)) = self.values.get(name) else {
            return SettingError::Undeclared(name.to_owned());
        };
        let text = value.as_ref().map(ToString::to_string).unwrap_or_default();
        wrong(model, self.place, &text, problem.to_string(), cure.to_string())
    }
}

/// What an error calls a value in a place. A function is not told the value of a secret but where that lies.
fn value_in(place: Place, setting: &SettingModel) -> String {
    let name = place.name_of(setting);
    if place == Place::Function && setting.is_secret { format!("the secret behind {name}") } else { name }
}

fn missing(setting: &SettingModel, place: Place) -> SettingError {
    let (name, expected) = (value_in(place, setting), expected(setting));
    SettingError::Missing { name, expected, about: setting.about.clone() }
}

/// What a value is turned into.
pub trait FromSetting: Sized {
    /// From a value; `None` where it is of another kind.
    fn from_setting(value: &SettingValue) -> Option<Self>;

    /// What stands for a setting that was left out; `None` where nothing does.
    fn left_out() -> Option<Self> {
        None
    }
}

impl FromSetting for String {
    fn from_setting(value: &SettingValue) -> Option<Self> {
        match value {
            SettingValue::Text(text) => Some(text.clone()),
            _ => None,
        }
    }
}

impl FromSetting for u64 {
    fn from_setting(value: &SettingValue) -> Option<Self> {
        match value {
            SettingValue::Integer(number) => Some(*number),
            _ => None,
        }
    }
}

impl FromSetting for bool {
    fn from_setting(value: &SettingValue) -> Option<Self> {
        match value {
            SettingValue::Boolean(yes) => Some(*yes),
            _ => None,
        }
    }
}

impl FromSetting for Duration {
    fn from_setting(value: &SettingValue) -> Option<Self> {
        match value {
            SettingValue::Duration(time) => Some(*time),
            _ => None,
        }
    }
}

impl<T: FromSetting> FromSetting for Option<T> {
    fn from_setting(value: &SettingValue) -> Option<Self> {
        T::from_setting(value).map(Some)
    }

    fn left_out() -> Option<Self> {
        Some(None)
    }
}

/// What a setting has to be.
pub(crate) fn expected(setting: &SettingModel) -> String {
    let words = setting.words.iter().map(|word| format!(", or `{word}`"));
    setting.kind.expected() + &words.collect::<String>()
}

/// Reads a value.
pub(crate) fn parse(setting: &SettingModel, place: Place, text: &str) -> Result<SettingValue, SettingError> {
    if setting.words.iter().any(|word| word == text) {
        return Ok(SettingValue::Text(text.to_owned()));
    }
    if let Some((problem, cure)) = slip(setting, text) {
        return Err(wrong(setting, place, text, problem.to_owned(), cure.to_owned()));
    }
    let value = match &setting.kind {
        SettingKind::Text => Some(SettingValue::Text(text.to_owned())),
        SettingKind::Url => is_url(text).then(|| SettingValue::Text(text.to_owned())),
        SettingKind::Integer(range) => {
            text.parse().ok().filter(|number| range.contains(number)).map(SettingValue::Integer)
        }
        SettingKind::Boolean => text.parse().ok().map(SettingValue::Boolean),
        SettingKind::Duration(max) => {
            parse_duration(text).ok().filter(|time| time <= max).map(SettingValue::Duration)
        }
    };
    value.ok_or_else(|| {
        let expected = expected(setting);
        wrong(setting, place, text, format!("is not {expected}"), format!("set it to {expected}"))
    })
}

/// What people often do to a value without noticing it.
fn slip(setting: &SettingModel, text: &str) -> Option<(&'static str, &'static str)> {
    let is_quoted = |quote: char| text.len() > 1 && text.starts_with(quote) && text.ends_with(quote);
    if text.len() > VALUE_BYTES_MAX {
        return Some(("is longer than 2,048 bytes", "shorten it"));
    }
    if text.ends_with(['\n', '\r']) {
        return Some(("ends with a line break", "remove it (`printf` writes none, `echo` does)"));
    }
    if text.trim() != text {
        return Some(("begins or ends with white space", "remove it"));
    }
    if text.chars().any(char::is_control) {
        return Some(("has a control character", "remove it"));
    }
    if setting.kind == SettingKind::Text {
        return None;
    }
    if is_quoted('"') || is_quoted('\'') {
        return Some(("stands in quotes", "remove them"));
    }
    if text.starts_with(['{', '[']) {
        return Some(("is JSON", "write the plain value, without braces and names"));
    }
    None
}

fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && !text.contains(char::is_whitespace))
}

fn wrong(setting: &SettingModel, place: Place, text: &str, problem: String, cure: String) -> SettingError {
    // A URL may have a user's name and password in it.
    let is_hidden = setting.is_secret || (setting.kind == SettingKind::Url && text.contains('@'));
    let value = (!is_hidden).then(|| excerpt(text, SHOWN_BYTES_MAX));
    SettingError::Wrong { name: value_in(place, setting), value, problem, cure }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setting::Setting;

    fn read(setting: &Setting, text: &str) -> Result<Settings, String> {
        let model = setting.model();
        Settings::read(Place::Command, [model], |_| Some(text.to_owned())).map_err(|error| error.to_string())
    }

    #[test]
    fn a_value_is_read_by_its_kind() {
        let get = |setting: Setting, text: &str| read(&setting, text).unwrap();
        assert_eq!(get(Setting::duration("x"), "2s").get("x"), Ok(Duration::from_secs(2)));
        assert_eq!(get(Setting::integer("x").within(1..=9), "9").get("x"), Ok(9_u64));
        assert_eq!(get(Setting::boolean("x"), "true").get("x"), Ok(true));
        assert_eq!(
            get(Setting::url("x").or_word("simulated"), "simulated").get("x"),
            Ok("simulated".to_owned())
        );
        let settings = get(Setting::url("x"), "https://a.example");
        assert_eq!(settings.get::<Option<String>>("x"), Ok(Some("https://a.example".to_owned())));
        assert_eq!(settings.get::<u64>("x"), Err(SettingError::Undeclared("x".into())));
        assert_eq!(settings.get::<u64>("y"), Err(SettingError::Undeclared("y".into())));
    }

    #[test]
    fn what_people_do_to_a_value_by_accident_is_told_as_just_that() {
        let url = Setting::url("base_url");
        for (text, told) in [
            ("\"https://a.example\"", "stands in quotes: remove them"),
            ("'https://a.example'", "stands in quotes: remove them"),
            ("https://a.example\n", "ends with a line break: remove it"),
            ("{\"url\": \"https://a.example\"}", "is JSON: write the plain value"),
            (" https://a.example", "begins or ends with white space: remove it"),
            ("ftp://a.example", "is not an http or https URL: set it to an http or https URL"),
            ("https://", "is not an http or https URL"),
        ] {
            let error = read(&url, text).unwrap_err();
            assert!(error.starts_with("--base-url=") && error.contains(told), "{error}");
        }
        let error = read(&url, "\"a\"\n").unwrap_err();
        assert!(error.starts_with("--base-url=\"\\\"a\\\"\\n\" ends with"), "{error}");
        let error = read(&Setting::integer("x").within(1..=3), "4").unwrap_err();
        assert_eq!(
            error,
            "--x=\"4\" is not a whole number from 1 to 3: set it to a whole number from 1 to 3"
        );
    }

    #[test]
    fn no_error_and_no_debug_output_shows_a_secret() {
        let secret = Setting::url("hook").secret();
        for text in ["\"sesame\"", "sesame", "{\"a\":\"sesame\"}"] {
            let error = read(&secret, text).unwrap_err();
            assert!(error.starts_with("--hook ") && !error.contains("sesame"), "{error}");
        }
        let settings = read(&secret, "https://sesame.example").unwrap();
        assert!(!format!("{settings:?}").contains("sesame"));
        assert!(!settings.refuse("hook", "answers nothing", "look at it").to_string().contains("sesame"));
        assert!(!format!("{:?}", SettingValue::Text("sesame".into())).contains("sesame"));
    }

    #[test]
    fn a_function_is_told_that_the_secret_is_wrong_and_not_the_variable_that_names_it() {
        let secret = Setting::text("key").secret();
        let read = |value: Option<&str>| {
            let told = Settings::read(Place::Function, [secret.model()], |_| value.map(str::to_owned));
            told.unwrap_err().to_string()
        };
        assert_eq!(read(None), "the secret behind QUADRILLE_KEY_SECRET is missing: set it to a text");
        let told = "the secret behind QUADRILLE_KEY_SECRET ends with a line break: remove it";
        assert!(read(Some("sesame\n")).starts_with(told));
    }

    #[test]
    fn all_that_is_missing_is_told_at_once_by_the_name_it_has_there() {
        let (one, two) = (Setting::url("base_url").help("Where it is."), Setting::integer("two"));
        let read = |place| Settings::read(place, [one.model(), two.model()], |_| None).unwrap_err();
        let error = read(Place::Function).to_string();
        assert_eq!(
            error,
            "QUADRILLE_BASE_URL is missing: set it to an http or https URL. Where it is.\n\
             QUADRILLE_TWO is missing: set it to a whole number"
        );
        assert!(read(Place::Stack).to_string().starts_with("baseUrl is missing"));
    }

    #[test]
    fn the_default_of_a_place_counts_and_an_optional_one_may_be_left_out() {
        let setting = Setting::duration("x").default("10s").default_locally("1s");
        let read = |place| Settings::read(place, [setting.model()], |_| Some(String::new())).unwrap();
        assert_eq!(read(Place::Command).get("x"), Ok(Duration::from_secs(1)));
        assert_eq!(read(Place::Function).get("x"), Ok(Duration::from_secs(10)));
        let optional = Setting::url("y").optional();
        let settings = Settings::read(Place::Command, [optional.model()], |_| None).unwrap();
        assert_eq!(settings.get::<Option<String>>("y"), Ok(None));
        assert!(matches!(settings.get::<String>("y"), Err(SettingError::Missing { .. })));
    }
}
