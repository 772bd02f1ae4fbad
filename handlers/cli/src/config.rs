//! The configuration file: what has a variable, each setting, and where the system is, for who would say it again and again.
//!
//! An option comes before a variable, that before the file, and that before a default. A file is made to be committed: a secret
//! stands in a file of its own, which this one names.

use crate::{args, error::CommandError, settings, target, token};
use clap::{Arg, ArgMatches, Command, error::ContextKind, parser::ValueSource};
use quadrille::{
    Settings, System, excerpt,
    setting::{Place, SettingModel},
};
use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs, io,
    path::{Path, PathBuf},
};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// The file that is read in the working directory where no other is named.
pub const FILE: &str = "quadrille.toml";

/// The keys that every system has, which are the names of their options.
const COMMON: [&str; 6] = ["data", "url", "token_file", "log_level", "target", "stack"];

/// Those that hold a path, which counts from the folder of the file.
const PATHS: [&str; 2] = ["data", "token_file"];

/// Largest file, in bytes. Ours: a screenful is 4 KB.
const BYTES_MAX: u64 = 64 * 1024;

/// Longest part of a name or value that an error shows, in bytes.
const SHOWN_BYTES_MAX: usize = 100;

/// What a file says of the system that is meant.
#[derive(Debug, Default)]
pub struct Config {
    file: Option<PathBuf>,
    /// Why it counts for nothing.
    fault: Option<String>,
    values: BTreeMap<String, Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    value: String,
    line: usize,
    /// The value is a path of a file that holds a secret.
    is_secret: bool,
}

/// The file that a command line names, for one that asks for help or can't be read otherwise.
pub fn named(arguments: &[OsString]) -> Option<OsString> {
    let mut arguments = arguments.iter().map(OsString::as_os_str).take_while(|argument| *argument != "--");
    while let Some(argument) = arguments.next() {
        if argument == "--config" {
            return arguments.next().map(OsStr::to_owned);
        }
        if let Some(name) = argument.to_str().and_then(|text| text.strip_prefix("--config=")) {
            return Some(name.into());
        }
    }
    std::env::var_os(args::CONFIG_VARIABLE)
}

impl Config {
    /// Reads the file that is `named`, or else [`FILE`] where it is there.
    pub fn read(named: Option<OsString>, systems: &[&dyn System], meant: &dyn System) -> Self {
        let file = match &named {
            Some(name) if name.is_empty() => return Self::default(),
            Some(name) => PathBuf::from(name),
            None => PathBuf::from(FILE),
        };
        let text = match text_of(&file) {
            Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => {
                return Self::default();
            }
            text => text,
        };
        let read = text.map_err(|error| error.to_string()).and_then(|text| {
            let known = Known::of(systems)?;
            known.read(&text, meant.name())
        });
        match read {
            Ok(values) => Self { file: Some(file), fault: None, values },
            Err(fault) => Self { file: Some(file), fault: Some(fault), values: BTreeMap::new() },
        }
    }

    /// The file that was read.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Why the file counts for nothing, where it does.
    pub fn fault(&self) -> Option<String> {
        let (file, fault) = (self.file.as_ref()?, self.fault.as_ref()?);
        Some(format!("the configuration file {}: {fault}", file.display()))
    }

    /// The line on which a key stands.
    pub fn line(&self, key: &str) -> Option<usize> {
        self.values.get(key).map(|entry| entry.line)
    }

    /// The files with secrets that it names.
    pub fn secret_files(&self) -> impl Iterator<Item = PathBuf> {
        self.values.iter().filter(|(_, entry)| entry.is_secret).map(|(_, entry)| self.path(&entry.value))
    }

    /// A setting's value: by its variable, or by the file.
    ///
    /// # Errors
    /// The file that holds a secret can't be read.
    pub fn setting(&self, setting: &SettingModel) -> Result<Option<String>, CommandError> {
        let variable = std::env::var(setting.variable()).ok().filter(|value| !value.is_empty());
        if variable.is_some() { Ok(variable) } else { self.value(&setting.name) }
    }

    /// What the file says of a key.
    ///
    /// # Errors
    /// The file that holds a secret can't be read.
    pub fn value(&self, key: &str) -> Result<Option<String>, CommandError> {
        let Some(Entry { value, is_secret, line }) = self.values.get(key) else { return Ok(None) };
        if PATHS.contains(&key) {
            return Ok(Some(self.path(value).to_string_lossy().into_owned()));
        }
        if !is_secret {
            return Ok(Some(value.clone()));
        }
        let path = self.path(value);
        let file = self.file.as_deref().unwrap_or(Path::new(FILE)).display();
        let what = format!("{file}, line {line}: the file {}", path.display());
        let text = fs::read_to_string(path).map_err(CommandError::io(what))?;
        Ok(Some(text.trim().to_owned()))
    }

