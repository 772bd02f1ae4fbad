//! Rules of a bus, held against their own patterns as EventBridge reads them.

use crate::fuzzed;
use quadrille::{
    choreography::{Comparison, Match, Rule},
    port::BusEntry,
};
use serde_json::{Map, Value, json};

const SIGNS: [(&str, Comparison); 5] = [
    ("=", Comparison::Equal),
    (">", Comparison::Above),
    (">=", Comparison::AtLeast),
    ("<", Comparison::Below),
    ("<=", Comparison::AtMost),
];

/// A condition as a pattern has it; `None` for what no pattern has.
fn wanted(condition: &Value) -> Option<Match> {
    match condition {
        Value::String(text) => Some(Match::Text(text.clone())),
        Value::Bool(flag) => Some(Match::Flag(*flag)),
        Value::Object(one) => {
            let (name, value) = one.iter().next().filter(|_| one.len() == 1)?;
            match (name.as_str(), value) {
                ("prefix", Value::String(prefix)) => Some(Match::Prefix(prefix.clone())),
                ("anything-but", Value::Array(texts)) => Some(Match::AnythingBut(
                    texts.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
                )),
                ("exists", Value::Bool(exists)) => Some(Match::Exists(*exists)),
                ("numeric", Value::Array(terms)) => {
                    let bound = |pair: &[Value]| {
                        let sign = SIGNS.iter().find(|(sign, _)| pair[0].as_str() == Some(sign))?;
                        Some((sign.1, pair.get(1)?.as_f64()?))
                    };
                    Some(Match::Number(terms.chunks(2).map(bound).collect::<Option<_>>()?))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

fn add(rule: Rule, field: &str, conditions: &Value) -> Rule {
    let conditions = conditions.as_array().map(Vec::as_slice).unwrap_or_default();
    conditions.iter().filter_map(wanted).fold(rule, |rule, wanted| match field {
        "source" => rule.source(wanted),
        "detail-type" => rule.detail_type(wanted),
        field => rule.detail(field, wanted),
    })
}

/// Whether a value is so, as the User Guide of EventBridge has it.
fn is_so(condition: &Value, value: &Value) -> bool {
    if !condition.is_object() {
        return condition == value;
    }
    if let Some(prefix) = condition["prefix"].as_str() {
        return value.as_str().is_some_and(|text| text.starts_with(prefix));
    }
    if let Some(texts) = condition["anything-but"].as_array() {
        return !texts.contains(value);
    }
    if let Some(exists) = condition["exists"].as_bool() {
        return exists;
    }
    let terms = condition["numeric"].as_array().unwrap();
    value.as_f64().is_some_and(|number| {
        terms.chunks(2).all(|pair| {
            let bound = pair[1].as_f64().unwrap_or(f64::NAN);
            match pair[0].as_str().unwrap() {
                "=" => number == bound,
                ">" => number > bound,
                ">=" => number >= bound,
                "<" => number < bound,
                _ => number <= bound,
            }
        })
    })
}

/// All that stands in arrays within each other.
fn elements(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(inner) => inner.iter().flat_map(elements).collect(),
        other => vec![other],
    }
}

/// Whether a pattern takes an event, of which a field may be missing.
fn takes(pattern: &Value, event: Option<&Value>) -> bool {
    let all = event.map(elements).unwrap_or_default();
    match pattern {
        Value::Array(conditions) => {
            let values: Vec<&Value> = all.into_iter().filter(|value| !value.is_object()).collect();
            if values.is_empty() {
                return conditions.iter().any(|condition| condition["exists"] == json!(false));
            }
            values.iter().any(|value| conditions.iter().any(|condition| is_so(condition, value)))
        }
        Value::Object(fields) => {
            let of = |object: Option<&Map<String, Value>>| {
                fields.iter().all(|(name, wanted)| takes(wanted, object.and_then(|object| object.get(name))))
            };
            let objects: Vec<_> = all.into_iter().filter_map(Value::as_object).collect();
            if objects.is_empty() { of(None) } else { objects.into_iter().any(|object| of(Some(object))) }
        }
        _ => false,
    }
}

#[test]
fn a_rule_takes_what_its_pattern_takes_however_an_entry_is_written() {
    fuzzed("rule", |document| {
        let Ok(Value::Object(case)) = serde_json::from_slice(document) else { return false };
        let Some(rules) = case.get("rule").and_then(Value::as_object) else { return false };
        // Fields that are to be a value and an object at once are no rule: the check of a definition says so.
        let inner = |field: &str| rules.keys().any(|other| other.starts_with(&format!("{field}.")));
        if rules.keys().any(|field| inner(field)) {
            return false;
        }
        let rule = rules.iter().fold(Rule::new(), |rule, (field, conditions)| add(rule, field, conditions));
        let pattern: Value = serde_json::from_str(&rule.pattern()).unwrap();
        let text = |name: &str| case.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (source, detail_type, detail) = (text("source"), text("detail-type"), text("detail"));
        let read: Option<Value> = serde_json::from_str(&detail).ok();
        let entry = BusEntry { source, detail_type, detail };
        let matched = rule.matches(&entry);
        let event = json!({"source": entry.source, "detail-type": entry.detail_type, "detail": read});
        let is_object = read.as_ref().is_some_and(Value::is_object);
        // What is no JSON object no bus takes.
        if is_object {
            assert_eq!(matched, takes(&pattern, Some(&event)), "{pattern} of {event}");
            let again = BusEntry { detail: read.unwrap().to_string(), ..entry.clone() };
            assert_eq!(matched, rule.matches(&again), "written again: {again:?}");
        }
        match entry.clone().admitted("bus") {
            Ok(admitted) => assert!(is_object || entry.detail.contains(['{']), "{admitted:?}"),
            Err(error) => crate::fuzz::is_shown(&error.to_string(), 1_100),
        }
        matched
    });
}
