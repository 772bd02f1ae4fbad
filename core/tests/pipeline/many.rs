//! Many entities changed by one call: in pieces, each racing on its own, answered in the order in which they were named.

use super::support::*;
use quadrille::{
    Change, Consumer, Context, Failure, FailureKind, Handled, Outcome, Stored, Uses, Verdict,
    limits::COMMIT_RACES_MAX,
};

/// More than one call of a table takes.
const MANY: usize = 450;

/// What the handler was told of each: its answers, or why there are none.
type Told = Log<Result<Vec<String>, Failure>>;

/// Every place it was asked about, with the number of stops there were.
type Asked = Log<(usize, Option<usize>)>;

/// Stops at the place, unless the parcel's id is odd.
fn change(asked: &Asked, at: usize, parcel: Option<Stored<Parcel>>, place: &str) -> Change<(), String> {
    asked.push((at, parcel.as_ref().map(|parcel| parcel.stops.len())));
    match parcel {
        None => Change::Keep(format!("{at}: none")),
        Some(parcel) if parcel.id.ends_with(['1', '3', '5', '7', '9']) => {
            Change::Keep(format!("{at}: {} kept", parcel.id))
        }
        Some(mut parcel) => {
            let answer = format!("{at}: {} stopped", parcel.id);
            parcel.stops.push(place.to_owned());
            Change::Commit(parcel.commit("stopped"), answer)
        }
    }
}

/// A world whose `scan` stops many parcels: those of `ids` as they are read, or those it has `loaded`.
fn world(ids: Vec<String>, is_loaded: bool, asked: &Asked, told: &Told) -> World {
    let (asked, told) = (asked.clone(), told.clone());
    let scan = move |event: Scanned, cx: Context<()>| {
        let (ids, asked, told) = (ids.clone(), asked.clone(), told.clone());
        async move { stop_many(&ids, is_loaded, &asked, &told, &event, &cx).await }
    };
    let uses = Uses::new().gets::<Parcel>().commits::<Parcel>();
    World::new(parcels::<(Scanned,)>().on(Consumer::new("scan", scan).uses(uses)))
}

async fn stop_many(
    ids: &[String],
    is_loaded: bool,
    asked: &Asked,
    told: &Told,
    event: &Scanned,
    cx: &Context<()>,
) -> Outcome<()> {
    let stop = |at: usize, parcel: Option<Stored<Parcel>>| change(asked, at, parcel, &event.place);
    let answers = if is_loaded {
        let loaded = cx.get::<Parcel>(ids).await?.into_iter().flatten().collect();
        cx.change_loaded(loaded, stop).await
    } else {
        cx.change_all(ids, stop).await
    };
    told.push(answers.clone());
    answers.map(|_| Handled::done())
}

fn ids(count: usize) -> Vec<String> {
    (0..count).map(|id| id.to_string()).collect()
}

