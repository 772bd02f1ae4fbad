//! Scenarios of the bucket.

use super::{
    Violation, scenarios,
    stage::{Stage, filled, holds, same, same_ids, together},
};
use crate::{
    limits::OBJECT_KEY_BYTES_MAX,
    port::{Bucket, PortError},
};
use std::sync::Arc;

pub(super) const BUCKET: &str = "objects";

scenarios!("bucket":
    an_object_is_written_once,
    of_several_writers_one_wins_whole,
    a_missing_object_is_none,
    an_empty_object_is_an_object,
    hostile_keys_stay_apart,
    a_key_over_the_limits_is_refused,
    pages_list_keys_in_the_order_of_their_bytes,
);

impl Stage<'_> {
    fn bucket(&self) -> Result<&Arc<dyn Bucket>, Violation> {
        Ok(self.ports.bucket(BUCKET)?)
    }

    /// All keys that begin with `prefix` behind `after`, in pages.
    async fn keys_of(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, Violation> {
        let (mut keys, mut after) = (Vec::new(), after.map(str::to_owned));
        for _ in 0..1_000 {
            let page = self.bucket()?.list(prefix, after.as_deref(), limit).await?;
            holds("a page is no longer than its limit", page.keys.len() <= limit, page.keys.len())?;
            keys.extend(page.keys);
            let Some(next) = page.next else { return Ok(keys) };
            same("the end of a page is its last key", &keys.last(), &Some(&next))?;
            holds("each page ends behind the one before it", after.is_none_or(|after| after < next), &next)?;
            after = Some(next);
        }
        Err(Violation::differs("the pages of a listing", "an end", "1,000 pages"))
    }
}

async fn an_object_is_written_once(stage: &Stage<'_>) -> Result<(), Violation> {
    let (bucket, key) = (stage.bucket()?, format!("{}/once.json", stage.tag));
    let body: Vec<u8> = (0..200_000_u32).map(|at| u8::try_from(at * 7 % 256).unwrap_or(0)).collect();
    same("writing a new object", &true, &bucket.put_if_absent(&key, body.clone()).await?)?;
    for other in [b"other".to_vec(), body.clone(), Vec::new()] {
        same("writing it again", &false, &bucket.put_if_absent(&key, other).await?)?;
        let found = bucket.get(&key).await?;
        holds(
            "an object keeps what was written first",
            found.as_ref() == Some(&body),
            found.map(|found| found.len()),
        )?;
    }
    Ok(())
}

async fn of_several_writers_one_wins_whole(stage: &Stage<'_>) -> Result<(), Violation> {
    for round in 0..4 {
        let key = format!("{}/race-{round}", stage.tag);
        let body = |contender: u8| vec![contender; 100_000 + usize::from(contender)];
        let contend = |contender: u8| {
            let (bucket, key, body) = (stage.bucket().cloned(), key.clone(), body(contender));
            async move { Ok::<_, Violation>(bucket?.put_if_absent(&key, body).await?) }
        };
        let answers: Vec<bool> =
            together((0..12).map(contend)).await?.into_iter().collect::<Result<_, _>>()?;
        let winners: Vec<u8> = (0..12).filter(|contender| answers[usize::from(*contender)]).collect();
        same("winners of 12 writers", &1, &winners.len())?;
        let found = stage.bucket()?.get(&key).await?;
        let expected = winners.first().map(|winner| body(*winner));
        let described = found.as_ref().map(|found| (found.len(), found.first()));
        holds("the object is the winner's, whole", found == expected, (described, winners))?;
    }
    Ok(())
}

async fn a_missing_object_is_none(stage: &Stage<'_>) -> Result<(), Violation> {
    let bucket = stage.bucket()?;
    let inside = format!("{}/folder/inside", stage.tag);
    bucket.put_if_absent(&inside, b"x".to_vec()).await?;
    // Neither part of a key is an object, nor is anything below one.
    for key in
        ["", "/folder", "/folder/", "/folder/insid", "/folder/inside/", "/folder/inside/x", "/Folder/inside"]
    {
        let key = format!("{}{key}", stage.tag);
        same(&format!("the object of {key:?}"), &None, &bucket.get(&key).await?)?;
    }
    same(
        "keys of a prefix that nothing has",
        &Vec::new(),
        &stage.keys_of(&format!("{}/none", stage.tag), None, 10).await?,
    )
}