    fn path(&self, value: &str) -> PathBuf {
        self.file
            .as_deref()
            .and_then(Path::parent)
            .map_or_else(|| PathBuf::from(value), |dir| dir.join(value))
    }

    /// Tells of files with secrets that others can read.
    pub fn warn(&self) {
        self.secret_files().for_each(|file| token::warn_if_open(&file, "a secret"));
    }

    /// The command line with what the file says as defaults; `said` is what options and variables say already.
    ///
    /// # Errors
    /// A file with a secret can't be read.
    pub fn behind(&self, root: Command, said: &ArgMatches) -> Result<Command, CommandError> {
        let mut path = Vec::new();
        let mut leaf = said;
        let mut word = &root;
        while let Some((name, inner)) = leaf.subcommand() {
            let Some(found) = word.find_subcommand(name) else { break };
            path.push(name.to_owned());
            (word, leaf) = (found, inner);
        }
        let told = self.told(word, leaf)?;
        let level = self.value("log_level")?;
        let root = within(root, &path, &|word| told.iter().fold(word, |word, (id, told)| told.put(word, id)));
        Ok(match level {
            Some(level) => root.mut_arg("log_level", |arg| arg.default_value(level)),
            None => root,
        })
    }

    /// What the file tells of the arguments of a word.
    fn told(&self, word: &Command, said: &ArgMatches) -> Result<Vec<(String, Told)>, CommandError> {
        let place = Whereabouts::of(self, word, said);
        let mut told = Vec::new();
        for arg in word.get_arguments() {
            let Some(key) = key_of(arg, place.is_asked) else { continue };
            let id = arg.get_id().to_string();
            if place.drops.contains(&key.as_str()) {
                told.push((id, Told::Nothing));
            } else if let Some(value) = self.value(&key)? {
                // An empty variable counts as none.
                let is_empty = said.get_raw(&id).is_some_and(|mut values| values.all(OsStr::is_empty));
                let is_variable = said.value_source(&id) == Some(ValueSource::EnvVariable);
                told.push((id, Told::Value { value, instead: is_variable && is_empty }));
            }
        }
        Ok(told)
    }

    /// The command line, of which each help tells that a file is read.
    pub fn in_help(&self, root: Command) -> Command {
        let Some(file) = &self.file else { return root };
        let text = match &self.fault {
            None => format!("Configuration: {} is read.", file.display()),
            Some(fault) => format!("Configuration: {} is of no use: {fault}", file.display()),
        };
        with_line(root, &text)
    }

    /// An error of the command line that comes of the file: with its name and the line.
    pub fn blamed(&self, error: &clap::Error) -> CommandError {
        let about = error.get(ContextKind::InvalidArg).map(ToString::to_string).unwrap_or_default();
        let is_meant = |key: &&String| about.starts_with(&format!("--{} ", key.replace('_', "-")));
        let line = self.values.keys().find(is_meant).and_then(|key| self.line(key));
        let line = line.map(|line| format!(", line {line}")).unwrap_or_default();
        let file = self.file.as_deref().unwrap_or(Path::new(FILE)).display();
        let text = error.render().to_string();
        let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        CommandError::Usage(format!("the configuration file {file}{line}: {first}"))
    }
}

/// What the file tells of an argument.
enum Told {
    /// What it is by default; `instead` of a variable that is empty.
    Value { value: String, instead: bool },
    /// Neither the file nor a variable counts: something above them says where the system is.
    Nothing,
}

