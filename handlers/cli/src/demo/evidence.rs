//! What lies in tables, buckets, topics, buses and dead-letter queues of those that a demonstration posted. Counters of the engine are not
//! asked: what is nowhere is lost, whatever they say.

use super::show::Show;
use crate::{error::CommandError, node::Running};
use quadrille::{
    DeadLetter, Envelope, Pipeline,
    choreography::EntityView,
    system::{Demo, Evidence},
};
use std::collections::BTreeMap;

/// Items, objects and letters looked at by one call.
const PAGE: usize = 1_000;

/// What is found, by the number of each.
pub struct Found {
    dead_letters: BTreeMap<usize, Vec<(String, String)>>,
    objects: BTreeMap<usize, Vec<(String, String)>>,
    publications: BTreeMap<usize, Vec<(String, String)>>,
}

/// What became of all of them.
pub struct Account {
    /// How many count for each name.
    pub counts: BTreeMap<&'static str, u64>,
    /// Those that are nowhere.
    pub lost: u64,
    /// Those that are somewhere, and at no end.
    pub unfinished: u64,
    /// Those at more than one end.
    pub twice: u64,
    /// The first at each end, by number.
    pub first: BTreeMap<&'static str, usize>,
}

/// Looks everywhere, and counts.
pub async fn account(demo: &dyn Demo, running: &Running, show: &Show) -> Result<Account, CommandError> {
    let pipeline = running.engine.pipeline();
    let found = Found {
        dead_letters: dead_letters(pipeline, show).await?,
        objects: objects(demo, pipeline, show).await?,
        publications: publications(pipeline, show).await?,
    };
    let zero = demo.counts().iter().map(|name| (*name, 0)).collect();
    let mut account = Account { counts: zero, lost: 0, unfinished: 0, twice: 0, first: BTreeMap::new() };
    let total = usize::try_from(show.count).unwrap_or(usize::MAX);
    let table = pipeline.choreography().model().table_of(demo.kind()).unwrap_or_default().to_owned();
    let mut at = 0;
    while at < total {
        let ids: Vec<String> = (at..total.min(at + PAGE)).map(|at| show.entity(demo, at)).collect();
        let keys: Vec<String> = ids.iter().map(|id| format!("{}/{id}", demo.kind())).collect();
        let items = pipeline.ports().table(&table)?.get(&keys).await?;
        for (id, item) in ids.iter().zip(items) {
            let entity = item.map(|item| pipeline.choreography().view(&item)).transpose()?;
            account.add(demo, &found, id, at, entity.as_ref());
            at += 1;
        }
    }
    Ok(account)
}

impl Account {
    fn add(&mut self, demo: &dyn Demo, found: &Found, id: &str, at: usize, entity: Option<&EntityView>) {
        let dead_letters = found.dead_letters.get(&at).map(Vec::as_slice).unwrap_or_default();
        let objects = found.objects.get(&at).map(Vec::as_slice).unwrap_or_default();
        let publications = found.publications.get(&at).map(Vec::as_slice).unwrap_or_default();
        let counted = demo.counted(&Evidence { id, entity, dead_letters, objects, publications });
        for name in &counted {
            *self.counts.entry(name).or_default() += 1;
        }
        let ends: Vec<&&str> = counted.iter().filter(|name| demo.ends().contains(name)).collect();
        match ends[..] {
            [] if entity.is_none() => self.lost += 1,
            [] => self.unfinished += 1,
            [end] => {
                self.first.entry(end).or_insert(at);
            }
            _ => self.twice += 1,
        }
    }
}

/// The dead letters of each: queue and reason.
async fn dead_letters(
    pipeline: &Pipeline,
    show: &Show,
) -> Result<BTreeMap<usize, Vec<(String, String)>>, CommandError> {
    let mut found: BTreeMap<usize, Vec<(String, String)>> = BTreeMap::new();
    for name in pipeline.choreography().model().dead_letter_queues() {
        let (queue, mut after) = (pipeline.ports().queue(name)?, 0);
        loop {
            let page = queue.arrived(after, PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after = *last;
            for letter in page.iter().map(|(_, message)| DeadLetter::read(message)) {
                let at = letter.subject.as_deref().and_then(|subject| show.number_of(subject));
                if let Some(at) = at {
                    found.entry(at).or_default().push((name.to_owned(), letter.reason));
                }
            }
        }
    }
    Ok(found)
}

/// The publications of each: topic or bus, and type.
async fn publications(
    pipeline: &Pipeline,
    show: &Show,
) -> Result<BTreeMap<usize, Vec<(String, String)>>, CommandError> {
    let mut found: BTreeMap<usize, Vec<(String, String)>> = BTreeMap::new();
    for (name, kept) in &pipeline.ports().published {
        let mut after = 0;
        loop {
            let page = kept.arrived(after, PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after = *last;
            for (_, message) in &page {
                let event = Envelope::parse(&message.body)?;
                if let Some(at) = show.number_of(&event.subject) {
                    found.entry(at).or_default().push((name.clone(), event.event_type.into_owned()));
                }
            }
        }
    }
    Ok(found)
}

/// The objects of each: bucket and key.
async fn objects(
    demo: &dyn Demo,
    pipeline: &Pipeline,
    show: &Show,
) -> Result<BTreeMap<usize, Vec<(String, String)>>, CommandError> {
    let mut found: BTreeMap<usize, Vec<(String, String)>> = BTreeMap::new();
    for (name, bucket) in &pipeline.ports().buckets {
        let mut after: Option<String> = None;
        loop {
            let page = bucket.list("", after.as_deref(), PAGE).await?;
            for key in page.keys {
                if let Some(at) = demo.filed(name, &key).and_then(|id| show.number_of(&id)) {
                    found.entry(at).or_default().push((name.clone(), key));
                }
            }
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
    }
    Ok(found)
}
