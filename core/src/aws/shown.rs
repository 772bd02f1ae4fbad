//! Fields of an entity's state that a table shows as attributes of their own, beside the document.

use aws_sdk_dynamodb::types::AttributeValue;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::{BTreeMap, HashMap};

/// Digits that a number of DynamoDB has at most.
const DIGITS_MAX: usize = 38;

/// A value as DynamoDB has it. Written as JSON, it is as DynamoDB takes it: `{"L":[{"S":"text"}]}`.
#[derive(Debug, PartialEq, Serialize)]
pub(super) enum Shown {
    S(String),
    N(String),
    #[serde(rename = "BOOL")]
    Bool(bool),
    #[serde(rename = "NULL")]
    Null(bool),
    L(Vec<Shown>),
    M(BTreeMap<String, Shown>),
}

impl Shown {
    /// Its bytes as DynamoDB counts them: text in UTF-8, two digits of a number a byte and one more, three bytes of a list or a
    /// map and one of each thing in it.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::S(text) => text.len(),
            Self::N(digits) => digits.len() / 2 + 2,
            Self::Bool(_) | Self::Null(_) => 1,
            Self::L(values) => 3 + values.iter().map(|value| value.size() + 1).sum::<usize>(),
            Self::M(fields) => {
                3 + fields.iter().map(|(name, value)| name.len() + value.size() + 1).sum::<usize>()
            }
        }
    }
}

impl From<&Shown> for AttributeValue {
    fn from(shown: &Shown) -> Self {
        match shown {
            Shown::S(text) => Self::S(text.clone()),
            Shown::N(digits) => Self::N(digits.clone()),
            Shown::Bool(truth) => Self::Bool(*truth),
            Shown::Null(_) => Self::Null(true),
            Shown::L(values) => Self::L(values.iter().map(Self::from).collect()),
            Shown::M(fields) => {
                Self::M(fields.iter().map(|(name, value)| (name.clone(), value.into())).collect())
            }
        }
    }
}

/// The fields `names` of the state in `document`; those that it has not, and those that are null, are left out. Numbers stay as
/// they are written, as far as DynamoDB has such; others are text.
///
/// # Errors
/// The document is none of an entity whose state has fields.
pub(super) fn of(document: &str, names: &[String]) -> Result<Vec<(String, Shown)>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Document<'a> {
        #[serde(borrow)]
        state: HashMap<String, &'a RawValue>,
    }
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let Document { state } = serde_json::from_str(document)?;
    let shown = |name: &String| Some((name.clone(), state.get(name).filter(|value| value.get() != "null")?));
    names.iter().filter_map(shown).map(|(name, value)| Ok((name, read(value)?))).collect()
}

fn read(value: &RawValue) -> Result<Shown, serde_json::Error> {
    let text = value.get();
    Ok(match text.as_bytes().first() {
        Some(b'"') => Shown::S(serde_json::from_str(text)?),
        Some(b'[') => {
            let values: Vec<&RawValue> = serde_json::from_str(text)?;
            Shown::L(values.into_iter().map(read).collect::<Result<_, _>>()?)
        }
        Some(b'{') => {
            let fields: HashMap<String, &RawValue> = serde_json::from_str(text)?;
            Shown::M(
                fields.into_iter().map(|(name, value)| Ok((name, read(value)?))).collect::<Result<_, _>>()?,
            )
        }
        Some(b't' | b'f') => Shown::Bool(serde_json::from_str(text)?),
        Some(b'n') | None => Shown::Null(true),
        Some(_) => {
            let has_exponent = text.contains(['e', 'E']);
            let digits = text.bytes().filter(u8::is_ascii_digit).count();
            let fits = !has_exponent && digits <= DIGITS_MAX;
            if fits { Shown::N(text.to_owned()) } else { Shown::S(text.to_owned()) }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_shown_as_they_are_written() {
        let names = ["id", "items", "total", "big", "far", "gone", "absent", "done"].map(str::to_owned);
        let document = r#"{"state":{"id":"ä\n","items":[{"name":"x","price":1.50,"no":null}],"total":10.00,
            "big":123456789012345678901234567890123456789,"far":1e3,"gone":null,"done":true,"other":1},"trail":[]}"#;
        let shown = of(document, &names).unwrap();
        let json = serde_json::to_string(&shown.into_iter().collect::<BTreeMap<_, _>>()).unwrap();
        let expected = [
            r#"{"big":{"S":"123456789012345678901234567890123456789"},"done":{"BOOL":true},"far":{"S":"1e3"},"#,
            r#""id":{"S":"ä\n"},"items":{"L":[{"M":{"name":{"S":"x"},"no":{"NULL":true},"price":{"N":"1.50"}}}]},"#,
            r#""total":{"N":"10.00"}}"#,
        ];
        assert_eq!(json, expected.concat());
        assert!(of("[]", &names).is_err());
        assert_eq!(of("[]", &[]).unwrap(), []);
    }
}
