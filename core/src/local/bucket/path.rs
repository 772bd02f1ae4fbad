//! The path of an object, a reversible function of its key.
//!
//! A key is data and may be hostile; its path is made of names that every file system takes and that lead nowhere
//! but down. What is safe stays as it is, so `orders/order_20261120T091500Z_a%2Fb.json` is its own path. Beyond that:
//!
//! | in a key | in its path |
//! | --- | --- |
//! | a byte other than `A-Z a-z 0-9 - _ % + , @ ~ ! ( ) .` | `=XX`, its value in hexadecimal |
//! | a `.` at the start or end of a name, or in the name of a directory | `=2E` |
//! | the first letter of a name that Windows reserves (`CON`, `nul.txt`) | `=XX` |
//! | an empty name (`a//b`, `/a`, `a/`) | `=` |
//! | a last name without `.` | the name and `.=` |
//! | a name of more than 200 bytes | directories whose names end in `==`, each holding what follows |
//!
//! So the name of a file holds a `.` and the name of a directory does not: no object is in the way of another (`a`
//! and `a/b`). No encoded name begins with a `.`: the folder's own names do.
//!
//! Letters keep their case. On a file system that ignores it (macOS and Windows by default) two keys that differ in
//! case only are one object: the second put finds it there.

use std::path::PathBuf;

/// Longest encoded name before it is continued in a directory, in bytes: with its mark far enough below the 255 of
/// common file systems.
const NAME_BYTES_MAX: usize = 200;

/// Ends a file's name that has no `.` of its own.
const FILE_MARK: &str = ".=";

/// Ends a directory's name that is continued by the names in it.
const CONTINUED_MARK: &str = "==";

/// Stands for an empty name.
const EMPTY: &str = "=";

/// The path of the object `key`, relative to the bucket's folder.
pub(super) fn of(key: &str) -> PathBuf {
    let (directories, name) = key.rsplit_once('/').map_or((None, key), |(before, name)| (Some(before), name));
    // Most keys grow by nothing but the mark of a file.
    let mut path = PathBuf::with_capacity(key.len() + 8);
    if let Some(directories) = directories {
        push_directories(&mut path, directories);
    }
    push_name(&mut path, name.as_bytes(), true);
    path
}

/// The path of the directory that holds exactly the objects whose keys begin with `directories` and a `/`.
pub(super) fn of_directory(directories: &str) -> PathBuf {
    let mut path = PathBuf::new();
    push_directories(&mut path, directories);
    path
}

/// What the name of a file stands for: the end of a key. None where no object has such a name.
pub(super) fn file_name(name: &str) -> Option<Vec<u8>> {
    decode(name.strip_suffix(FILE_MARK).or_else(|| name.contains('.').then_some(name))?)
}

/// What the name of a directory stands for: a piece of the key, with the `/` that ends it unless it is continued.
/// None where no directory of ours has such a name.
pub(super) fn directory_name(name: &str) -> Option<Vec<u8>> {
    if name.contains('.') {
        return None;
    }
    if let Some(piece) = name.strip_suffix(CONTINUED_MARK) {
        return decode(piece);
    }
    let mut piece = decode(name)?;
    piece.push(b'/');
    Some(piece)
}

fn push_directories(path: &mut PathBuf, directories: &str) {
    for name in directories.split('/') {
        push_name(path, name.as_bytes(), false);
    }
}

/// Appends one name of a key: its continued pieces, then what is left of it.
fn push_name(path: &mut PathBuf, name: &[u8], is_file: bool) {
    let mut rest = name;
    let mut encoded = encode(rest, is_file);
    while encoded.len() > NAME_BYTES_MAX {
        let mut cut = rest.len().min(NAME_BYTES_MAX);
        let mut piece = encode(&rest[..cut], false);
        while piece.len() > NAME_BYTES_MAX {
            // No byte takes more than three: so many at least are too much.
            cut -= (piece.len() - NAME_BYTES_MAX).div_ceil(3);
            piece = encode(&rest[..cut], false);
        }
        piece.push_str(CONTINUED_MARK);
        path.push(piece);
        rest = &rest[cut..];
        encoded = encode(rest, is_file);
    }
    if is_file && !encoded.contains('.') {
        encoded.push_str(FILE_MARK);
    }
    path.push(encoded);
}

fn encode(name: &[u8], is_file: bool) -> String {
    const HEXADECIMAL: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = String::with_capacity(name.len() + FILE_MARK.len());
    let reserved = is_reserved(name);
    for (at, byte) in name.iter().copied().enumerate() {
        let plain = match byte {
            b'.' => is_file && at > 0 && at + 1 < name.len(),
            _ => is_plain(byte) && !(reserved && at == 0),
        };
        if plain {
            encoded.push(char::from(byte));
        } else {
            encoded.push('=');
            encoded.push(char::from(HEXADECIMAL[usize::from(byte >> 4)]));
            encoded.push(char::from(HEXADECIMAL[usize::from(byte & 15)]));
        }
    }
    if encoded.is_empty() {
        encoded.push_str(EMPTY);
    }
    encoded
}

fn decode(encoded: &str) -> Option<Vec<u8>> {
    if encoded == EMPTY {
        return Some(Vec::new());
    }
    let mut name = Vec::with_capacity(encoded.len());
    let mut bytes = encoded.bytes();
    while let Some(byte) = bytes.next() {
        name.push(match byte {
            b'=' => hexadecimal(bytes.next()?)? << 4 | hexadecimal(bytes.next()?)?,
            byte => byte,
        });
    }
    Some(name)
}

