//! Rules of an event bus: which of its events reach a step.

use crate::{limits, port::BusEntry};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The attributes of an event's envelope, which is what an entry's detail holds.
const ATTRIBUTES: [&str; 13] = [
    "specversion",
    "id",
    "source",
    "type",
    "subject",
    "time",
    "traceparent",
    "correlationid",
    "notbefore",
    "deadline",
    "hops",
    "entitycreated",
    "data",
];

/// Which events of a bus reach a step: those of which every field that it names matches.
///
/// An entry of a bus has three parts. Its source is the name of the choreography, its detail type the event's type, and its
/// detail the whole envelope: what an event says of itself is in `data`. A rule that says nothing of the detail type takes the
/// events of the step's own type.
///
/// It is EventBridge's event pattern as plain data. On AWS the bus is given the [`pattern`](Self::pattern); everywhere else
/// [`matches`](Self::matches) decides by the same value.
///
/// ```
/// use quadrille::choreography::{Comparison, Match, Rule};
///
/// let rule = Rule::new()
///     .detail("data.country", "NO")
///     .detail("data.country", Match::Prefix("S".into()))                  // either of the two
///     .detail("data.weight", Match::number(Comparison::Above, 20.0));     // and this
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rule {
    source: Vec<Match>,
    detail_type: Vec<Match>,
    detail: BTreeMap<Vec<String>, Vec<Match>>,
}

/// What a field has to be.
///
/// Of an array it is enough that one element matches. A field that is missing, or holds an object, matches nothing but
/// `Exists(false)`.
#[derive(Clone, Debug, PartialEq)]
pub enum Match {
    /// This text.
    Text(String),
    /// True or false.
    Flag(bool),
    /// Text that begins with this.
    Prefix(String),
    /// Anything that is none of these texts.
    AnythingBut(Vec<String>),
    /// There, or not there.
    Exists(bool),
    /// A number that is within these bounds: one, or a lower and then an upper one.
    Number(Vec<(Comparison, f64)>),
}

/// How a number is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// It is equal.
    Equal,
    /// It is above.
    Above,
    /// It is equal or above.
    AtLeast,
    /// It is below.
    Below,
    /// It is equal or below.
    AtMost,
}

impl Comparison {
    fn sign(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::Above => ">",
            Self::AtLeast => ">=",
            Self::Below => "<",
            Self::AtMost => "<=",
        }
    }

    #[allow(clippy::float_cmp)] // EventBridge compares so as well.
    fn holds(self, number: f64, bound: f64) -> bool {
        match self {
            Self::Equal => number == bound,
            Self::Above => number > bound,
            Self::AtLeast => number >= bound,
            Self::Below => number < bound,
            Self::AtMost => number <= bound,
        }
    }
}

impl From<&str> for Match {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Match {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Match {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl Match {
    /// A number compared with one bound.
    pub fn number(comparison: Comparison, bound: f64) -> Self {
        Self::Number(vec![(comparison, bound)])
    }

    fn pattern(&self) -> Value {
        match self {
            Self::Text(text) => json!(text),
            Self::Flag(flag) => json!(flag),
            Self::Prefix(prefix) => json!({ "prefix": prefix }),
            Self::AnythingBut(texts) => json!({ "anything-but": texts }),
            Self::Exists(exists) => json!({ "exists": exists }),
            Self::Number(bounds) => {
                let terms =
                    bounds.iter().flat_map(|(comparison, bound)| [json!(comparison.sign()), written(*bound)]);
                json!({ "numeric": terms.collect::<Vec<_>>() })
            }
        }
    }

    /// Whether a value that is neither array nor object is so.
    fn takes(&self, value: &Value) -> bool {
        match self {
            Self::Text(text) => value.as_str() == Some(text),
            Self::Flag(flag) => value.as_bool() == Some(*flag),
            Self::Prefix(prefix) => value.as_str().is_some_and(|text| text.starts_with(prefix.as_str())),
            Self::AnythingBut(texts) => !texts.iter().any(|text| value.as_str() == Some(text)),
            Self::Exists(exists) => *exists,
            Self::Number(bounds) => value.as_f64().is_some_and(|number| {
                bounds.iter().all(|(comparison, bound)| comparison.holds(number, *bound))
            }),
        }
    }

