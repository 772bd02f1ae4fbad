//! Which build made a tape: its version, its commit, and what it was built with.

use quadrille::port::stable_hash;
use serde_json::{Value, json};
use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

/// The most that is read of a file: a lock file has some hundred kilobytes.
const READ_MAX: u64 = 16 << 20;

/// The most of git's files.
const REFERENCE_MAX: u64 = 4 << 20;

/// What is known of this build, where it is run in its folder: its version, its commit, and a hash of its lock file.
pub fn identity() -> Value {
    let folder = std::env::current_dir().unwrap_or_default();
    let lock = above(&folder, "Cargo.lock").and_then(|path| read(&path, READ_MAX));
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "commit": above(&folder, ".git").and_then(|git| commit(&git)),
        "lock": lock.map(|text| format!("{:016x}", stable_hash(text.as_bytes()))),
    })
}

/// The file or folder of this name, here or in a folder above.
fn above(folder: &Path, name: &str) -> Option<PathBuf> {
    folder.ancestors().map(|folder| folder.join(name)).find(|path| path.exists())
}

fn read(path: &Path, most: u64) -> Option<String> {
    let mut text = String::new();
    fs::File::open(path).ok()?.take(most).read_to_string(&mut text).ok()?;
    Some(text)
}

/// The commit that is checked out.
fn commit(git: &Path) -> Option<String> {
    // In a worktree it is a file that says where.
    let folder = if git.is_dir() {
        git.to_owned()
    } else {
        git.parent()?.join(read(git, REFERENCE_MAX)?.strip_prefix("gitdir:")?.trim())
    };
    let head = read(&folder.join("HEAD"), REFERENCE_MAX)?;
    let Some(name) = head.trim().strip_prefix("ref: ") else { return hash(&head) };
    let common = read(&folder.join("commondir"), REFERENCE_MAX);
    let common = common.map_or_else(|| folder.clone(), |common| folder.join(common.trim()));
    let loose = [&folder, &common].iter().find_map(|folder| read(&folder.join(name), REFERENCE_MAX));
    loose.and_then(|text| hash(&text)).or_else(|| {
        let packed = read(&common.join("packed-refs"), REFERENCE_MAX)?;
        let line = packed.lines().find(|line| line.split_once(' ').is_some_and(|(_, of)| of == name))?;
        hash(line.split_once(' ')?.0)
    })
}

/// A hash of git's, and nothing else.
fn hash(text: &str) -> Option<String> {
    let text = text.trim();
    let is_one = matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_one.then(|| text.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // In a test a panic is the assertion.
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn a_commit_is_found_on_a_branch_packed_or_not_detached_and_in_a_worktree() {
        let folder = tempfile::tempdir().unwrap();
        let git = folder.path().join(".git");
        fs::create_dir_all(git.join("refs/heads")).unwrap();
        fs::write(git.join("HEAD"), format!("{COMMIT}\n")).unwrap();
        assert_eq!(commit(&git).as_deref(), Some(COMMIT));
        fs::write(git.join("HEAD"), "ref: refs/heads/main\n").unwrap();
        assert_eq!(commit(&git), None);
        fs::write(git.join("packed-refs"), format!("# pack-refs\n{COMMIT} refs/heads/main\n")).unwrap();
        assert_eq!(commit(&git).as_deref(), Some(COMMIT));
        let other = COMMIT.replace('0', "f");
        fs::write(git.join("refs/heads/main"), &other).unwrap();
        assert_eq!(commit(&git), Some(other.clone()));
        let worktree = folder.path().join("worktree");
        fs::create_dir_all(git.join("worktrees/one")).unwrap();
        fs::create_dir_all(&worktree).unwrap();
        fs::write(git.join("worktrees/one/HEAD"), "ref: refs/heads/main\n").unwrap();
        fs::write(git.join("worktrees/one/commondir"), "../..\n").unwrap();
        fs::write(worktree.join(".git"), "gitdir: ../.git/worktrees/one\n").unwrap();
        assert_eq!(commit(&worktree.join(".git")), Some(other));
        fs::write(git.join("refs/heads/main"), "\u{1b}[31mno hash").unwrap();
        assert_eq!(commit(&git).as_deref(), Some(COMMIT), "what is no hash is not believed");
    }
}