fn hexadecimal(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_%+,@~!()".contains(&byte)
}

/// Whether Windows takes the name, or what stands before its first `.`, for a device.
fn is_reserved(name: &[u8]) -> bool {
    let stem = name.split(|byte| *byte == b'.').next().unwrap_or_default();
    let is = |device: &[u8]| stem.eq_ignore_ascii_case(device);
    match stem.len() {
        3 => is(b"CON") || is(b"PRN") || is(b"AUX") || is(b"NUL"),
        4 => {
            let port = &stem[..3];
            stem[3].is_ascii_digit()
                && (port.eq_ignore_ascii_case(b"COM") || port.eq_ignore_ascii_case(b"LPT"))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{collections::BTreeSet, path::Component};

    fn path_of(key: &str) -> String {
        of(key).into_os_string().into_string().unwrap().replace('\\', "/")
    }

    /// The key of a path, name by name, as a listing finds it.
    fn key_of(path: &str) -> Option<String> {
        let mut key = Vec::new();
        let mut names = path.split('/').peekable();
        while let Some(name) = names.next() {
            key.extend(if names.peek().is_some() { directory_name(name)? } else { file_name(name)? });
        }
        String::from_utf8(key).ok()
    }

    #[test]
    fn ordinary_keys_are_their_own_paths() {
        for key in ["orders/order_20261120T091500Z_a%2Fb.json", "a.json", "2026/11/20/x-1_~@(2)+!,.tar.gz"] {
            assert_eq!(path_of(key), key);
        }
    }

    #[test]
    fn hostile_keys_lead_nowhere_but_down() {
        for (key, path) in [
            ("a", "a.="),
            ("a/b", "a/b.="),
            (".", "=2E.="),
            ("..", "=2E=2E.="),
            ("../../etc/passwd", "=2E=2E/=2E=2E/etc/passwd.="),
            ("/etc/passwd", "=/etc/passwd.="),
            ("a//b.json", "a/=/b.json"),
            ("a/", "a/=.="),
            ("/", "=/=.="),
            ("a.json/b", "a=2Ejson/b.="),
            (".partial/0", "=2Epartial/0.="),
            (".hidden.json", "=2Ehidden.json"),
            ("a.", "a=2E.="),
            ("a ", "a=20.="),
            ("c:\\a\0\n", "c=3A=5Ca=00=0A.="),
            ("con", "=63on.="),
            ("NUL.tar.gz", "=4EUL.tar.gz"),
            ("lpt1/COM0.txt", "=6Cpt1/=43OM0.txt"),
            ("CONSOLE", "CONSOLE.="),
            ("=2E", "=3D2E.="),
            ("a.=", "a.=3D"),
            ("é.json", "=C3=A9.json"),
        ] {
            assert_eq!(path_of(key), path, "{key:?}");
            assert_eq!(key_of(path).as_deref(), Some(key));
        }
    }

    #[test]
    fn a_long_name_is_continued_in_directories() {
        let name = "x".repeat(NAME_BYTES_MAX);
        assert_eq!(path_of(&name), format!("{name}.="));
        assert_eq!(path_of(&format!("{name}y")), format!("{name}==/y.="));
        assert_eq!(path_of(&format!("{name}y/z.json")), format!("{name}==/y/z.json"));
        // A character is cut in the middle where it has to be.
        let name = "é".repeat(512);
        assert_eq!(key_of(&path_of(&name)), Some(name));
    }

    fn keys() -> impl Strategy<Value = String> {
        let names = prop_oneof![
            4 => "[a-c]{0,2}",
            2 => r"[a-cA-C./= ]{0,4}",
            1 => r"(con|NUL|Com1|lpt9)(\.[a-z]{0,3})?",
            1 => "[a.é]{60,210}",
            1 => r"\PC{0,8}",
            1 => any::<String>(),
        ];
        let keys = proptest::collection::vec(names, 1..6).prop_map(|names| names.join("/"));
        keys.prop_filter("1 to 1,024 bytes", |key| (1..=1_024).contains(&key.len()))
    }

    proptest! {
        #[test]
        fn a_path_is_safe_and_gives_its_key_back(key in keys()) {
            let path = of(&key);
            for component in path.components() {
                let Component::Normal(name) = component else { panic!("{key:?}: {path:?}") };
                let name = name.to_str().unwrap();
                prop_assert!(name.len() <= 255 && name.is_ascii() && !name.starts_with('.') && !name.ends_with('.'));
                prop_assert!(!is_reserved(name.as_bytes()) && !name.bytes().any(|byte| b"\\:\0 ".contains(&byte)));
            }
            prop_assert_eq!(path.components().count(), path_of(&key).split('/').count());
            prop_assert_eq!(key_of(&path_of(&key)), Some(key));
        }

        #[test]
        fn no_path_is_in_the_way_of_another(keys in proptest::collection::btree_set(keys(), 2..20)) {
            let paths: BTreeSet<PathBuf> = keys.iter().map(|key| of(key)).collect();
            prop_assert_eq!(paths.len(), keys.len());
            for path in &paths {
                prop_assert!(path.ancestors().skip(1).all(|directory| !paths.contains(directory)), "{:?}", path);
            }
        }

        #[test]
        fn a_directory_holds_the_keys_that_begin_with_it(directories in keys(), name in keys()) {
            let key = format!("{directories}/{name}");
            prop_assert!(of(&key).starts_with(of_directory(&directories)));
        }
    }
}