    /// Why EventBridge would refuse it, or why nothing is ever so.
    fn problem(&self) -> Option<String> {
        match self {
            Self::Prefix(prefix) if prefix.is_empty() => Some("a prefix is empty".into()),
            Self::AnythingBut(texts) if texts.is_empty() => Some("`AnythingBut` of nothing".into()),
            Self::Number(bounds) => {
                use Comparison::{Above, AtLeast, AtMost, Below};
                let is_bounded = match bounds[..] {
                    [(_, bound)] => bound.is_finite(),
                    [(Above | AtLeast, lower), (Below | AtMost, upper)] => {
                        lower.is_finite() && upper.is_finite() && lower < upper
                    }
                    _ => false,
                };
                let why = "a number has one bound, or a lower one and then an upper one that is above it";
                (!is_bounded).then(|| why.into())
            }
            _ => None,
        }
    }
}

/// A bound as EventBridge reads it: whole where it is.
fn written(bound: f64) -> Value {
    let whole = format!("{bound:.0}").parse::<i64>().ok();
    #[allow(clippy::cast_precision_loss, clippy::float_cmp)] // Taken only where nothing is lost.
    let whole = whole.filter(|whole| *whole as f64 == bound);
    whole.map_or_else(|| json!(bound), |whole| json!(whole))
}

/// The fields of a rule as they stand in one another.
enum Field<'a> {
    Values(&'a [Match]),
    Object(BTreeMap<&'a str, Field<'a>>),
}

impl Field<'_> {
    fn pattern(&self) -> Value {
        match self {
            Self::Values(values) => values.iter().map(Match::pattern).collect(),
            Self::Object(fields) => Value::Object(
                fields.iter().map(|(name, field)| ((*name).to_owned(), field.pattern())).collect(),
            ),
        }
    }

    fn matches(&self, value: Option<&Value>) -> bool {
        let mut leaves = Vec::new();
        let is_object = matches!(self, Self::Object(_));
        value.into_iter().for_each(|value| flatten(value, is_object, &mut leaves));
        match self {
            Self::Values(values) => match leaves[..] {
                [] => values.contains(&Match::Exists(false)),
                _ => leaves.iter().any(|leaf| values.iter().any(|value| value.takes(leaf))),
            },
            // All fields are to be those of one element.
            Self::Object(fields) => {
                let of = |object: Option<&Map<String, Value>>| {
                    let field = |name: &str| object.and_then(|object| object.get(name));
                    fields.iter().all(|(name, wanted)| wanted.matches(field(name)))
                };
                if leaves.is_empty() { of(None) } else { leaves.iter().any(|leaf| of(leaf.as_object())) }
            }
        }
    }
}

/// What a field offers to be matched: the objects in it, or else all that is no object.
fn flatten<'a>(value: &'a Value, objects: bool, into: &mut Vec<&'a Value>) {
    match value {
        Value::Array(elements) => elements.iter().for_each(|element| flatten(element, objects, into)),
        other if other.is_object() == objects => into.push(other),
        _ => {}
    }
}

impl Rule {
    /// All events of the step's own type.
    pub fn new() -> Self {
        Self::default()
    }

    /// The source has to be so. Said more than once, one of them is enough; so it is with every field.
    #[must_use]
    pub fn source(mut self, is: impl Into<Match>) -> Self {
        self.source.push(is.into());
        self
    }

    /// The detail type has to be so.
    #[must_use]
    pub fn detail_type(mut self, is: impl Into<Match>) -> Self {
        self.detail_type.push(is.into());
        self
    }

    /// A field of the detail has to be so. Fields that stand in one another are joined by dots: `data.country`.
    #[must_use]
    pub fn detail(mut self, field: &str, is: impl Into<Match>) -> Self {
        self.detail.entry(field.split('.').map(str::to_owned).collect()).or_default().push(is.into());
        self
    }

