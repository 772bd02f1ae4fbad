//! YAML with comments, as people would write it. No crate writes comments; of YAML, what Pulumi reads is enough here.

use std::fmt::Write as _;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Yaml {
    Text(String),
    Integer(i64),
    Boolean(bool),
    List(Vec<Yaml>),
    Map(Map),
}

/// A mapping that keeps its order, with comments between its entries.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Map(Vec<Entry>);

#[derive(Clone, Debug, PartialEq)]
enum Entry {
    Comment(String),
    Blank,
    Value(String, Yaml),
}

impl Map {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// With `value` under `key`.
    pub(super) fn with(mut self, key: impl Into<String>, value: impl Into<Yaml>) -> Self {
        self.put(key, value);
        self
    }

    /// With all that `other` has, behind its own.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    pub(super) fn put(&mut self, key: impl Into<String>, value: impl Into<Yaml>) {
        self.0.push(Entry::Value(key.into(), value.into()));
    }

    /// With a comment before what follows; each of its lines becomes one.
    pub(super) fn comment(mut self, text: impl Into<String>) -> Self {
        self.say(text);
        self
    }

    pub(super) fn say(&mut self, text: impl Into<String>) {
        self.0.push(Entry::Comment(text.into()));
    }

    /// An empty line before what follows.
    pub(super) fn blank(&mut self) {
        self.0.push(Entry::Blank);
    }

    /// The value under `key`.
    pub(super) fn get(&self, key: &str) -> Option<&Yaml> {
        self.entries().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// Keys and values, in their order.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &Yaml)> {
        self.0.iter().filter_map(|entry| match entry {
            Entry::Value(key, value) => Some((key.as_str(), value)),
            Entry::Comment(_) | Entry::Blank => None,
        })
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Yaml> {
        self.entries().map(|(_, value)| value)
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.0.iter().any(|entry| matches!(entry, Entry::Value(..)))
    }
}