async fn post(world: &World, ids: &[String]) {
    world.post(&ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn each_is_changed_once_and_answered_in_the_order_of_the_ids() {
    for is_loaded in [false, true] {
        let (asked, told) = (Asked::default(), Told::default());
        let ids = ids(MANY);
        let mut world = world(ids.clone(), is_loaded, &asked, &told);
        post(&world, &ids).await;
        let table = world.meddle_with_table(|_| CommitFault::None);
        world.tell("scan", Scanned::new("list", "oslo")).await;
        assert_eq!(world.deliver("scan").await, [Verdict::Done]);
        let expected =
            (0..MANY).map(|at| format!("{at}: {at} {}", if at % 2 == 0 { "stopped" } else { "kept" }));
        assert_eq!(told.all(), [Ok(expected.collect())]);
        assert_eq!(asked.all().len(), MANY);
        assert_eq!(table.keys().len(), MANY / 2);
        assert_eq!(table.read.all().concat().len(), MANY, "what was loaded is not read again");
        for id in [0, 1, MANY - 2, MANY - 1] {
            let stops: &[&str] = if id % 2 == 0 { &["oslo"] } else { &[] };
            assert_eq!(world.stops(&id.to_string()).await, stops, "{id}");
        }
    }
}

#[tokio::test]
async fn one_that_is_missing_is_told_as_missing() {
    let (asked, told) = (Asked::default(), Told::default());
    let ids = ["2", "lost", "4"].map(str::to_owned).to_vec();
    let world = world(ids, false, &asked, &told);
    world.post(&["2", "4"]).await;
    world.tell("scan", Scanned::new("list", "oslo")).await;
    assert_eq!(world.deliver("scan").await, [Verdict::Done]);
    assert_eq!(told.all(), [Ok(["0: 2 stopped", "1: none", "2: 4 stopped"].map(str::to_owned).to_vec())]);
}

#[tokio::test]
async fn one_that_lost_its_race_is_asked_about_again_as_it_is_by_then() {
    for is_loaded in [false, true] {
        let (asked, told) = (Asked::default(), Told::default());
        let ids = ["2", "4", "6"].map(str::to_owned).to_vec();
        let mut world = world(ids.clone(), is_loaded, &asked, &told);
        post(&world, &ids).await;
        let mut races = 0;
        world.meddle_with_table(move |write| {
            races += u32::from(write.item.key.ends_with('4'));
            match write.item.key.ends_with('4') && races <= 2 {
                true => CommitFault::Overtaken(format!("rival {races}")),
                false => CommitFault::None,
            }
        });
        world.tell("scan", Scanned::new("list", "oslo")).await;
        assert_eq!(world.deliver("scan").await, [Verdict::Done]);
        let expected = [0, 1, 2, 1, 1].into_iter().zip([0, 0, 0, 1, 2]).map(|(at, stops)| (at, Some(stops)));
        assert_eq!(asked.all(), expected.collect::<Vec<_>>());
        assert_eq!(
            told.all(),
            [Ok(["0: 2 stopped", "1: 4 stopped", "2: 6 stopped"].map(str::to_owned).to_vec())]
        );
        assert_eq!(world.stops("4").await, ["rival 1", "rival 2", "oslo"]);
        assert_eq!(world.stops("6").await, ["oslo"]);
    }
}

#[tokio::test]
async fn more_lost_races_than_that_are_a_transient_failure_and_the_others_stay_changed() {
    let (asked, told) = (Asked::default(), Told::default());
    let ids = ["2", "4"].map(str::to_owned).to_vec();
    let mut world = world(ids.clone(), false, &asked, &told);
    post(&world, &ids).await;
    let mut races = 0;
    world.meddle_with_table(move |write| {
        races += u32::from(write.item.key.ends_with('4'));
        match write.item.key.ends_with('4') && races <= COMMIT_RACES_MAX + 1 {
            true => CommitFault::Overtaken("rival".into()),
            false => CommitFault::None,
        }
    });
    world.tell("scan", Scanned::new("list", "oslo")).await;
    let verdicts = world.deliver("scan").await;
    assert!(
        matches!(&verdicts[..], [Verdict::Retry(_, failure)] if failure.reason() == "conflict"),
        "{verdicts:?}"
    );
    assert_eq!(world.stops("2").await, ["oslo"]);
    assert!(!world.stops("4").await.contains(&"oslo".to_owned()));
}

#[tokio::test]
async fn a_table_that_fails_is_the_failure_of_the_call() {
    let (asked, told) = (Asked::default(), Told::default());
    let ids = ["2", "4"].map(str::to_owned).to_vec();
    let mut world = world(ids.clone(), false, &asked, &told);
    post(&world, &ids).await;
    world.meddle_with_table(|write| match write.item.key.ends_with('4') {
        true => CommitFault::NotApplied,
        false => CommitFault::None,
    });
    world.tell("scan", Scanned::new("list", "oslo")).await;
    assert!(matches!(world.deliver("scan").await[..], [Verdict::Retry(..)]));
    assert!(matches!(&told.all()[..], [Err(failure)] if failure.kind() == FailureKind::Transient));
}