    /// The rule, with events of this type where it says nothing of the detail type.
    pub(crate) fn or_type(mut self, event_type: &str) -> Self {
        if self.detail_type.is_empty() {
            self.detail_type.push(event_type.into());
        }
        self
    }

    /// The rule as EventBridge's event pattern, JSON.
    pub fn pattern(&self) -> String {
        Value::Object(
            self.fields().iter().map(|(name, field)| ((*name).to_owned(), field.pattern())).collect(),
        )
        .to_string()
    }

    /// Whether it takes an entry.
    pub fn matches(&self, entry: &BusEntry) -> bool {
        let (source, detail_type) = (json!(entry.source), json!(entry.detail_type));
        // Parsed only where it is looked at.
        let detail: Option<Value> =
            if self.detail.is_empty() { None } else { serde_json::from_str(&entry.detail).ok() };
        self.fields().into_iter().all(|(name, field)| {
            field.matches(match name {
                "source" => Some(&source),
                "detail-type" => Some(&detail_type),
                _ => detail.as_ref(),
            })
        })
    }

    /// Whether it takes an event of this type of which it knows nothing else.
    pub(crate) fn may_take(&self, choreography: &str, event_type: &str) -> bool {
        let text = |values: &Vec<Match>, text: &str| {
            values.is_empty() || Field::Values(values).matches(Some(&json!(text)))
        };
        let of_type = self.detail.get(&vec!["type".to_owned()]);
        text(&self.source, choreography)
            && text(&self.detail_type, event_type)
            && of_type.is_none_or(|values| text(values, event_type))
    }

    /// Why it can't match an event of this type; `None` where it can. `is_of_others` says that others publish to the bus,
    /// with sources, detail types and attributes of their own.
    pub(crate) fn problem(&self, choreography: &str, event_type: &str, is_of_others: bool) -> Option<String> {
        let all = self.source.iter().chain(&self.detail_type).chain(self.detail.values().flatten());
        if let Some(problem) = all.into_iter().find_map(Match::problem) {
            return Some(problem);
        }
        for field in self.detail.keys() {
            let inner = |other: &&Vec<String>| other.len() > field.len() && other.starts_with(field);
            if self.detail.keys().any(|other| inner(&other)) {
                return Some(format!("{:?} is to be a value, and an object with fields", field.join(".")));
            }
        }
        let bytes = self.pattern().len();
        if bytes > limits::BUS_PATTERN_BYTES_MAX {
            return Some(format!(
                "its pattern has {bytes} characters, a bus takes {}",
                limits::BUS_PATTERN_BYTES_MAX
            ));
        }
        if is_of_others {
            return None;
        }
        if !self.may_take(choreography, event_type) {
            return Some("it asks for another source or another type".into());
        }
        let is_known = |field: &str| ATTRIBUTES.contains(&field);
        let unknown = self.detail.iter().find(|(field, values)| {
            !field.first().is_some_and(|first| is_known(first)) && !values.contains(&Match::Exists(false))
        });
        unknown.map(|(field, _)| {
            let field = field.join(".");
            format!(
                "an envelope has no {field:?}: what an event says of itself is in `data`, as in {:?}",
                format!("data.{field}")
            )
        })
    }

    fn fields(&self) -> BTreeMap<&str, Field<'_>> {
        let mut fields = BTreeMap::new();
        for (name, values) in [("source", &self.source), ("detail-type", &self.detail_type)] {
            if !values.is_empty() {
                fields.insert(name, Field::Values(values));
            }
        }
        let mut detail = BTreeMap::new();
        for (path, values) in &self.detail {
            place(&mut detail, path, values);
        }
        if !detail.is_empty() {
            fields.insert("detail", Field::Object(detail));
        }
        fields
    }
}