impl From<&str> for Yaml {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Yaml {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&String> for Yaml {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<i64> for Yaml {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<bool> for Yaml {
    fn from(boolean: bool) -> Self {
        Self::Boolean(boolean)
    }
}

impl From<Map> for Yaml {
    fn from(map: Map) -> Self {
        Self::Map(map)
    }
}

impl<T: Into<Yaml>> From<Vec<T>> for Yaml {
    fn from(list: Vec<T>) -> Self {
        Self::List(list.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Yaml>, const N: usize> From<[T; N]> for Yaml {
    fn from(list: [T; N]) -> Self {
        Self::List(list.into_iter().map(Into::into).collect())
    }
}

/// A builtin function of Pulumi YAML, `fn::…`, of `argument`.
pub(super) fn call(function: &str, argument: impl Into<Yaml>) -> Map {
    Map::new().with(format!("fn::{function}"), argument)
}

/// The whole document.
pub(super) fn document(map: &Map) -> String {
    let mut text = String::new();
    write_map(&mut text, map, 0);
    text
}

fn write_map(text: &mut String, map: &Map, depth: usize) {
    let indent = "  ".repeat(depth);
    for entry in &map.0 {
        match entry {
            Entry::Blank => text.push('\n'),
            Entry::Comment(comment) => {
                for line in comment.lines() {
                    let _ = writeln!(text, "{indent}{}", format!("# {line}").trim_end());
                }
            }
            Entry::Value(key, value) => {
                let _ = write!(text, "{indent}{}:", scalar(key));
                write_value(text, value, depth);
            }
        }
    }
}

/// What follows a key.
fn write_value(text: &mut String, value: &Yaml, depth: usize) {
    match value {
        Yaml::Map(map) if map.is_empty() => text.push_str(" {}\n"),
        Yaml::Map(map) => {
            text.push('\n');
            write_map(text, map, depth + 1);
        }
        Yaml::List(list) if list.is_empty() => text.push_str(" []\n"),
        Yaml::List(list) if is_short(list) => {
            let _ = writeln!(text, " {}", in_brackets(list));
        }
        Yaml::List(list) => {
            text.push('\n');
            write_list(text, list, depth + 1);
        }
        other => {
            let _ = writeln!(text, " {}", simple(other));
        }
    }
}

fn write_list(text: &mut String, list: &[Yaml], depth: usize) {
    let indent = "  ".repeat(depth);
    for item in list {
        match item {
            Yaml::Map(map) if !map.is_empty() => {
                let mut inner = String::new();
                write_map(&mut inner, map, depth + 1);
                // The first line that is no comment takes the dash; comments stand before it.
                let mut dashed = false;
                for line in inner.lines() {
                    let is_comment = line.trim_start().starts_with('#');
                    match (dashed, is_comment) {
                        (false, true) => {
                            let _ = writeln!(text, "{indent}{}", line.trim_start());
                        }
                        (false, false) => {
                            let _ = writeln!(text, "{indent}- {}", line.trim_start());
                            dashed = true;
                        }
                        (true, _) => {
                            let _ = writeln!(text, "{line}");
                        }
                    }
                }
            }
            Yaml::List(inner) if !inner.is_empty() && !is_short(inner) => {
                let _ = writeln!(text, "{indent}-");
                write_list(text, inner, depth + 1);
            }
            Yaml::List(inner) => {
                let _ = writeln!(text, "{indent}- {}", in_brackets(inner));
            }
            other => {
                let _ = writeln!(text, "{indent}- {}", simple(other));
            }
        }
    }
}

/// Whether a list reads well in one line.
fn is_short(list: &[Yaml]) -> bool {
    list.iter().all(|item| !matches!(item, Yaml::Map(_) | Yaml::List(_))) && in_brackets(list).len() <= 100
}

fn in_brackets(list: &[Yaml]) -> String {
    let item = |item: &Yaml| match item {
        // Inside brackets a comma or a bracket would end it.
        Yaml::Text(text) if text.contains([',', '[', ']', '{', '}']) => quoted(text),
        other => simple(other),
    };
    format!("[{}]", list.iter().map(item).collect::<Vec<_>>().join(", "))
}

/// A value in one line; of a list or a mapping, the empty one.
fn simple(value: &Yaml) -> String {
    match value {
        Yaml::Text(text) => scalar(text),
        Yaml::Integer(number) => number.to_string(),
        Yaml::Boolean(boolean) => boolean.to_string(),
        Yaml::List(_) => "[]".to_owned(),
        Yaml::Map(_) => "{}".to_owned(),
    }
}

/// A text as it stands where nothing in it could be taken for something else, otherwise in quotes.
fn scalar(text: &str) -> String {
    let safe =
        |character: char| character.is_ascii_alphanumeric() || " _-./:${}()*+<>@=?&,;%'".contains(character);
    let starts = text.starts_with(|first: char| first.is_ascii_alphabetic() || "_/$.".contains(first));
    let plain = starts
        && text.chars().all(safe)
        && !text.contains(": ")
        && !text.contains(" #")
        && !text.ends_with([' ', ':'])
        && !is_word(text);
    if plain { text.to_owned() } else { quoted(text) }
}

/// What YAML 1.1 or 1.2 reads as something else than a text.
fn is_word(text: &str) -> bool {
    let words = ["true", "false", "yes", "no", "on", "off", "y", "n", "null", ".inf", ".nan"];
    words.contains(&text.to_ascii_lowercase().as_str())
}

/// In single quotes where that spares the escapes of a JSON text, otherwise in double ones, as JSON writes it.
fn quoted(text: &str) -> String {
    if text.contains('"') && !text.contains('\'') && !text.chars().any(char::is_control) {
        return format!("'{text}'");
    }
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_read_as_something_else_is_quoted() {
        for plain in [
            "tea-shop",
            "one, or two",
            "${orders.arn}",
            "aws:sqs:Queue",
            "arn:aws:s3:::x",
            "rate(5 minutes)",
            "$default",
        ] {
            assert_eq!(scalar(plain), plain);
        }
        let quoted = [
            "",
            "2012-10-17",
            "true",
            "OFF",
            "y",
            "*",
            "a: b",
            "a #b",
            "{x}",
            "- a",
            "1e3",
            "x:",
            "é",
            "a\nb",
        ];
        for text in quoted {
            assert_eq!(scalar(text), serde_json::Value::from(text).to_string());
        }
        assert_eq!(scalar(r#"{"a":1}"#), r#"'{"a":1}'"#);
    }

    #[test]
    fn maps_and_lists_nest() {
        let statement = Map::new().comment("why").with("Effect", "Allow").with("Action", ["a:b", "c:d"]);
        let map = Map::new()
            .with("name", "x")
            .with("empty", Map::new())
            .with("none", Vec::<Yaml>::new())
            .with("Statement", vec![statement, Map::new().with("Long", vec!["x".repeat(60); 2])])
            .with("nested", vec![vec![Yaml::from(Map::new().with("k", 1))]]);
        let long = "x".repeat(60);
        let expected = format!(
            "name: x\nempty: {{}}\nnone: []\nStatement:\n  # why\n  - Effect: Allow\n    Action: [a:b, c:d]\n  - Long:\n      \
             - {long}\n      - {long}\nnested:\n  -\n    - k: 1\n"
        );
        assert_eq!(document(&map), expected);
    }
}
