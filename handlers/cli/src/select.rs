//! Which system a command line means: the one that is named behind its word, or the standard one.

use crate::error::CommandError;
use quadrille::System;
use std::{ffi::OsString, path::Path};

/// Words that have further words behind them.
const NOUNS: [&str; 2] = ["dlq", "infra"];

/// Options that stand before the word and take a value.
const GLOBAL: [&str; 3] = ["--config", "--log-format", "--log-level"];

/// A system, and the command line without its name.
pub struct Selected<'a> {
    pub system: &'a dyn System,
    pub arguments: Vec<OsString>,
    /// What the command is called.
    pub name: String,
}

/// Takes the system's name out of the command line.
///
/// # Errors
/// [`CommandError::Usage`] where there is no system at all.
pub fn select<'a>(
    systems: &[&'a dyn System],
    mut arguments: Vec<OsString>,
) -> Result<Selected<'a>, CommandError> {
    let standard = systems.first().ok_or_else(|| CommandError::Usage("there is no system".into()))?;
    let program = arguments.first().map(Path::new).and_then(Path::file_stem);
    let name = program.and_then(|name| name.to_str()).unwrap_or("quadrille").to_owned();
    let at = place(&arguments);
    let named = arguments.get(at).and_then(|argument| argument.to_str());
    let found = named.and_then(|named| systems.iter().find(|system| system.name() == named));
    // These take several by themselves.
    let before = at.checked_sub(2).and_then(|from| arguments.get(from..at));
    let takes_several =
        before.is_some_and(|words| words == ["infra", "check"] || words == ["infra", "policy"]);
    match found {
        Some(system) if !takes_several => {
            arguments.remove(at);
            Ok(Selected { system: *system, arguments, name })
        }
        _ => Ok(Selected { system: *standard, arguments, name }),
    }
}

/// Where the name of a system may stand: behind the word, or the second word of a noun.
fn place(arguments: &[OsString]) -> usize {
    let mut at = 1;
    while let Some(argument) = arguments.get(at).and_then(|argument| argument.to_str()) {
        if !argument.starts_with('-') {
            break;
        }
        at += if GLOBAL.contains(&argument) { 2 } else { 1 };
    }
    let is_noun = arguments.get(at).is_some_and(|word| NOUNS.iter().any(|noun| word == noun));
    at + if is_noun { 2 } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quadrille::{Choreography, Definition};

    struct Named(&'static str);

    impl System for Named {
        fn name(&self) -> &'static str {
            self.0
        }

        fn about(&self) -> &'static str {
            "A test's."
        }

        fn define(&self) -> Definition {
            Choreography::define(self.0)
        }
    }

    #[test]
    fn a_system_is_named_behind_the_word_or_is_the_standard_one() {
        let (first, second) = (Named("first"), Named("second"));
        for (line, system, left) in [
            ("q up", "first", "q up"),
            ("q up second", "second", "q up"),
            ("q up first --port 0", "first", "q up --port 0"),
            ("q --log-level debug up second --port 0", "second", "q --log-level debug up --port 0"),
            ("q --config f up second", "second", "q --config f up"),
            ("q dlq list second --json", "second", "q dlq list --json"),
            ("q infra render second", "second", "q infra render"),
            ("q infra check second", "first", "q infra check second"),
            ("q infra policy second first", "first", "q infra policy second first"),
            ("q trace second", "second", "q trace"),
            ("q trace -- second", "first", "q trace -- second"),
            ("q --help", "first", "q --help"),
            ("q dlq", "first", "q dlq"),
            ("q --log-level", "first", "q --log-level"),
            ("q", "first", "q"),
        ] {
            let arguments = line.split(' ').map(OsString::from).collect();
            let selected = select(&[&first, &second], arguments).unwrap();
            let left: Vec<OsString> = left.split(' ').map(OsString::from).collect();
            assert_eq!((selected.system.name(), selected.arguments), (system, left), "{line}");
        }
    }
}
