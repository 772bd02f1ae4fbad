//! The parameters of a route's path, and an address of them that every server in between hands over alike.
//!
//! An HTTP API of API Gateway decodes a path before a function sees it: public captures show every escape decoded but `%25`,
//! and the path cut at a decoded `?`. So a value beside unreserved characters may arrive as another one. A segment `-`
//! therefore takes its value from the query instead, in hexadecimal digits, which nothing on the way decodes or cuts.

use crate::{http::Problem, percent::ALL_BUT_UNRESERVED};
use percent_encoding::{percent_decode_str, utf8_percent_encode};
use std::collections::BTreeMap;

/// The segment whose value stands in the query.
const ELSEWHERE: &str = "-";

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// The name of the parameter that a segment of a route's path stands for; `None` where the segment is fixed.
pub(crate) fn parameter(segment: &str) -> Option<&str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

/// The address of a route with these parameters, path and query, which is the same one whatever decodes it on its way. A
/// value of unreserved characters stands in its place in the path. In the place of another stands `-`, and the value in
/// the query: the bytes of its UTF-8 in hexadecimal digits, as `NAME.hex`.
///
/// ```
/// use quadrille::http::address;
/// assert_eq!(address("/orders/{id}", |_| "o-1"), "/orders/o-1");
/// assert_eq!(address("/orders/{id}/cancel", |_| "a?b"), "/orders/-/cancel?id.hex=613f62");
/// ```
pub fn address<'a>(template: &str, value: impl Fn(&str) -> &'a str) -> String {
    let mut query = String::new();
    let mut segments = Vec::new();
    for segment in template.split('/') {
        let given = parameter(segment).map(|name| (name, value(name)));
        segments.push(match given {
            Some((_, value)) if is_plain(value) => value,
            Some((name, value)) => {
                query.push(if query.is_empty() { '?' } else { '&' });
                query.push_str(name);
                query.push_str(".hex=");
                let digit = |half: u8| char::from(DIGITS[usize::from(half)]);
                query.extend(value.bytes().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]));
                ELSEWHERE
            }
            None => segment,
        });
    }
    segments.join("/") + &query
}

/// Whether a value can stand in a path, whatever reads it: neither encoded, nor a step of a path, nor [`ELSEWHERE`].
fn is_plain(value: &str) -> bool {
    let is_unreserved = utf8_percent_encode(value, ALL_BUT_UNRESERVED).eq([value]);
    is_unreserved && !matches!(value, "." | ".." | ELSEWHERE)
}

/// The form of the addresses of a route whose path has parameters, for who has to be told of it.
pub(crate) fn form(template: &str) -> String {
    let names: Vec<&str> = template.split('/').filter_map(parameter).collect();
    let segments: Vec<&str> =
        template.split('/').map(|segment| parameter(segment).map_or(segment, |_| ELSEWHERE)).collect();
    format!("{}?{}.hex=HEX", segments.join("/"), names.join(".hex=HEX&"))
}

/// The parameters of a path and its query where the path matches `template`, decoded. `None` where it does not, or where a
/// parameter is empty or no UTF-8.
///
/// # Errors
/// The problem to answer with, 400, where a value that the query has to tell is not told in hexadecimal digits, or twice.
pub(crate) fn matched(
    template: &str,
    path: &str,
    query: &str,
) -> Result<Option<BTreeMap<String, String>>, Problem> {
    let (mut wanted, mut segments) = (template.split('/'), path.split('/'));
    let mut found = BTreeMap::new();
    loop {
        match (wanted.next(), segments.next()) {
            (None, None) => break,
            (Some(wanted), Some(segment)) => match parameter(wanted) {
                Some(name) => {
                    found.insert(name, segment);
                }
                None if wanted == segment => {}
                None => return Ok(None),
            },
            _ => return Ok(None),
        }
    }
    let mut parameters = BTreeMap::new();
    for (name, segment) in found {
        let told = if segment == ELSEWHERE { elsewhere(template, name, query)? } else { None };
        let decoded = || percent_decode_str(segment).decode_utf8().ok().map(Into::into);
        let Some(value) = told.or_else(decoded).filter(|value| !value.is_empty()) else { return Ok(None) };
        parameters.insert(name.to_owned(), value);
    }
    Ok(Some(parameters))
}

/// The value that a query tells of this parameter; `None` where it tells none.
fn elsewhere(template: &str, name: &str, query: &str) -> Result<Option<String>, Problem> {
    let mut told = query
        .split('&')
        .filter_map(|field| field.strip_prefix(name)?.strip_prefix(".hex")?.strip_prefix('='));
    let Some(digits) = told.next() else { return Ok(None) };
    match (unhex(digits), told.next()) {
        (Some(value), None) => Ok(Some(value)),
        _ => Err(Problem::new(
            400,
            "unreadable_address",
            format_args!(
                "HEX of {} is told once, in pairs of hexadecimal digits: the bytes of the value's UTF-8",
                form(template)
            ),
        )),
    }
}

fn unhex(digits: &str) -> Option<String> {
    let digit = |digit: &u8| char::from(*digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let digits: Vec<u8> = digits.as_bytes().iter().map(digit).collect::<Option<_>>()?;
    let pairs = digits.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    String::from_utf8(pairs.map(|pair| pair[0] << 4 | pair[1]).collect()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(template: &str, address: &str) -> Option<BTreeMap<String, String>> {
        let (path, query) = address.split_once('?').unwrap_or((address, ""));
        matched(template, path, query).unwrap()
    }

    #[test]
    fn a_value_that_a_query_has_to_tell_is_told_once_and_in_whole_bytes() {
        for wrong in
            ["id.hex=6", "id.hex=zz", "id.hex=ff", "id.hex=61&id.hex=61", "id.hex=%36%31", "id.hex=+61"]
        {
            let problem = matched("/orders/{id}", "/orders/-", wrong).unwrap_err();
            assert_eq!(problem.status, 400, "{wrong}");
            assert!(problem.detail.contains("/orders/-?id.hex=HEX"), "{}", problem.detail);
        }
        // Nothing of the query counts where the path does not send there.
        for (address, id) in [("/orders/-", "-"), ("/orders/-?ids.hex=61", "-"), ("/orders/a?id.hex=62", "a")]
        {
            assert_eq!(read("/orders/{id}", address).unwrap()["id"], id, "{address}");
        }
        assert_eq!(read("/orders/{id}", "/orders/-?id.hex="), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn an_address_leads_to_exactly_the_values_it_is_of(
            one in "[a-c%?/#+&=~ü\\.\\-25 ]{1,6}|\\PC{1,4}",
            other in "[a-c%?/#+&=~ü\\.\\-25 ]{1,6}",
        ) {
            let template = "/orders/{id}/items/{item}";
            let address = address(template, |name| if name == "id" { &one } else { &other });
            let found = read(template, &address).unwrap();
            prop_assert_eq!((&found["id"], &found["item"]), (&one, &other));
            let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/?&=".contains(&byte);
            prop_assert!(address.bytes().all(unreserved), "{}", address);
        }
    }
}