/// Puts a field where its path says. A field that is a value and an object is a mistake of the definition.
fn place<'a>(fields: &mut BTreeMap<&'a str, Field<'a>>, path: &'a [String], values: &'a [Match]) {
    let Some((first, rest)) = path.split_first() else { return };
    if rest.is_empty() {
        fields.insert(first, Field::Values(values));
    } else if let Field::Object(inner) = fields.entry(first).or_insert_with(|| Field::Object(BTreeMap::new()))
    {
        place(inner, rest, values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(data: &Value) -> BusEntry {
        let detail = json!({ "type": "sent", "data": data }).to_string();
        BusEntry { source: "post".into(), detail_type: "sent".into(), detail }
    }

    #[track_caller]
    fn takes(rule: &Rule, taken: &[Value], left: &[Value]) {
        taken.iter().for_each(|data| assert!(rule.matches(&entry(data)), "{} {data}", rule.pattern()));
        left.iter().for_each(|data| assert!(!rule.matches(&entry(data)), "{} {data}", rule.pattern()));
    }

    #[test]
    fn a_rule_is_written_as_the_pattern_of_eventbridge() {
        let rule = Rule::new()
            .source("post")
            .detail_type(Match::Prefix("letter.".into()))
            .detail("data.to.country", "NO")
            .detail("data.to.country", Match::AnythingBut(vec!["SE".into()]))
            .detail("data.weight", Match::Number(vec![(Comparison::AtLeast, 0.5), (Comparison::Below, 20.0)]))
            .detail("data.fragile", true)
            .detail("subject", Match::Exists(true));
        let expected = json!({
            "source": ["post"],
            "detail-type": [{"prefix": "letter."}],
            "detail": {
                "data": {
                    "to": {"country": ["NO", {"anything-but": ["SE"]}]},
                    "weight": [{"numeric": [">=", 0.5, "<", 20]}],
                    "fragile": [true],
                },
                "subject": [{"exists": true}],
            },
        });
        assert_eq!(serde_json::from_str::<Value>(&rule.pattern()).unwrap(), expected);
    }

    #[test]
    fn every_field_has_to_match_and_of_a_field_one_of_its_values() {
        let rule =
            Rule::new().or_type("sent").detail("data.a", "x").detail("data.a", "y").detail("data.b", true);
        let (taken, left) = (json!({"a": "y", "b": true}), json!({"a": "y", "b": false}));
        takes(&rule, &[taken], &[left, json!({"a": "z", "b": true}), json!({"a": "x"})]);
        assert!(
            !rule.matches(&BusEntry { detail_type: "lost".into(), ..entry(&json!({"a": "x", "b": true})) })
        );
    }

    #[test]
    fn a_missing_field_matches_only_what_is_not_to_be_there() {
        let without = [json!({}), json!({"a": []}), json!({"a": {"b": 1}})];
        let with = [json!({"a": null}), json!({"a": "x"}), json!({"a": [1]})];
        takes(&Rule::new().detail("data.a", Match::Exists(false)), &without, &with);
        takes(&Rule::new().detail("data.a", Match::Exists(true)), &with, &without);
        takes(&Rule::new().detail("data.a", Match::AnythingBut(vec!["y".into()])), &with, &without);
        takes(
            &Rule::new().detail("data.a.b", Match::Exists(false)),
            &[json!(1), json!({"a": 1})],
            &[json!({"a": {"b": 1}})],
        );
    }

    #[test]
    fn a_number_is_compared_as_one_and_a_text_is_none() {
        let within = Rule::new()
            .detail("data.n", Match::Number(vec![(Comparison::Above, 1.0), (Comparison::AtMost, 3.0)]));
        takes(
            &within,
            &[json!({"n": 1.5}), json!({"n": 3})],
            &[json!({"n": 1}), json!({"n": 3.5}), json!({"n": "2"})],
        );
        takes(
            &Rule::new().detail("data.n", Match::number(Comparison::Equal, 300.0)),
            &[json!({"n": 3.0e2})],
            &[json!({"n": 301})],
        );
    }

    #[test]
    fn one_element_of_an_array_is_enough_and_has_to_match_alone() {
        takes(&Rule::new().detail("data.a", "x"), &[json!({"a": ["y", ["x"]]})], &[json!({"a": ["y"]})]);
        let both = Rule::new().detail("data.l.a", "x").detail("data.l.b", "y");
        takes(&both, &[json!({"l": [{"a": "x", "b": "y"}]})], &[json!({"l": [{"a": "x"}, {"b": "y"}]})]);
    }
}
