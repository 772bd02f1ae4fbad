//! As much of Rust as the rules need: what of a file is code, what of the code is tests, and where a name stands in it.

/// The code of a file: comments and the insides of strings are spaces, so that every byte is where it was.
pub fn code(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end =
            if matches!(bytes[at], b'/' | b'"' | b'\'' | b'b' | b'r') { skipped(bytes, at) } else { at };
        blank(&mut code, at, end);
        at = end.max(at + 1);
    }
    String::from_utf8(code).unwrap()
}

/// Code in which the tests are spaces.
pub fn without_tests(code: &str) -> String {
    let mut bytes = code.as_bytes().to_vec();
    let mut done = 0;
    let next = |from: usize| {
        let marks = ["#[cfg(test)]", "#[cfg(all(test,"];
        marks.iter().filter_map(|mark| code[from..].find(mark)).min().map(|at| from + at)
    };
    while let Some(at) = next(done) {
        done = at + item_end(&code[at..]);
        blank(&mut bytes, at, done);
    }
    String::from_utf8(bytes).unwrap()
}

/// Where `name` stands as a whole path, or as the beginning of one: `rand::` is in `rand::rng()` and not in `operand::x`.
pub fn places(code: &str, name: &str) -> Vec<usize> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let starts_a_word = |at: usize| !name.starts_with(is_part) || !code[..at].ends_with(is_part);
    code.match_indices(name).map(|(at, _)| at).filter(|at| starts_a_word(*at)).collect()
}

/// The bytes of an item from its first attribute to its end: a `;`, or the brace that closes it.
pub fn item_end(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            b';' if depth == 0 => return at + 1,
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 && byte == b'}' {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    code.len()
}

fn blank(bytes: &mut [u8], from: usize, to: usize) {
    for byte in bytes[from..to].iter_mut().filter(|byte| **byte != b'\n') {
        *byte = b' ';
    }
}

/// Where the comment, string or character ends that begins at `at`; `at` where none does.
fn skipped(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let in_a_word = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    let length = match rest {
        [b'/', b'/', ..] => rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => block_comment(rest),
        [b'"', ..] => string(rest),
        [b'r', b'#' | b'"', ..] if !in_a_word => raw_string(&rest[1..]).map_or(0, |length| length + 1),
        [b'b', b'r', b'#' | b'"', ..] if !in_a_word => raw_string(&rest[2..]).map_or(0, |length| length + 2),
        [b'\'', ..] => character(rest),
        _ => 0,
    };
    at + length
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn string(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != b'"' {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// From the hashes on; none where it is a raw identifier.
fn raw_string(rest: &[u8]) -> Option<usize> {
    let hashes = rest.iter().take_while(|byte| **byte == b'#').count();
    let body = rest.get(hashes..)?.strip_prefix(b"\"")?;
    let end = [b"\"".as_slice(), &rest[..hashes]].concat();
    let length = body.windows(end.len()).position(|window| window == end).unwrap_or(body.len());
    Some((hashes + 1 + length + end.len()).min(rest.len()))
}

/// A character, and not a lifetime: that has no second quote.
fn character(rest: &[u8]) -> usize {
    let first = match std::str::from_utf8(&rest[1..rest.len().min(5)]) {
        Ok(text) => text.chars().next(),
        Err(cut) => {
            std::str::from_utf8(&rest[1..1 + cut.valid_up_to()]).ok().and_then(|text| text.chars().next())
        }
    };
    match first {
        Some('\\') => {
            let body = rest.iter().skip(3).position(|byte| *byte == b'\'');
            body.map_or(0, |length| 3 + length + 1)
        }
        Some(first) if rest.get(1 + first.len_utf8()) == Some(&b'\'') => first.len_utf8() + 2,
        _ => 0,
    }
}

#[test]
fn neither_comments_nor_strings_nor_characters_are_code() {
    let text = r###"a /* b /* c */ d */ "e \" f" g // h
        r#"i " j"# k b"l" r"m" '"' n '\'' o: &'p str br##"q"# r"## 'é' s '\u{7d}'"###;
    let words: Vec<String> = code(text).split_whitespace().map(str::to_owned).collect();
    assert_eq!(words.join(" "), "a g k b n o: &'p str s");
    assert_eq!(code(text).len(), text.len());
}

#[test]
fn tests_are_no_part_of_the_product() {
    let text =
        "fn a() {}\n#[cfg(test)]\n#[allow(x)]\nmod tests { fn b() { c() } }\n#[cfg(test)]\nuse d;\nfn e() {}";
    let product = without_tests(text);
    assert_eq!(product.split_whitespace().collect::<Vec<_>>().join(" "), "fn a() {} fn e() {}");
}

#[test]
fn a_name_is_found_where_it_begins_a_word() {
    assert_eq!(places("operand::x rand::y ::rand::z", "rand::"), [11, 21]);
    assert_eq!(places("x.send(y) resend(z)", ".send("), [1]);
}
