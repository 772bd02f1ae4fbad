//! The outbox as an item holds it: the events as they are, or, where that spares write units, shortened.
//!
//! Most of an event's envelope stands in the item already: key, times, trace, correlation id, and much of its data. An
//! order that tells its own fields in an event may have 1.4 KB with the event as it is, and 1 KB without what is there twice.
//! So it costs one write unit in place of two. So does the commit after it, as DynamoDB charges the larger of the item before
//! and after. Nothing is compressed that would not spare a unit.
//!
//! The first byte tells the format: [`AS_IS`] or [`SHORTENED_1`]. In the latter, where a [`PIECE`] stands, three digits follow:
//! the place (two) and the length (one) of a piece of the [words](words), which stands there instead. Any other text stands
//! for itself. A format that differs in anything, the skeleton included, takes another first byte; readers have to know it
//! one deployment before it is written, for old and new run side by side.

/// The format of an outbox as it is: an array.
const AS_IS: u8 = b'[';

/// The first format of a shortened outbox.
const SHORTENED_1: u8 = b'~';

/// A piece of the words. No digit.
const PIECE: u8 = b'~';

/// What envelopes are made of. Part of [`SHORTENED_1`]: what is in flight during a deployment is read with it.
const SKELETON: &str = "\"notbefore\":\"\",\"deadline\":\"\",\"hops\":1,[{\"specversion\":\"1.0\",\"id\":\"\",\"source\":\"/\",\
    \"type\":\"\",\"subject\":\"\",\"time\":\"\",\"traceparent\":\"00-\",\"correlationid\":\"\",\"entitycreated\":\"\",\
    \"data\":{\"";

/// Digits: characters that neither JSON nor a log escapes.
const DIGITS: usize = 90;

/// The shortest piece worth the four bytes that stand for it.
const PIECE_MIN: usize = 6;

/// The longest piece: one digit tells its length.
const PIECE_MAX: usize = PIECE_MIN + DIGITS - 1;

/// How far into the words a piece may begin: two digits tell.
const PLACES: usize = DIGITS * DIGITS;

/// Bytes of an item in one write unit.
const UNIT: usize = 1_024;

fn digit(value: usize) -> u8 {
    // From '#', past the backslash.
    let byte = b'#' + u8::try_from(value).unwrap_or(0);
    if byte >= b'\\' { byte + 1 } else { byte }
}

fn value(digit: u8) -> Option<usize> {
    let value = match digit {
        b'#'..=b'[' => digit - b'#',
        b']'..=b'}' => digit - b'#' - 1,
        _ => return None,
    };
    Some(usize::from(value))
}

/// What both sides know: what envelopes are made of, the item's key and its document.
fn words(key: &str, document: &str) -> Vec<u8> {
    let mut words = [SKELETON, key, document].concat().into_bytes();
    words.truncate(PLACES + PIECE_MAX);
    words
}

/// The outbox of an item that has `bytes` with it as it is: shortened if that spares a write unit.
pub(super) fn shortened(outbox: String, bytes: usize, key: &str, document: &str) -> String {
    let rest = bytes.saturating_sub(outbox.len());
    // With less than this of it, a unit is spared.
    let goal = (bytes.div_ceil(UNIT).saturating_sub(1) * UNIT).saturating_sub(rest);
    // It never gets shorter than an eighth.
    if goal < outbox.len() / 8 {
        return outbox;
    }
    match shorten(&outbox, &words(key, document)) {
        Some(short) if short.len() <= goal => short,
        _ => outbox,
    }
}

fn shorten(outbox: &str, words: &[u8]) -> Option<String> {
    const SLOTS: usize = 4_096;
    let slot = |piece: &[u8]| {
        let mix = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        (piece.iter().fold(0x811c_9dc5, mix) >> 20) as usize
    };
    // One place of each beginning, the first; no place is the end of the words.
    let end = u16::try_from(words.len()).ok()?;
    let mut places = [end; SLOTS];
    for (place, piece) in (0..end).zip(words.windows(PIECE_MIN)).take(PLACES).rev() {
        places[slot(piece)] = place;
    }
    let text = outbox.as_bytes();
    let mut short = vec![SHORTENED_1];
    let mut at = 0;
    while at < text.len() {
        if let Some(piece) = text.get(at..at + PIECE_MIN) {
            let place = usize::from(places[slot(piece)]);
            let common = text[at..].iter().zip(&words[place..]).take_while(|(one, other)| one == other);
            let mut length = common.take(PIECE_MAX).count();
            // What stands for itself must stay text.
            while length > 0 && !outbox.is_char_boundary(at + length) {
                length -= 1;
            }
            if length >= PIECE_MIN {
                let digits = [place / DIGITS, place % DIGITS, length - PIECE_MIN].map(digit);
                short.push(PIECE);
                short.extend(digits);
                at += length;
                continue;
            }
        }
        if text[at] == PIECE {
            // It can't stand for itself: such an outbox is left as it is.
            return None;
        }
        short.push(text[at]);
        at += 1;
    }
    String::from_utf8(short).ok()
}

