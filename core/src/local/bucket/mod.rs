//! Bucket: objects as files in a folder, to be read with any other program.
//!
//! ```text
//! folder/orders/order_1.json   the object `orders/order_1.json`; see `path` for keys that are no such names
//! folder/.partial/             bodies of objects that are not yet whole; emptied when the bucket is opened
//! ```
//!
//! An object is durable when its put is answered, and is never seen in part, also after a power loss. A reader may see
//! it a moment earlier than that.

mod listing;
mod path;
mod writer;

use super::{place::Place, private};
use crate::{
    limits::OBJECT_KEY_BYTES_MAX,
    port::{Bucket, ObjectPage, PortError, stable_hash},
};
use async_trait::async_trait;
use std::{
    fs,
    io::{self, ErrorKind, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
};
use tokio::{
    sync::{mpsc, oneshot},
    task,
};
use writer::{Put, Writer};

/// Largest object: 16 MiB. Ours: an object passes through memory as a whole.
const OBJECT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Most keys a page of a listing holds (S3).
const PAGE_KEYS_MAX: usize = 1_000;

/// Threads that write. One prepares files while the other waits for the disk; more were no faster on two cores.
const WRITERS: usize = 2;

/// Puts that wait for one writer at most; further callers wait to hand theirs over.
const WAITING_MAX: usize = 1_024;

/// The bodies of objects that are not yet whole. No path of an object begins with a `.`.
const PARTIAL: &str = ".partial";

/// A bucket in a folder that no other process writes to. Dropping it waits until its writers have finished what they
/// were given.
#[derive(Debug)]
pub(crate) struct LocalBucket {
    name: String,
    folder: PathBuf,
    /// Where the folder was when it was opened; none where it was not there.
    place: Option<Arc<Place>>,
    writers: Vec<mpsc::Sender<Put>>,
    threads: Vec<JoinHandle<()>>,
}

impl LocalBucket {
    /// Opens the bucket in `folder`, creating it where it is missing, and removes what was left half written. The last
    /// name of `folder` is the bucket's name in errors. Blocks while it does so.
    ///
    /// # Errors
    /// Where the folder can't be created, read or written, or a thread can't be started.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let folder = std::path::absolute(folder)?;
        create(&folder)?;
        private::check_way(&folder, &folder)?;
        let partial = folder.join(PARTIAL);
        match fs::remove_dir_all(&partial) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let place = Arc::new(Place::of_folder(folder.clone())?);
        let mut bucket = Self::over(folder, Some(Arc::clone(&place)));
        for number in 0..WRITERS {
            let partial = partial.join(number.to_string());
            let writer =
                Writer::new(bucket.name.clone(), bucket.folder.clone(), partial, Arc::clone(&place))?;
            let (sender, receiver) = mpsc::channel(WAITING_MAX);
            let thread = thread::Builder::new().name(format!("bucket-{number}"));
            bucket.threads.push(thread.spawn(move || writer.run(receiver))?);
            bucket.writers.push(sender);
        }
        Ok(bucket)
    }

    /// The bucket in `folder` as it is, to be read: a put is refused, and what is missing stays so.
    ///
    /// # Errors
    /// Where `folder` can't be read.
    pub(crate) fn open_existing(folder: &Path) -> io::Result<Self> {
        let folder = std::path::absolute(folder)?;
        let place = match Place::of_folder(folder.clone()) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            place => Some(Arc::new(place?)),
        };
        Ok(Self::over(folder, place))
    }

    fn over(folder: PathBuf, place: Option<Arc<Place>>) -> Self {
        Self { name: name(&folder), folder, place, writers: Vec::new(), threads: Vec::new() }
    }

    fn check_key(&self, key: &str) -> Result<(), PortError> {
        if (1..=OBJECT_KEY_BYTES_MAX).contains(&key.len()) {
            return Ok(());
        }
        let detail = format_args!("a key of {} bytes; 1 to {OBJECT_KEY_BYTES_MAX} are allowed", key.len());
        Err(PortError::permanent(&self.name, detail))
    }

    /// The writer of a key: always the same one.
    fn writer(&self, key: &str) -> Option<&mpsc::Sender<Put>> {
        let count = u64::try_from(self.writers.len()).unwrap_or(u64::MAX);
        let number = stable_hash(key.as_bytes()).checked_rem(count)?;
        self.writers.get(usize::try_from(number).unwrap_or_default())
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, PortError> {
        let place = self.place.clone();
        let work = move || {
            // One that was removed would look as though there never was an object.
            place.map_or(Ok(()), |place| place.check())?;
            work()
        };
        match task::spawn_blocking(work).await {
            Ok(done) => done.map_err(|error| refused(&self.name, &error)),
            Err(error) => Err(PortError::transient(&self.name, error)),
        }
    }
}

