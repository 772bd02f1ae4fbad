//! The platform where there is none: its decisions are a function of a seed.

use super::{Answer, AuctionPlatform, Decision, PLATFORM_GARBAGE, SubmittedOrder, run_segment};
use async_trait::async_trait;
use quadrille::{
    Failure, Wire,
    decimal::Decimal,
    port::{Bucket, stable_hash},
};
use std::{fmt, sync::Arc};

/// A platform that decides by seed and order, so that one order is decided alike in every run, process and machine.
///
/// It remembers what it was given in a bucket and nowhere else: one object for every page and content, with the ids
/// of its orders. So it outlives its process, and is the same to every invocation of a Lambda. An object that expires
/// takes its decisions along.
#[derive(Clone)]
pub struct SimulatedPlatform {
    bucket: Arc<dyn Bucket>,
    seed: u64,
    not_ready: u32,
    wire: Wire,
}

impl fmt::Debug for SimulatedPlatform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedPlatform")
            .field("seed", &self.seed)
            .field("not_ready", &self.not_ready)
            .finish_non_exhaustive()
    }
}

impl SimulatedPlatform {
    /// A platform that keeps its memory in `bucket`, decides by `seed` (see [`decide`]), and answers the first
    /// `not_ready` asks of every run with "not ready".
    pub fn new(bucket: Arc<dyn Bucket>, seed: u64, not_ready: u32) -> Self {
        Self { bucket, seed, not_ready, wire: Wire::direct() }
    }

    /// The same, asked over this wire.
    #[must_use]
    pub fn over(self, wire: Wire) -> Self {
        Self { wire, ..self }
    }
}

#[async_trait]
impl AuctionPlatform for SimulatedPlatform {
    async fn submit(&self, run_id: &str, page: u32, orders: &[SubmittedOrder]) -> Result<(), Failure> {
        let prefix = prefix(run_id)?;
        let ids: Vec<&str> = orders.iter().map(|order| order.record_id.as_str()).collect();
        let body = serde_json::to_vec(&ids)
            .map_err(|error| Failure::permanent("unwritable", format_args!("page {page}: {error}")))?;
        // The content's hash is in the key, so a repeated page is the same object, and a changed one another.
        let key = format!("{prefix}{page:08}-{:016x}.json", stable_hash(&body));
        let what = format!("submit {run_id} {page} {}", String::from_utf8_lossy(&body));
        let put = async { Ok(self.bucket.put_if_absent(&key, body).await?) };
        self.wire.call(what, put).await?;
        Ok(())
    }

    async fn results(&self, run_id: &str, polls: u32, after: Option<&str>) -> Result<Answer, Failure> {
        let what = format!("results {run_id} {}", after.unwrap_or_default());
        self.wire.call(what, self.told(run_id, polls, after)).await
    }
}

impl SimulatedPlatform {
    /// What it answers to who asks for results.
    async fn told(&self, run_id: &str, polls: u32, after: Option<&str>) -> Result<Answer, Failure> {
        let prefix = prefix(run_id)?;
        match after {
            Some(token) if !is_page(&prefix, token) => {
                return Err(Failure::permanent(
                    "platform_refused",
                    "the page token belongs to no page of this run",
                ));
            }
            // A token is proof of results.
            Some(_) => {}
            None if polls < self.not_ready => return Ok(Answer::NotReady),
            None => {}
        }
        let listed = self.bucket.list(&prefix, after, 1).await?;
        let Some(key) = listed.keys.into_iter().next() else {
            return Ok(Answer::Ready { decisions: Vec::new(), faults: Vec::new(), next: None });
        };
        let garbage = |why| Failure::transient(PLATFORM_GARBAGE, format_args!("{key}: {why}"));
        let body =
            self.bucket.get(&key).await?.ok_or_else(|| garbage("it is listed, and it is not there"))?;
        let ids: Vec<String> = serde_json::from_slice(&body).map_err(|_| garbage("it is no page of ids"))?;
        // One that changes its mind tells other decisions.
        let seed = if self.wire.is_fickle() { self.seed.wrapping_add(1) } else { self.seed };
        let decisions = ids.iter().map(|record_id| decide(seed, record_id)).collect();
        let next = listed.next.is_some().then(|| key.clone());
        Ok(Answer::Ready { decisions, faults: Vec::new(), next })
    }
}