async fn an_empty_object_is_an_object(stage: &Stage<'_>) -> Result<(), Violation> {
    let (bucket, key) = (stage.bucket()?, format!("{}/empty", stage.tag));
    same("writing an empty object", &true, &bucket.put_if_absent(&key, Vec::new()).await?)?;
    same("an empty object", &Some(Vec::new()), &bucket.get(&key).await?)?;
    same("writing over an empty object", &false, &bucket.put_if_absent(&key, b"x".to_vec()).await?)?;
    same("keys with an empty object", &vec![key.clone()], &stage.keys_of(&key, None, 10).await?)
}

/// Whether a key is one that an adapter may refuse: read from left to right, its `..` are more than the segments before
/// them, or it is white space alone.
fn may_be_refused(key: &str) -> bool {
    let mut depth = 0_i32;
    key.trim().is_empty()
        || key.split('/').any(|segment| {
            match segment {
                ".." => depth -= 1,
                "" | "." => {}
                _ => depth += 1,
            }
            depth < 0
        })
}

/// Keys with a meaning of their own to a file system. They can't be made the scenario's own: in a later run they are there
/// already, and hold the same.
const HOSTILE_KEYS: [&str; 23] = [
    ".",
    "..",
    "/",
    "//",
    "../../x",
    "/etc/passwd",
    "a",
    "a/",
    "a/b",
    "a//b",
    "a/./b",
    "a/../b",
    "CON",
    "con",
    "NUL.txt",
    " ",
    "\0",
    "\n",
    "~",
    "-",
    "C:\\x",
    "\\\\server\\share",
    ".tmp",
];

/// What may follow the scenario's own name, and is a key of its own with each.
const HOSTILE_ENDS: [&str; 43] = [
    "",
    "/",
    "//",
    "/.",
    "/..",
    "/../..",
    "/../../../../etc/passwd",
    "/a",
    "/a/",
    "/a/b",
    "/a//b",
    "/a/./b",
    "/A",
    "/CON",
    "/nul.txt",
    "/dot.",
    "/dots..",
    "/space ",
    "/ space",
    "/nul\0",
    "/nul\0x",
    "/line\n",
    "/return\r",
    "/é",
    "/e\u{301}",
    "/日本",
    "/😀",
    "/%2e%2e%2f",
    "/%2E%2E%2F",
    "/%",
    "/%%",
    "/%zz",
    "/+",
    "/a b",
    "/?x=1&y#z",
    "/'\"`$(x)",
    "/*",
    "/<>|",
    "/a:b",
    "/\\..\\x",
    "/\u{202e}",
    "/\u{feff}",
    "/\u{ffff}",
];

/// The hostile keys of a scenario: with every end, with what comes before it, and as long as a key may be.
fn hostile_keys_of(tag: &str) -> Vec<String> {
    let mut keys: Vec<String> = HOSTILE_ENDS.iter().map(|end| format!("{tag}{end}")).collect();
    keys.push(format!("../../{tag}"));
    keys.push(format!("/tmp/{tag}"));
    for filler in ["x", "%E2%82%AC", "€", "😀", "/x"] {
        let begin = format!("{tag}/long/");
        let room = OBJECT_KEY_BYTES_MAX - begin.len();
        keys.push(begin + &filler.repeat(room / filler.len()) + &"y".repeat(room % filler.len()));
    }
    keys
}