fn name(folder: &Path) -> String {
    folder.file_name().map_or_else(|| "bucket".into(), |name| name.to_string_lossy().into_owned())
}

#[async_trait]
impl Bucket for LocalBucket {
    async fn put_if_absent(&self, key: &str, body: Vec<u8>) -> Result<bool, PortError> {
        self.check_key(key)?;
        if body.len() > OBJECT_BYTES_MAX {
            let detail =
                format_args!("an object of {} bytes; at most {OBJECT_BYTES_MAX} are allowed", body.len());
            return Err(PortError::permanent(&self.name, detail));
        }
        let read_only = || PortError::permanent(&self.name, "the data folder is open to be read only");
        let writer = self.writer(key).ok_or_else(read_only)?;
        let stopped = || PortError::transient(&self.name, "the writer has stopped");
        let (answer, answered) = oneshot::channel();
        let put = Put { path: self.folder.join(path::of(key)), body, answer };
        writer.send(put).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }

    async fn takes_objects(&self) -> Result<(), PortError> {
        self.blocking(|| Ok(())).await
    }

    /// The object, if there is one of at most 16 MiB; a permanent error where it is larger.
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, PortError> {
        self.check_key(key)?;
        let (folder, path) = (self.folder.clone(), self.folder.join(path::of(key)));
        let body = self.blocking(move || read(&folder, &path)).await?;
        match body {
            Some(body) if body.len() > OBJECT_BYTES_MAX => {
                let detail = format_args!("the object is over the limit of {OBJECT_BYTES_MAX} bytes");
                Err(PortError::permanent(&self.name, detail))
            }
            body => Ok(body),
        }
    }

    /// Reads, for each page, every directory that may hold keys of it as a whole.
    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<ObjectPage, PortError> {
        if !(1..=PAGE_KEYS_MAX).contains(&limit) {
            let detail = format_args!("a page of {limit} keys; 1 to {PAGE_KEYS_MAX} are allowed");
            return Err(PortError::permanent(&self.name, detail));
        }
        let (folder, prefix, after) = (self.folder.clone(), prefix.to_owned(), after.map(str::to_owned));
        self.blocking(move || listing::list(&folder, &prefix, after.as_deref(), limit)).await
    }
}

impl Drop for LocalBucket {
    fn drop(&mut self) {
        // A writer ends when it has answered all and its channel is closed.
        self.writers.clear();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!(bucket = %self.name, "a writer of the bucket panicked");
            }
        }
    }
}