/// The decision that `seed` gives the order: accepted three times out of four, then with a `power` of 1 to 100, which
/// has one decimal every fourth time; otherwise rejected, without one.
pub fn decide(seed: u64, record_id: &str) -> Decision {
    let mut bytes = seed.to_le_bytes().to_vec();
    bytes.extend_from_slice(record_id.as_bytes());
    let hash = stable_hash(&bytes);
    // Each choice is made by bits of its own.
    let is_accepted = hash & 0b11 != 0;
    let whole = 1 + (hash >> 8 & 0xffff) % 100;
    let has_decimal = hash >> 24 & 0b11 == 0 && whole < 100;
    let power =
        if has_decimal { format!("{whole}.{}", 1 + (hash >> 32 & 0xffff) % 9) } else { whole.to_string() };
    Decision {
        record_id: record_id.to_owned(),
        status: Some(if is_accepted { "accepted" } else { "rejected" }.to_owned()),
        power: if is_accepted { Decimal::parse(&power).ok() } else { None },
    }
}

/// What the keys of a run begin with. The run's id is one segment of it, so no run's keys begin as another's do.
fn prefix(run_id: &str) -> Result<String, Failure> {
    Ok(format!("runs/{}/", run_segment(run_id)?))
}

/// Whether `key` is one that `submit` gives to a page of this run.
fn is_page(prefix: &str, key: &str) -> bool {
    key.strip_prefix(prefix)
        .and_then(|name| name.strip_suffix(".json"))
        .and_then(|name| name.split_once('-'))
        .is_some_and(|(page, hash)| {
            page.len() >= 8
                && page.parse::<u32>().is_ok_and(|number| format!("{number:08}") == page)
                && hash.len() == 16
                && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use quadrille::port::{ObjectPage, PortError};
    use std::{collections::HashMap, sync::Mutex};

    #[derive(Default)]
    struct TestBucket(Mutex<HashMap<String, Vec<u8>>>);

    #[async_trait]
    impl Bucket for TestBucket {
        async fn put_if_absent(&self, key: &str, body: Vec<u8>) -> Result<bool, PortError> {
            assert!(key.len() <= 1_024);
            let mut objects = self.0.lock().unwrap();
            let is_new = !objects.contains_key(key);
            objects.entry(key.to_owned()).or_insert(body);
            Ok(is_new)
        }

        async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, PortError> {
            Ok(self.0.lock().unwrap().get(key).cloned())
        }

        async fn list(
            &self,
            prefix: &str,
            after: Option<&str>,
            limit: usize,
        ) -> Result<ObjectPage, PortError> {
            let objects = self.0.lock().unwrap();
            let mut keys: Vec<String> = objects
                .keys()
                .filter(|key| key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after))
                .cloned()
                .collect();
            keys.sort();
            let is_more = keys.len() > limit;
            keys.truncate(limit);
            Ok(ObjectPage { next: keys.last().filter(|_| is_more).cloned(), keys })
        }
    }

    fn orders(ids: &[&str]) -> Vec<SubmittedOrder> {
        let order = |id: &&str| SubmittedOrder {
            record_id: (*id).to_owned(),
            parameter_1: "secret".into(),
            parameter_2: Decimal::from(4_i64),
        };
        ids.iter().map(order).collect()
    }

    async fn all(platform: &SimulatedPlatform, run_id: &str) -> Vec<String> {
        let (mut ids, mut after) = (Vec::new(), None);
        loop {
            match platform.results(run_id, 0, after.as_deref()).await.unwrap() {
                Answer::NotReady => panic!("not ready"),
                Answer::Ready { decisions, next, .. } => {
                    ids.extend(decisions.into_iter().map(|decision| decision.record_id));
                    match next {
                        Some(next) => after = Some(next),
                        None => return ids,
                    }
                }
            }
        }
    }

    #[test]
    fn the_seeds_decisions_are_mixed_early_and_rightly() {
        let is_accepted = |decision: &Decision| decision.status.as_deref() == Some("accepted");
        let first: Vec<_> = (1..=8).map(|n| decide(1, &format!("order-{n}"))).collect();
        assert!(first.iter().any(is_accepted) && !first.iter().all(is_accepted), "{first:?}");

        let many: Vec<_> = (0..10_000).map(|n| decide(7, &format!("order-{n}"))).collect();
        let accepted = many.iter().filter(|decision| is_accepted(decision)).count();
        assert!((7_300..7_700).contains(&accepted), "{accepted}");
        let mut decimals = 0;
        for decision in &many {
            let power = decision.power.as_ref().map(|power| power.as_str().parse::<f64>().unwrap());
            assert_eq!(power.is_some(), is_accepted(decision));
            assert!(power.is_none_or(|power| (1.0..=100.0).contains(&power)), "{decision:?}");
            decimals += usize::from(power.is_some_and(|power| power.fract() != 0.0));
        }
        assert!((1_600..2_100).contains(&decimals), "{decimals}");
        let wholes = ["1", "100"].map(|text| Decimal::parse(text).unwrap());
        assert!(
            wholes.iter().all(|whole| many.iter().any(|decision| decision.power.as_ref() == Some(whole)))
        );
        assert_ne!(many, (0..10_000).map(|n| decide(8, &format!("order-{n}"))).collect::<Vec<_>>());
    }

    #[test]
    fn decisions_do_not_change_with_the_version() {
        let power = |n: u32| decide(1, &format!("order-{n}")).power.map(|power| power.to_string());
        let first: Vec<_> = (1..=8).map(|n| power(n).unwrap_or_else(|| "rejected".to_owned())).collect();
        assert_eq!(first, ["69.1", "rejected", "9", "rejected", "56", "92", "20", "68"]);
    }

    #[tokio::test]
    async fn a_run_outlives_its_process_and_repeats_change_nothing() {
        let bucket: Arc<dyn Bucket> = Arc::new(TestBucket::default());
        let platform = SimulatedPlatform::new(Arc::clone(&bucket), 1, 0);
        for _ in 0..2 {
            platform.submit("run", 1, &orders(&["c"])).await.unwrap();
            platform.submit("run", 0, &orders(&["a", "b"])).await.unwrap();
        }
        platform.submit("run", 10, &orders(&["e"])).await.unwrap();
        platform.submit("run", 1, &orders(&["c", "d"])).await.unwrap();
        platform.submit("run/", 0, &orders(&["another run's"])).await.unwrap();
        drop(platform);

        let platform = SimulatedPlatform::new(bucket, 1, 0);
        let mut ids = all(&platform, "run").await;
        assert_eq!(&ids[..2], ["a", "b"]);
        assert_eq!(&ids[5..], ["e"]);
        ids.sort();
        assert_eq!(ids, ["a", "b", "c", "c", "d", "e"]);
        assert_eq!(all(&platform, "run/").await, ["another run's"]);
        assert!(all(&platform, "nothing was submitted").await.is_empty());
    }

    #[tokio::test]
    async fn an_object_has_ids_and_nothing_else() {
        let bucket = Arc::new(TestBucket::default());
        let platform = SimulatedPlatform::new(Arc::clone(&bucket) as Arc<dyn Bucket>, 1, 0);
        platform.submit("../é", 3, &orders(&["a", "\"b"])).await.unwrap();
        let objects = bucket.0.lock().unwrap().clone();
        let (key, body) = objects.iter().next().unwrap();
        assert!(key.starts_with("runs/..%2F%C3%A9/00000003-") && is_page("runs/..%2F%C3%A9/", key), "{key}");
        assert_eq!(body, br#"["a","\"b"]"#);
        platform.submit(&"é".repeat(128), u32::MAX, &[]).await.unwrap();
    }

    #[tokio::test]
    async fn it_is_ready_after_the_asks_it_was_told_to_put_off() {
        let platform = SimulatedPlatform::new(Arc::new(TestBucket::default()), 1, 2);
        platform.submit("run", 0, &orders(&["a"])).await.unwrap();
        for polls in [0, 1] {
            assert_eq!(platform.results("run", polls, None).await, Ok(Answer::NotReady));
        }
        let ready = Answer::Ready { decisions: vec![decide(1, "a")], faults: Vec::new(), next: None };
        assert_eq!(platform.results("run", 2, None).await, Ok(ready));
    }

    #[tokio::test]
    async fn a_token_of_another_run_is_refused() {
        let platform = SimulatedPlatform::new(Arc::new(TestBucket::default()), 1, 0);
        let hash = "0123456789abcdef";
        assert!(is_page("runs/run/", &format!("runs/run/00000000-{hash}.json")));
        for token in [
            "",
            "runs/run/",
            &format!("runs/other/00000000-{hash}.json"),
            &format!("runs/run/0000000-{hash}.json"),
            &format!("runs/run/000000000-{hash}.json"),
            &format!("runs/run/+0000000-{hash}.json"),
            "runs/run/00000000-0123456789ABCDEF.json",
            &format!("runs/run/00000000-{hash}"),
        ] {
            let failure = platform.results("run", 0, Some(token)).await.unwrap_err();
            assert_eq!((failure.reason(), failure.is_permanent()), ("platform_refused", true), "{token}");
        }
    }

    #[tokio::test]
    async fn an_object_that_is_no_page_is_garbage() {
        let bucket = Arc::new(TestBucket::default());
        bucket.put_if_absent("runs/run/00000000-0123456789abcdef.json", b"{}".to_vec()).await.unwrap();
        let platform = SimulatedPlatform::new(bucket, 1, 0);
        let failure = platform.results("run", 0, None).await.unwrap_err();
        assert_eq!((failure.reason(), failure.is_permanent()), (PLATFORM_GARBAGE, false));
    }
}