/// The outbox as it is, whether it was shortened or not: only then `beside` is asked for the item's key and document. `None` where it makes no sense, or has a format of a later version.
pub(super) fn restored<'a>(
    outbox: &str,
    beside: impl FnOnce() -> Option<(&'a str, &'a str)>,
) -> Option<String> {
    match outbox.as_bytes().split_first()? {
        (&AS_IS, _) => Some(outbox.to_owned()),
        (&SHORTENED_1, short) => {
            let (key, document) = beside()?;
            lengthened(short, key, document)
        }
        _ => None,
    }
}

/// The outbox whose text behind [`SHORTENED_1`] is `short`.
fn lengthened(mut short: &[u8], key: &str, document: &str) -> Option<String> {
    let words = words(key, document);
    let mut text = Vec::with_capacity(short.len() * 4);
    while let Some((first, rest)) = short.split_first() {
        if *first != PIECE {
            text.push(*first);
            short = rest;
            continue;
        }
        let (digits, rest) = rest.split_first_chunk::<3>()?;
        let [high, low, length] = digits.map(value);
        let place = high? * DIGITS + low?;
        text.extend(words.get(place..place + length? + PIECE_MIN)?);
        short = rest;
    }
    String::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const KEY: &str = "order/unique_id_000001";
    const DOCUMENT: &str = r#"{"state":{"order_id":"unique_id_000001","parameter_1":"é€😀 abc"},"trail":{"entries":[{"at":"2026-11-20T15:01:15.799Z","what":"received","by":"take_order"}]},"correlation_id":"f28cc24513e0e02610bce1fe790dae94"}"#;
    const OUTBOX: &str = r#"[{"specversion":"1.0","id":"order/unique_id_000001@1.3.0","source":"/shop/take_order","type":"shop.order.taken","subject":"unique_id_000001","time":"2026-11-20T15:01:15.799Z","correlationid":"f28cc24513e0e02610bce1fe790dae94","data":{"order_id":"unique_id_000001","parameter_1":"é€😀 abd"}}]"#;

    #[test]
    fn digits_are_read_as_they_are_written() {
        for number in 0..DIGITS {
            assert_eq!(value(digit(number)), Some(number));
            assert!(digit(number).is_ascii_graphic() && !br#"~"\"#.contains(&digit(number)), "{number}");
        }
        for other in [b'"', b'\\', b'~', b' ', 0x80] {
            assert_eq!(value(other), None);
        }
    }

    #[test]
    fn an_outbox_is_shortened_only_where_that_spares_a_write_unit() {
        let short = shortened(OUTBOX.to_owned(), 1_100, KEY, DOCUMENT);
        assert!(short.starts_with('~') && short.len() < OUTBOX.len() / 2, "{short}");
        assert_eq!(restored(&short, || Some((KEY, DOCUMENT))).as_deref(), Some(OUTBOX));
        for bytes in [OUTBOX.len(), 1_024, 1_024 + OUTBOX.len(), 2_048] {
            assert_eq!(shortened(OUTBOX.to_owned(), bytes, KEY, DOCUMENT), OUTBOX, "{bytes}");
        }
        assert_eq!(restored(OUTBOX, || None).as_deref(), Some(OUTBOX));
    }

    #[test]
    fn every_text_is_restored() {
        let long = DOCUMENT.repeat(60);
        let texts = [
            "",
            "[]",
            "é€😀",
            "[\"ééééééé\"]",
            &DOCUMENT[20..],
            &long,
            &SKELETON[5..90],
            &SKELETON.repeat(3),
        ];
        for document in [DOCUMENT, "{}", "", &long, &format!("é{DOCUMENT}")] {
            let words = words(KEY, document);
            for text in texts {
                let short = shorten(text, &words).unwrap();
                assert_eq!(
                    restored(&short, || Some((KEY, document))).as_deref(),
                    Some(text),
                    "{text:?} {document:?}"
                );
            }
        }
        assert_eq!(shorten("[\"~\"]", &words(KEY, DOCUMENT)), None);
    }

    #[test]
    fn what_makes_no_sense_is_not_restored() {
        for outbox in ["~~", "~~##", "~~\"##", "~~}}}", "~~ ###"] {
            assert_eq!(restored(outbox, || Some((KEY, DOCUMENT))), None, "{outbox}");
        }
    }

    #[test]
    fn a_format_of_a_later_version_is_refused() {
        for outbox in ["", "!~##$", "{\"events\":[]}", " []"] {
            assert_eq!(restored(outbox, || Some((KEY, DOCUMENT))), None, "{outbox:?}");
        }
    }

    #[test]
    fn an_outbox_that_version_1_shortened_is_read() {
        let fixture: BTreeMap<String, String> =
            serde_json::from_str(include_str!("../../tests/fixtures/outbox.v1.json")).unwrap();
        let (outbox, events) = (&fixture["outbox"], &fixture["events"]);
        assert!(outbox.as_bytes()[0] == SHORTENED_1 && outbox.len() < events.len() / 2, "{outbox}");
        assert_eq!(restored(outbox, || Some((&fixture["key"], &fixture["document"]))).as_ref(), Some(events));
    }
}