impl Told {
    fn put(&self, word: Command, id: &str) -> Command {
        word.mut_arg(id, |arg| match self {
            Self::Value { value, instead: true } => {
                arg.env(None::<&'static str>).default_value(value.clone())
            }
            Self::Value { value, instead: false } => arg.default_value(value.clone()),
            Self::Nothing => arg.env(None::<&'static str>),
        })
    }
}

/// The key of an argument; `has_place` where its word asks where the system is.
pub fn key_of(arg: &Arg, has_place: bool) -> Option<String> {
    if arg.get_help_heading() == Some(settings::HEADING) {
        return Some(arg.get_id().to_string());
    }
    match arg.get_id().as_str() {
        "place" => Some("target".to_owned()),
        "stack" if has_place => Some("stack".to_owned()),
        id if arg.get_env().is_some() && COMMON.contains(&id) => Some(id.to_owned()),
        _ => None,
    }
}

/// Where a word finds the system. A way that is said more closely (by an option, say) takes the place of one that is said less
/// closely (by a variable, or the file): who names a folder is not sent to a stack.
struct Whereabouts {
    is_asked: bool,
    /// The keys that don't count.
    drops: Vec<&'static str>,
}

impl Whereabouts {
    fn of(config: &Config, word: &Command, said: &ArgMatches) -> Self {
        let is_asked = word.get_arguments().any(|arg| arg.get_id() == "place");
        let mut drops = Vec::new();
        if !is_asked {
            return Self { is_asked, drops };
        }
        let level = |id: &str, key: &str| match said.value_source(id) {
            Some(ValueSource::CommandLine) => 3,
            Some(ValueSource::EnvVariable) => 2,
            _ => u8::from(config.values.contains_key(key)),
        };
        let (target, data, url) = (level("place", "target"), level("data", "data"), level("url", "url"));
        if target == 1 && data.max(url) > 1 {
            drops.extend(["target", "stack"]);
        }
        let on_aws = match target {
            1 => config.values.get("target").is_some_and(|entry| entry.value == "aws") && drops.is_empty(),
            _ => said.get_one::<target::Place>("place") == Some(&target::Place::Aws),
        };
        if !on_aws || said.value_source("settings").is_some() {
            drops.push("stack");
        }
        if data > url {
            drops.push("url");
        }
        Self { is_asked, drops }
    }
}

/// Changes the word at the end of `path`.
fn within(command: Command, path: &[String], change: &dyn Fn(Command) -> Command) -> Command {
    match path {
        [] => change(command),
        [name, rest @ ..] => command.mut_subcommand(name, |inner| within(inner, rest, change)),
    }
}

/// Adds a line to each help.
fn with_line(command: Command, text: &str) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|word| word.get_name().to_owned()).collect();
    let command = names
        .iter()
        .fold(command, |command, name| command.mut_subcommand(name, |word| with_line(word, text)));
    let behind = |help: Option<String>| match help {
        Some(help) => format!("{help}\n\n{text}"),
        None => text.to_owned(),
    };
    let short = command.get_after_help().map(ToString::to_string);
    let long = command.get_after_long_help().map(ToString::to_string).or_else(|| short.clone());
    command.after_help(behind(short)).after_long_help(behind(long))
}

