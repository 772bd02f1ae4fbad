//! An operator, who sends dead letters back: by a filter, or by a list of letters, as a plan has one.

use super::{executor::TaskFuture, fault::Fault, ports::Nature};
use crate::{
    operator::{
        Act, Filter, PAGE_MAX, RedriveAsk, Walk, Wanted, dead_letters, give_back, redrive_planned, walk,
    },
    pipeline::Pipeline,
    port::Clock as _,
    timestamp::Timestamp,
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// How often dead letters are sent back in a run at most.
const REDRIVES_MAX: u64 = 3;

/// Most dead letters that are sent back by one call.
const AT_ONCE_MAX: u64 = 100;

/// Sends dead letters back some times while faults strike, also while others come in.
pub(super) fn operator(
    nature: &Arc<Nature>,
    pipeline: Pipeline,
    begin: Timestamp,
    time: Duration,
) -> TaskFuture {
    let (nature, place) = (Arc::clone(nature), nature.faults.place("operator"));
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
    let amount = |most| nature.faults.amount(Fault::Redriven, most);
    let times = (0..REDRIVES_MAX).filter(|_| nature.strikes(Fault::Redriven, &place));
    let times =
        times.map(|_| (begin + Duration::from_millis(amount(millis)), amount(AT_ONCE_MAX), amount(2)));
    let mut times: Vec<(Timestamp, u64, u64)> = times.collect();
    times.sort();
    Box::pin(async move {
        for (time, at_once, way) in times {
            nature.clock.sleep_until(time).await;
            // By the clock that tells when a letter was sent back.
            let before = Some(pipeline.ports().clock.now());
            let filter = Filter { before, leaves_ends: true, ..Filter::default() };
            let limit = usize::try_from(at_once).unwrap_or(usize::MAX);
            for queue in pipeline.choreography().model().dead_letter_queues() {
                let (queue, filter) = (queue.to_owned(), filter.clone());
                let redrive = Redrive { nature: &nature, pipeline: &pipeline, queue, limit };
                match way {
                    1 => redrive.by_filter(filter).await,
                    _ => redrive.by_list(&filter).await,
                }
            }
        }
    })
}

/// A redrive of one queue. What can't be sent back now stays, and an operator who is interrupted leaves it.
struct Redrive<'a> {
    nature: &'a Nature,
    pipeline: &'a Pipeline,
    queue: String,
    limit: usize,
}

impl Redrive<'_> {
    async fn by_filter(&self, filter: Filter) {
        let mut asked = Walk { queue: self.queue.clone(), filter, limit: self.limit, after: 0 };
        let mut passed_over = Vec::new();
        while let Some(Ok(moved)) = self.nature.mortal(walk(self.pipeline, &asked, Act::Redrive)).await {
            passed_over.extend(moved.passed_over);
            asked.after = moved.next.unwrap_or_default();
            if moved.done {
                break;
            }
        }
        self.give_back(passed_over).await;
    }

    /// First they are listed, and then just those are sent back.
    async fn by_list(&self, filter: &Filter) {
        let (mut letters, mut held, mut after) = (BTreeMap::new(), Vec::new(), Some(0));
        while let Some(from) = after {
            let listed = dead_letters(self.pipeline, &self.queue, filter, from, PAGE_MAX);
            let Some(Ok(page)) = self.nature.mortal(listed).await else { break };
            held.extend(page.held);
            after = page.next;
            letters.extend(page.letters.into_iter().map(|listed| (listed.id, Wanted::of(&listed.body))));
        }
        self.give_back(held).await;
        let mut passed_over = Vec::new();
        while !letters.is_empty() {
            let ask = RedriveAsk {
                queue: self.queue.clone(),
                letters: letters.clone(),
                limit: self.limit,
                to: None,
                by: "operator".to_owned(),
                why: String::new(),
            };
            let Some(Ok(redriving)) = self.nature.mortal(redrive_planned(self.pipeline, &ask)).await else {
                break;
            };
            passed_over.extend(redriving.passed_over);
            letters.retain(|id, _| !redriving.results.contains_key(id));
            if redriving.done || redriving.results.is_empty() {
                break;
            }
        }
        self.give_back(passed_over).await;
    }

    async fn give_back(&self, receipts: Vec<String>) {
        if !receipts.is_empty() {
            self.nature.mortal(give_back(self.pipeline, &self.queue, receipts)).await;
        }
    }
}