/// A file's content, one byte more than an object may have at most.
fn read(folder: &Path, path: &Path) -> io::Result<Option<Vec<u8>>> {
    let opened = private::check_way(folder, path.parent().unwrap_or(folder))
        .and_then(|()| private::file().read(true).open(path));
    let file = match opened {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let limit = u64::try_from(OBJECT_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let length = usize::try_from(file.metadata()?.len().min(limit)).unwrap_or_default();
    let mut body = Vec::with_capacity(length);
    file.take(limit).read_to_end(&mut body)?;
    Ok(Some(body))
}

/// Creates the folder and what is missing above it, durably.
fn create(folder: &Path) -> io::Result<()> {
    let missing = folder.ancestors().take_while(|above| !above.exists()).count();
    private::make_folder(folder)?;
    // The folder's own name too: a process that was killed may have created it unflushed.
    folder.ancestors().skip(1).take(missing.max(1)).try_for_each(private::flush_directory)
}

/// An error of the file system. What is wrong with the path itself stays; all else may pass: space can be made.
fn refused(name: &str, error: &io::Error) -> PortError {
    match error.kind() {
        ErrorKind::InvalidFilename => PortError::permanent(name, error),
        _ => PortError::transient(name, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::join_all;
    use std::{collections::BTreeSet, sync::Arc};

    fn files(folder: &Path) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.extend(files(&path));
            } else {
                found.insert(path.to_str().unwrap().to_owned());
            }
        }
        found
    }

    async fn all(bucket: &LocalBucket, prefix: &str, limit: usize) -> Vec<String> {
        let mut keys = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = bucket.list(prefix, after.as_deref(), limit).await.unwrap();
            assert!(page.keys.len() <= limit);
            keys.extend(page.keys);
            if page.next.is_none() {
                return keys;
            }
            after = page.next;
            assert_eq!(after.as_ref(), keys.last());
        }
    }

    #[tokio::test]
    async fn an_object_is_written_once_and_outlives_the_bucket() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("deep/results");
        let key = "orders/order_20261120T091500Z_a%2Fb.json";
        let bucket = LocalBucket::open(&folder).unwrap();
        assert_eq!(bucket.get(key).await, Ok(None));
        assert_eq!(bucket.put_if_absent(key, b"one".to_vec()).await, Ok(true));
        assert_eq!(bucket.put_if_absent(key, b"two".to_vec()).await, Ok(false));
        assert_eq!(fs::read(folder.join(key)).unwrap(), b"one");
        drop(bucket);

        let bucket = LocalBucket::open(&folder).unwrap();
        assert_eq!(bucket.put_if_absent(key, b"three".to_vec()).await, Ok(false));
        assert_eq!(bucket.get(key).await.unwrap().unwrap(), b"one");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn of_concurrent_puts_one_wins() {
        let root = tempfile::tempdir().unwrap();
        let bucket = Arc::new(LocalBucket::open(root.path()).unwrap());
        let puts = (0..400_u32).map(|number| {
            let bucket = Arc::clone(&bucket);
            tokio::spawn(async move {
                let key = format!("{}/{}.json", number % 5, number % 20);
                (
                    key.clone(),
                    number,
                    bucket.put_if_absent(&key, number.to_string().into_bytes()).await.unwrap(),
                )
            })
        });
        let mut won = BTreeSet::new();
        for put in join_all(puts).await {
            let (key, number, new) = put.unwrap();
            if new {
                assert_eq!(bucket.get(&key).await.unwrap().unwrap(), number.to_string().into_bytes());
                assert!(won.insert(key));
            }
        }
        assert_eq!(won.len(), 20);
        assert_eq!(all(&bucket, "", 7).await, won.into_iter().collect::<Vec<_>>());
        assert!(files(&root.path().join(PARTIAL)).is_empty());
    }

    #[tokio::test]
    async fn hostile_keys_stay_inside_and_are_told_apart() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("bucket");
        let bucket = LocalBucket::open(&folder).unwrap();
        let long = "é/".repeat(341);
        let longer = "..".repeat(512);
        let mut keys = vec![
            ".",
            "..",
            "../a",
            "../../a",
            "/",
            "//",
            "/etc/passwd",
            "a",
            "a/",
            "a//",
            "a/b",
            "a/b/c",
            "a.json",
            "a.json/b",
            "a.json/b.json",
            "a\\b",
            "a\0b",
            "c:",
            "CON",
            "con",
            "nul.txt",
            "a ",
            "a.",
            ".a",
            "=",
            "=2E",
            "a=",
            ".partial/0/0",
            "\u{202e}",
            "é",
            "~",
            "*",
            "?",
            "\n",
            &long,
            &longer,
        ];
        let puts = keys.iter().map(|key| bucket.put_if_absent(key, key.as_bytes().to_vec()));
        assert!(join_all(puts).await.into_iter().all(|put| put == Ok(true)));
        for key in &keys {
            assert_eq!(bucket.get(key).await.unwrap().as_deref(), Some(key.as_bytes()), "{key:?}");
        }
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
        assert_eq!(files(&folder).len(), keys.len());
        keys.sort_unstable();
        assert_eq!(all(&bucket, "", 1_000).await, keys);
        assert_eq!(all(&bucket, "", 1).await, keys);
        for key in ["".to_owned(), "x".repeat(1_025)] {
            assert!(!bucket.put_if_absent(&key, Vec::new()).await.unwrap_err().is_transient());
            assert!(!bucket.get(&key).await.unwrap_err().is_transient());
        }
    }

    #[tokio::test]
    async fn a_listing_is_in_the_order_of_keys_and_not_of_paths() {
        let root = tempfile::tempdir().unwrap();
        let bucket = LocalBucket::open(root.path()).unwrap();
        // Names around the length at which they are continued in a directory interleave with their neighbours.
        let long =
            (195..205).flat_map(|length| ["", "!", ".", "a", "é", "/b"].map(|end| "x".repeat(length) + end));
        let short = ["a", "a!", "a-", "a.json", "a/b", "a/b.json", "a/b/c", "a0", "aé", "b/1", "b/10", "b/2"];
        let mut keys: Vec<String> = long.chain(short.map(str::to_owned)).collect();
        keys.sort_unstable();
        keys.dedup();
        join_all(keys.iter().map(|key| bucket.put_if_absent(key, Vec::new()))).await;
        for limit in [1, 3, 1_000] {
            for prefix in
                ["", "a", "a/", "a/b", "b/1", "x", &"x".repeat(201), "é", "c/", "a//", &"a".repeat(2_000)]
            {
                let expected: Vec<_> = keys.iter().filter(|key| key.starts_with(prefix)).collect();
                assert_eq!(
                    all(&bucket, prefix, limit).await.iter().collect::<Vec<_>>(),
                    expected,
                    "{prefix:?}"
                );
            }
        }
        let page = bucket.list("a", Some("a/"), 2).await.unwrap();
        assert_eq!(
            (page.keys, page.next),
            (vec!["a/b".to_owned(), "a/b.json".into()], Some("a/b.json".into()))
        );
        assert!(bucket.list("", None, 0).await.is_err() && bucket.list("", None, 1_001).await.is_err());
    }

    #[tokio::test]
    async fn what_was_left_half_written_or_is_not_ours_is_no_object() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join(".partial/0")).unwrap();
        fs::write(root.path().join(".partial/0/0"), "half of an obj").unwrap();
        fs::write(root.path().join(".DS_Store"), "").unwrap();
        fs::write(root.path().join("=61.json"), "not the path of a.json").unwrap();
        fs::write(root.path().join("README"), "").unwrap();
        let bucket = LocalBucket::open(root.path()).unwrap();
        assert_eq!(all(&bucket, "", 10).await, Vec::<String>::new());
        assert!(files(&root.path().join(PARTIAL)).is_empty());
        assert_eq!(bucket.put_if_absent("a.json", b"a".to_vec()).await, Ok(true));
        assert_eq!(all(&bucket, "", 10).await, ["a.json"]);
    }

    #[tokio::test]
    async fn an_error_goes_to_its_caller_and_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let bucket = LocalBucket::open(root.path()).unwrap();
        // A file in the place of a directory stands for any refusal of the file system.
        fs::write(root.path().join("refused"), "").unwrap();
        let keys: Vec<String> =
            (0..20).map(|number| format!("{}/{number}", ["taken", "refused"][number % 2])).collect();
        let puts = join_all(keys.iter().map(|key| bucket.put_if_absent(key, Vec::new()))).await;
        for (key, put) in keys.iter().zip(puts) {
            match key.starts_with("taken") {
                true => assert_eq!(put, Ok(true)),
                false => assert!(put.unwrap_err().is_transient()),
            }
        }
        assert!(files(&root.path().join(PARTIAL)).is_empty());
        fs::remove_file(root.path().join("refused")).unwrap();
        assert_eq!(bucket.put_if_absent("refused/1", Vec::new()).await, Ok(true));
        assert_eq!(all(&bucket, "refused", 10).await, ["refused/1"]);
    }

    #[tokio::test]
    async fn an_object_is_bounded_in_both_directions() {
        let root = tempfile::tempdir().unwrap();
        let bucket = LocalBucket::open(root.path()).unwrap();
        let error = bucket.put_if_absent("large", vec![0; OBJECT_BYTES_MAX + 1]).await.unwrap_err();
        assert!(!error.is_transient());
        let file = fs::File::create(root.path().join("larger.bin")).unwrap();
        file.set_len(1 << 40).unwrap();
        assert!(!bucket.get("larger.bin").await.unwrap_err().is_transient());
    }

    #[tokio::test]
    async fn dropping_finishes_what_was_given() {
        let root = tempfile::tempdir().unwrap();
        let bucket = LocalBucket::open(root.path()).unwrap();
        for number in 0..50 {
            let key = number.to_string();
            // Polled once: handed over, and its caller gone.
            let put = bucket.put_if_absent(&key, Vec::new());
            let _ = tokio::time::timeout(std::time::Duration::ZERO, put).await;
        }
        drop(bucket);
        let bucket = LocalBucket::open(root.path()).unwrap();
        assert_eq!(all(&bucket, "", 1_000).await.len(), 50);
    }

    #[tokio::test]
    async fn a_directory_that_was_removed_is_made_again() {
        let root = tempfile::tempdir().unwrap();
        let bucket = LocalBucket::open(root.path()).unwrap();
        assert_eq!(bucket.put_if_absent("a/b/1", Vec::new()).await, Ok(true));
        fs::remove_dir_all(root.path().join("a")).unwrap();
        assert_eq!(bucket.put_if_absent("a/b/1", Vec::new()).await, Ok(true));
        assert_eq!(all(&bucket, "a/", 10).await, ["a/b/1"]);
    }

    /// A folder that somebody prepared, with a link in it that leads out.
    #[cfg(unix)]
    #[tokio::test]
    async fn no_link_leads_out_of_the_bucket() {
        use std::os::unix::fs::symlink;
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("secret.json"), "theirs").unwrap();
        fs::create_dir(outside.path().join("deep")).unwrap();
        let bucket = LocalBucket::open(&root.path().join("bucket")).unwrap();
        let folder = root.path().join("bucket");
        symlink(outside.path(), folder.join("out")).unwrap();
        symlink(outside.path().join("secret.json"), folder.join("file.json")).unwrap();
        for key in ["out/new.json", "out/deep/new.json", "out/made/new.json"] {
            bucket.put_if_absent(key, b"x".to_vec()).await.unwrap_err();
        }
        // A name that is taken is taken, whatever has it.
        assert_eq!(bucket.put_if_absent("file.json", b"x".to_vec()).await, Ok(false));
        for key in ["out/secret.json", "file.json"] {
            bucket.get(key).await.unwrap_err();
        }
        bucket.list("out/", None, 10).await.unwrap_err();
        assert_eq!(bucket.list("", None, 10).await.unwrap().keys, [""; 0]);
        let mut left: Vec<_> =
            fs::read_dir(outside.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["deep", "secret.json"]);
        assert_eq!(fs::read_dir(outside.path().join("deep")).unwrap().count(), 0);
        assert_eq!(fs::read(outside.path().join("secret.json")).unwrap(), b"theirs");
        drop(bucket);
        symlink(outside.path(), root.path().join("linked")).unwrap();
        LocalBucket::open(&root.path().join("linked")).unwrap_err();
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_listing_leaves_out_what_can_not_be_read_and_shows_the_rest() {
        use std::os::unix::fs::{PermissionsExt as _, chown};
        let root = tempfile::tempdir().unwrap();
        let bucket = LocalBucket::open(root.path()).unwrap();
        for key in ["a/1", "b/1", "b/deep/2", "c/1"] {
            assert_eq!(bucket.put_if_absent(key, Vec::new()).await, Ok(true));
        }
        let damaged = root.path().join("b");
        fs::set_permissions(&damaged, fs::Permissions::from_mode(0o000)).unwrap();
        // For root, whom permissions do not keep out.
        let _ = chown(&damaged, Some(12_345), None);
        for limit in [1, 10] {
            assert_eq!(all(&bucket, "", limit).await, ["a/1", "c/1"]);
        }
        bucket.list("b/", None, 10).await.unwrap_err();
        fs::set_permissions(&damaged, fs::Permissions::from_mode(0o700)).unwrap();
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn objects_are_their_owners_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let root = tempfile::tempdir().unwrap();
        let bucket = LocalBucket::open(&root.path().join("bucket")).unwrap();
        bucket.put_if_absent("a/b/c.json", b"x".to_vec()).await.unwrap();
        let mode = |path: &str| fs::metadata(root.path().join(path)).unwrap().permissions().mode() & 0o777;
        for folder in ["bucket", "bucket/.partial", "bucket/.partial/0", "bucket/a", "bucket/a/b"] {
            assert_eq!(mode(folder), 0o700, "{folder}");
        }
        assert_eq!(mode("bucket/a/b/c.json"), 0o600);
    }
}