fn text_of(file: &Path) -> io::Result<String> {
    use io::Read as _;
    let mut text = String::new();
    fs::File::open(file)?.take(BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > BYTES_MAX {
        return Err(io::Error::other(format!("it has more than {BYTES_MAX} bytes")));
    }
    Ok(text)
}

/// What a file may say.
struct Known {
    /// The settings of each system.
    systems: BTreeMap<&'static str, BTreeMap<String, SettingModel>>,
}

impl Known {
    fn of(systems: &[&dyn System]) -> Result<Self, String> {
        let mut known = BTreeMap::new();
        for system in systems {
            let choreography = system.define().build().map_err(|errors| errors.to_string())?;
            let settings = &choreography.model().settings;
            let settings = settings.iter().map(|setting| (setting.name.clone(), setting.clone()));
            known.insert(system.name(), settings.collect());
        }
        Ok(Self { systems: known })
    }

    /// The values for the system that is meant: those at the top, and those of its section, which count more.
    fn read(&self, text: &str, meant: &str) -> Result<BTreeMap<String, Entry>, String> {
        let line_of = |at: usize| {
            text.as_bytes()[..at.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
        };
        let table = DeTable::parse(text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_of(span.start));
            format!("line {line}: {}", excerpt(error.message(), SHOWN_BYTES_MAX))
        })?;
        let (mut top, mut own) = (BTreeMap::new(), BTreeMap::new());
        let alone = self.systems.values().next().filter(|_| self.systems.len() == 1);
        for (key, value) in table.get_ref() {
            let line = line_of(key.span().start);
            let (name, value) = (key.get_ref().as_ref(), value.get_ref());
            match (self.systems.get_key_value(name), value) {
                (Some((system, settings)), DeValue::Table(section)) => {
                    for (key, value) in section {
                        let line = line_of(key.span().start);
                        let read = self.entry(key.get_ref(), value, line, Some(settings))?;
                        if *system == meant {
                            own.extend([read]);
                        }
                    }
                }
                _ => top.extend([self.entry(name, &Spanned::new(0..0, value.clone()), line, alone)?]),
            }
        }
        top.extend(own);
        Ok(top)
    }

    /// A key with its value; `settings` are those that may stand there.
    fn entry(
        &self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        line: usize,
        settings: Option<&BTreeMap<String, SettingModel>>,
    ) -> Result<(String, Entry), String> {
        let of_setting = settings.and_then(|settings| settings.get(key));
        let secret_of = key.strip_suffix("_file").filter(|_| of_setting.is_none());
        let secret_of = secret_of.and_then(|name| settings?.get(name)).filter(|setting| setting.is_secret);
        let secret = of_setting.filter(|setting| setting.is_secret).map(SettingModel::variable);
        if let Some(variable) = secret.or_else(|| (key == "token").then(|| token::VARIABLE.to_owned())) {
            return Err(format!(
                "line {line}: {key} is a secret, which no file to be committed may hold: write {key}_file = \"FILE\", or set {variable}"
            ));
        }
        if of_setting.is_none() && secret_of.is_none() && !COMMON.contains(&key) {
            return Err(format!("line {line}: {}", self.unknown(key, settings)));
        }
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
            DeValue::Boolean(yes) => yes.to_string(),
            other => {
                let kind = other.type_str();
                return Err(format!(
                    "line {line}: {key} is a text, a whole number, true or false, and not a {kind}"
                ));
            }
        };
        if let Some(setting) = of_setting {
            Settings::read(Place::Command, [setting], |_| Some(text.clone()))
                .map_err(|errors| format!("line {line}: {errors}"))?;
        }
        let name = secret_of.map_or(key, |setting| setting.name.as_str()).to_owned();
        Ok((name, Entry { value: text, line, is_secret: secret_of.is_some() }))
    }

    /// What is said of a key that nobody knows.
    fn unknown(&self, key: &str, settings: Option<&BTreeMap<String, SettingModel>>) -> String {
        let shown = excerpt(key, SHOWN_BYTES_MAX);
        let owners: Vec<&str> =
            self.systems.iter().filter(|(_, known)| known.contains_key(key)).map(|(name, _)| *name).collect();
        if settings.is_none() && !owners.is_empty() {
            let sections: Vec<String> = owners.iter().map(|owner| format!("[{owner}]")).collect();
            return format!("{shown} is a setting of a system: write it below {}", sections.join(" or "));
        }
        let own = settings.into_iter().flatten().map(|(name, setting)| match setting.is_secret {
            true => format!("{name}_file"),
            false => name.clone(),
        });
        let mut known: Vec<String> = COMMON.iter().map(|key| (*key).to_owned()).chain(own).collect();
        if settings.is_none() || self.systems.len() == 1 {
            known.extend(self.systems.keys().map(|name| (*name).to_owned()));
        }
        let nearest = known.iter().min_by_key(|known| strsim::damerau_levenshtein(key, known));
        let nearest = nearest.map(|nearest| format!("; the nearest known is {nearest}")).unwrap_or_default();
        format!("{shown} is no key here{nearest}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quadrille::Setting;

    /// What is known of one system, a tea shop with a kettle and a secret recipe.
    fn known() -> Known {
        let settings = [
            Setting::text("kettle"),
            Setting::integer("strength").within(1..=9).default("5"),
            Setting::text("recipe").optional().secret(),
        ];
        let settings = settings.iter().map(|setting| (setting.model().name.clone(), setting.model().clone()));
        Known { systems: [("tea-shop", settings.collect())].into() }
    }

    #[test]
    fn a_system_that_is_alone_has_its_settings_at_the_top_or_in_a_section() {
        let text = "kettle = \"gas\"\nstrength = 3\nrecipe_file = \"r\"\n[tea-shop]\nstrength = 4\n";
        let read = known().read(text, "tea-shop").unwrap();
        let values: Vec<(&str, &str, usize)> =
            read.iter().map(|(key, entry)| (key.as_str(), entry.value.as_str(), entry.line)).collect();
        assert_eq!(values, [("kettle", "gas", 1), ("recipe", "r", 3), ("strength", "4", 5)]);
        for (text, told) in [
            ("strength = 10", "line 1: --strength"),
            ("strength = 0x3", "line 1: strength is a text"),
            ("recipe = \"milk first\"", "write recipe_file"),
            ("recpe_file = \"r\"", "the nearest known is recipe_file"),
            ("tea_shop = 1", "the nearest known is tea-shop"),
            ("tea-shop = 1", "line 1: tea-shop is no key here"),
        ] {
            let fault = known().read(text, "tea-shop").unwrap_err();
            assert!(fault.contains(told) && !fault.contains("milk"), "{text}: {fault}");
        }
    }

    #[test]
    fn the_file_is_named_by_an_option_wherever_it_stands() {
        let named = |line: &str| named(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        for (line, file) in [
            ("q --config a up -h", Some("a")),
            ("q up --config=b -h", Some("b")),
            ("q up --config= -h", Some("")),
        ] {
            assert_eq!(named(line).as_deref(), file.map(OsStr::new), "{line}");
        }
        assert_ne!(named("q up -- --config c").as_deref(), Some(OsStr::new("c")));
    }
}