async fn hostile_keys_stay_apart(stage: &Stage<'_>) -> Result<(), Violation> {
    let (bucket, tag) = (stage.bucket()?, &stage.tag);
    let body = |key: &str| format!("the object of {key:?}").into_bytes();
    let is_refused = |key: &str, answer: &Result<bool, PortError>| {
        let permanently = answer.as_ref().is_err_and(|error| !error.is_transient());
        permanently && !stage.claims.every_key && may_be_refused(key)
    };
    let (mut there, mut written) = (Vec::new(), Vec::new());
    for key in HOSTILE_KEYS {
        let answer = bucket.put_if_absent(key, body(key)).await;
        if !is_refused(key, &answer) {
            answer?;
            there.push(key.to_owned());
        }
    }
    for key in hostile_keys_of(tag) {
        let answer = bucket.put_if_absent(&key, body(&key)).await;
        if !is_refused(&key, &answer) {
            same(&format!("writing {key:?}"), &true, &answer?)?;
            written.push(key);
        }
    }
    for key in there.iter().chain(&written) {
        let found = bucket.get(key).await?;
        let found = found.map(|found| String::from_utf8_lossy(&found).into_owned());
        same(&format!("the object of {key:?}"), &Some(format!("the object of {key:?}")), &found)?;
        let listed = stage.bucket()?.list(key, None, 1).await?;
        same(&format!("the first key that begins with {key:?}"), &vec![key.clone()], &listed.keys)?;
    }
    let mut expected: Vec<String> = written.into_iter().filter(|key| key.starts_with(tag)).collect();
    expected.sort_unstable();
    let listed = stage.keys_of(tag, None, 7).await?;
    same_ids("hostile keys, listed", expected.clone(), listed.clone())?;
    same("hostile keys in the order of their bytes", &expected, &listed)
}

async fn a_key_over_the_limits_is_refused(stage: &Stage<'_>) -> Result<(), Violation> {
    let bucket = stage.bucket()?;
    let of_size = |bytes: usize| filled(stage.tag.clone(), bytes);
    for key in [String::new(), of_size(OBJECT_KEY_BYTES_MAX + 1)] {
        let what = format!("writing an object with a key of {} bytes", key.len());
        super::queue::refused(&what, &bucket.put_if_absent(&key, b"x".to_vec()).await)?;
    }
    let longest = of_size(OBJECT_KEY_BYTES_MAX);
    same(
        "writing an object with a key of 1,024 bytes",
        &true,
        &bucket.put_if_absent(&longest, b"x".to_vec()).await?,
    )?;
    same("keys once two were refused", &vec![longest], &stage.keys_of(&stage.tag, None, 10).await?)
}

async fn pages_list_keys_in_the_order_of_their_bytes(stage: &Stage<'_>) -> Result<(), Violation> {
    let bucket = stage.bucket()?;
    let key = |name: &str| format!("{}/{name}", stage.tag);
    let mut keys: Vec<String> = (0..25).map(|at| key(&format!("p/{:02}", at * 7 % 25))).collect();
    // "p-" sorts before "p/", and "p0" behind it: a walk through folders must not tell otherwise.
    let beside = ["p", "p-/1", "p-", "p0", "p/03/x", "p/03-", "q/1"].map(key);
    keys.extend(beside);
    for key in &keys {
        bucket.put_if_absent(key, Vec::new()).await?;
    }
    keys.sort_unstable();
    for prefix in ["", "p", "p/", "p/0", "p/03", "q", "r"].map(key) {
        let expected: Vec<String> = keys.iter().filter(|key| key.starts_with(&prefix)).cloned().collect();
        for limit in [1, 7, expected.len().max(1), 1_000] {
            let listed = stage.keys_of(&prefix, None, limit).await?;
            same(&format!("keys of {prefix:?} in pages of {limit}"), &expected, &listed)?;
        }
        for after in ["a", "p/03", "p/030", "p/99", "z"].map(key) {
            let expected: Vec<String> = expected.iter().filter(|key| **key > after).cloned().collect();
            let listed = stage.keys_of(&prefix, Some(&after), 4).await?;
            same(&format!("keys of {prefix:?} behind {after:?}"), &expected, &listed)?;
        }
    }
    Ok(())
}
