//! What a rate meets on AWS: of systems that the library does not know.
#![allow(clippy::unwrap_used, clippy::panic)] // In a test a panic is the assertion.

use quadrille::{
    Choreography, Consumer, Context, Definition, Entity, Event, Failure, Handled, Outcome, Route, Setting,
    Stored, Table, Uses, Workload,
    http::{Request, Response},
    scale::{Answer, Question, Row, ScaleError, Verdict, scale},
};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, time::Duration};

#[derive(Serialize, Deserialize)]
struct Parcel {
    id: String,
}

impl Entity for Parcel {
    const KIND: &'static str = "parcel";

    fn id(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.id)
    }
}

#[derive(Serialize, Deserialize)]
struct Posted;

impl Event for Posted {
    const TYPE: &'static str = "parcel.posted";
    type Entity = Parcel;

    fn subject(&self) -> Cow<'_, str> {
        Cow::Borrowed("1")
    }
}

async fn weigh(_: Option<Stored<Parcel>>, _: Posted, _: Context<()>) -> Outcome<()> {
    Ok(Handled::already("weighed"))
}

async fn take(_: Request, _: Context<(Posted,)>) -> Result<Response, Failure> {
    Ok(Response::json(202, &()))
}

/// Parcels are posted and weighed; `table` and `weigh` may say more.
fn parcels(table: Table, consumer: Consumer) -> Definition {
    Choreography::define("parcels")
        .table(table.holds::<Parcel>())
        .bucket("labels")
        .setting(Setting::integer("places").within(1..=16).default("2"))
        .route(
            Route::post("/parcels", "take", take)
                .uses(Uses::new().commits::<Parcel>().setting("places"))
                .workload(Workload::new().time(Duration::from_millis(20))),
        )
        .on(consumer)
}

fn weighing() -> Consumer {
    Consumer::new("weigh", weigh).uses(Uses::new().puts("labels").setting("places"))
}

fn answer(definition: Definition, question: &Question) -> Answer {
    scale(definition.build().unwrap().model(), question).unwrap()
}

#[track_caller]
fn row<'a>(answer: &'a Answer, at: &str, limit: &str) -> &'a Row {
    let found = answer.rows.iter().find(|row| row.at == at && row.limit.contains(limit));
    found.unwrap_or_else(|| panic!("no row {at}: {limit} in {:#?}", answer.rows))
}

#[test]
fn each_limit_is_told_with_what_is_needed_what_there_is_and_its_source() {
    let answer = answer(parcels(Table::new("parcels"), weighing()), &Question::new(100.0));
    assert_eq!((answer.enters.as_str(), answer.over().count()), ("take", 0));
    for row in &answer.rows {
        assert!(row.source.starts_with("https://docs.aws.amazon.com/"), "{row:?}");
        assert!(!row.assumes.is_empty() && row.needs >= 0.0 && row.gives > 0.0, "{row:?}");
    }
    let requests = row(&answer, "take", "requests of all APIs");
    assert_eq!((requests.needs, requests.gives, requests.carries), (100.0, 10_000.0, 10_000.0));
    // Taken and weighed: a write each.
    assert_eq!(row(&answer, "table parcels", "account's write units").needs, 200.0);
    // Where nobody says how long a step takes, its timeout counts, and the row says so.
    let batches = row(&answer, "weigh", "batches of a queue at once");
    assert_eq!(batches.needs, 100.0 / 10.0 * 30.0);
    assert!(batches.assumes.contains("its timeout, at worst"), "{}", batches.assumes);
    assert_eq!(answer.bottleneck.as_ref().unwrap().at, "weigh");
}

#[test]
fn what_is_said_of_times_and_of_settings_counts() {
    let mut question = Question::new(100.0);
    question.times.insert("weigh".into(), Duration::from_millis(100));
    question.values.insert("weighConcurrency".into(), 50);
    let told = answer(parcels(Table::new("parcels"), weighing()), &question);
    let batches = row(&told, "weigh", "batches of a queue at once");
    assert_eq!((batches.needs, batches.gives, batches.verdict), (1.0, 50.0, Verdict::Fits));
    question.times.insert("nobody".into(), Duration::from_millis(1));
    let choreography = parcels(Table::new("parcels"), weighing()).build().unwrap();
    assert_eq!(scale(choreography.model(), &question), Err(ScaleError::NoSuchStep("nobody".into())));
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(scale(choreography.model(), &Question::new(rate)), Err(ScaleError::NoRate(_))));
    }
}

#[test]
fn what_nothing_can_meet_is_over_and_what_a_setting_spreads_is_not() {
    let question = Question::new(4_000.0);
    let fast = || weighing().workload(Workload::new().time(Duration::from_millis(100)));
    let alone = answer(parcels(Table::new("parcels"), fast()), &question);
    let over: Vec<&str> = alone.over().map(|row| row.at.as_str()).collect();
    assert_eq!(over, ["bucket labels"], "one prefix takes 3,500 puts a second");
    let spread = answer(
        parcels(Table::new("parcels").spread::<Parcel>("places"), fast()).spread_bucket("labels", "places"),
        &question,
    );
    assert_eq!(spread.over().count(), 0);
    let partition = row(&spread, "index of parcels", "a partition's write units");
    assert_eq!((partition.needs, partition.set["places"]), (4_000.0, 10));
    // More than the setting's most can carry, whatever is set.
    let beyond = answer(
        parcels(Table::new("parcels").spread::<Parcel>("places"), fast()).spread_bucket("labels", "places"),
        &Question::new(9_000.0),
    );
    assert_eq!(beyond.over().map(|row| row.at.as_str()).collect::<Vec<_>>(), ["index of parcels"]);
}

#[test]
fn what_is_set_as_it_is_told_fits() {
    let definition = || {
        parcels(
            Table::new("parcels").spread::<Parcel>("places").warm(12_000, 4_000).at_most(40_000, 40_000),
            weighing().workload(
                Workload::new().time(Duration::from_millis(100)).per_message(1_000).in_turn("places"),
            ),
        )
        .spread_bucket("labels", "places")
    };
    let mut question = Question::new(5_000.0);
    let first = answer(definition(), &question);
    let set = first.set();
    assert!(set.contains_key("places") && set.contains_key("httpRate"), "{set:?}");
    question.values = set.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let second = answer(definition(), &question);
    assert_eq!(second.set().len(), 0, "{:?}", second.set());
    let ceiling = second.ceiling.unwrap();
    assert!(ceiling.carries_at_most.unwrap() >= 5_000.0, "{ceiling:?}");
}
