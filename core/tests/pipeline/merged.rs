//! Several partitions of an index are read as one.

use super::support::*;
use quadrille::{
    Committed, Consumer, Context, Entity, Failure, Handled, Merged, Outcome, Stored, Table, Uses,
    port::{Damage, IndexEntry},
};
use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow,
    sync::{Mutex, PoisonError},
};

const CRATES: &str = "crates";
const SHELVES: usize = 5;

/// A crate stands on one of the shelves, as long as nobody fetches it.
#[derive(Clone, Serialize, Deserialize)]
struct Crate {
    number: usize,
}

impl Entity for Crate {
    const KIND: &'static str = "crate";

    fn id(&self) -> Cow<'_, str> {
        self.number.to_string().into()
    }

    fn index(&self) -> Option<IndexEntry> {
        // One shelf has most of them, and one has none.
        let shelf = if self.number.is_multiple_of(7) { 1 + self.number % (SHELVES - 2) } else { 0 };
        Some(IndexEntry { partition: format!("shelf-{shelf}"), sort: format!("{:04}", self.number) })
    }
}

async fn stack(event: Scanned, cx: Context<()>) -> Outcome<()> {
    let count = event.place.parse().unwrap();
    let new = (0..count).map(|number| Stored::new(Crate { number }).commit("stacked")).collect();
    assert!(cx.commit_all(new).await?.iter().all(|done| *done == Committed::Applied));
    Ok(Handled::Done)
}

type Pages = Vec<(Vec<usize>, Vec<String>, Option<String>)>;

/// What the tests' handlers read, by test.
static READ: Mutex<Pages> = Mutex::new(Vec::new());

/// The pages to the end, or as many as are wanted.
async fn pages(open: &mut Merged<'_, Crate, ()>, limit: usize, most: usize) -> Result<Pages, Failure> {
    let mut pages = Vec::new();
    while pages.len() < most {
        let page = open.next_page(limit).await?;
        let next = page.next.clone();
        let numbers = page.entities.iter().map(|found| found.number).collect();
        pages.push((numbers, page.unreadable.into_iter().map(|unread| unread.key).collect(), page.next));
        if next.is_none() {
            break;
        }
    }
    Ok(pages)
}

/// Two pages of ten, and the rest by somebody who knows nothing but the place; up to crate 90.
async fn read(_: Loaded, cx: Context<()>) -> Outcome<()> {
    let shelves = || (0..SHELVES).map(|shelf| format!("shelf-{shelf}"));
    let before = Some("0090".to_owned());
    let mut found = pages(&mut cx.merged(shelves(), None, before.clone()), 10, 2).await?;
    let place = found.last().and_then(|(_, _, next)| next.clone());
    found.extend(pages(&mut cx.merged(shelves(), place, before), 10, 99).await?);
    *READ.lock().unwrap_or_else(PoisonError::into_inner) = found;
    Ok(Handled::Done)
}

#[tokio::test]
async fn partitions_are_read_as_one_in_full_pages_and_what_can_not_be_read_stands_in_its_place() {
    let uses = || Uses::new().queries::<Crate>().commits::<Crate>();
    let definition = parcels::<(Scanned, Loaded)>()
        .table(Table::new(CRATES).holds::<Crate>())
        .on(Consumer::new("scan", stack).uses(uses()))
        .on(Consumer::new("load", read).uses(uses()));
    let world = World::new(definition);
    world.tell("scan", Scanned::new("1", "100")).await;
    world.deliver("scan").await;
    let damaged = ["crate/3", "crate/14", "crate/15", "crate/84"];
    for key in damaged {
        assert!(world.memory.damage(Damage::Item { table: CRATES, key }));
    }
    world.tell("load", Loaded::new("1", "all")).await;
    world.deliver("load").await;
    let pages = READ.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let sizes: Vec<usize> = pages.iter().map(|(numbers, unread, _)| numbers.len() + unread.len()).collect();
    assert_eq!(sizes, [10; 9], "each page is full, however full a shelf is");
    let unread: Vec<&str> = pages.iter().flat_map(|(_, unread, _)| unread).map(String::as_str).collect();
    assert_eq!(unread, damaged, "each once, though the reading was begun anew behind two pages");
    let numbers: Vec<usize> = pages.iter().flat_map(|(numbers, ..)| numbers).copied().collect();
    assert_eq!(numbers, (0..90).filter(|number| ![3, 14, 15, 84].contains(number)).collect::<Vec<_>>());
    let places: Vec<Option<&str>> = pages.iter().map(|(_, _, next)| next.as_deref()).collect();
    assert_eq!(places[..2], [Some("0009"), Some("0019")]);
    assert_eq!(places.last(), Some(&None));
}
