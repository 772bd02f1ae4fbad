//! Many entities changed by one call: in pieces, each racing on its own, answered in the order in which they were named.

use super::support::*;
use quadrille::{
    Change, Consumer, Context, Failure, FailureKind, Handled, Outcome, Stored, Uses, Verdict,
    limits::COMMIT_RACES_MAX, port::Write,
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

/// A world whose `scan` stops many parcels.
struct Stopping {
    world: World,
    asked: Asked,
    told: Told,
}

impl Stopping {
    /// `scan` stops the parcels of `ids`, as it reads them or as it has them `loaded`. Those of `there` are posted.
    async fn new(ids: &[String], there: &[String], is_loaded: bool) -> Self {
        let (asked, told) = (Asked::default(), Told::default());
        let (ids, log, answers) = (ids.to_vec(), asked.clone(), told.clone());
        let scan = move |event: Scanned, cx: Context<()>| {
            let (ids, asked, told) = (ids.clone(), log.clone(), answers.clone());
            async move { stop_many(&ids, is_loaded, &asked, &told, &event, &cx).await }
        };
        let uses = Uses::new().gets::<Parcel>().commits::<Parcel>();
        let world = World::new(parcels::<(Scanned,)>().on(Consumer::new("scan", scan).uses(uses)));
        world.post(&there.iter().map(String::as_str).collect::<Vec<_>>()).await;
        Self { world, asked, told }
    }

    /// The verdict of a message that has them stop in Oslo.
    async fn stop(&self) -> Verdict {
        self.world.tell("scan", Scanned::new("list", "oslo")).await;
        let mut verdicts = self.world.deliver("scan").await;
        assert_eq!(verdicts.len(), 1);
        verdicts.remove(0)
    }
}

async fn stop_many(
    ids: &[String],
    is_loaded: bool,
    asked: &Asked,
    told: &Told,
    event: &Scanned,
    cx: &Context<()>,
) -> Outcome<()> {
    let stop = |at: usize, parcel: Result<Option<Stored<Parcel>>, Failure>| {
        change(asked, at, parcel.unwrap(), &event.place)
    };
    let answers = if is_loaded {
        let loaded = cx.get::<Parcel>(ids).await?.into_iter().flatten().collect();
        cx.change_loaded(loaded, stop).await
    } else {
        cx.change_all(ids, stop).await
    };
    told.push(answers.clone());
    answers.map(|_| Handled::Done)
}

fn named(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

/// Parcel 4 is overtaken so many times, by one rival after the other.
fn overtakes(times: u32) -> impl FnMut(&Write) -> CommitFault {
    let mut races = 0;
    move |write| {
        let is_raced = write.item.key.ends_with('4') && races < times;
        races += u32::from(is_raced);
        if is_raced { CommitFault::Overtaken(format!("rival {races}")) } else { CommitFault::None }
    }
}

#[tokio::test]
async fn each_is_changed_once_and_answered_in_the_order_of_the_ids() {
    for is_loaded in [false, true] {
        let ids: Vec<String> = (0..MANY).map(|id| id.to_string()).collect();
        let mut stopping = Stopping::new(&ids, &ids, is_loaded).await;
        let table = stopping.world.meddle_with_table(|_| CommitFault::None);
        assert_eq!(stopping.stop().await, Verdict::Done);
        let expected =
            (0..MANY).map(|at| format!("{at}: {at} {}", if at % 2 == 0 { "stopped" } else { "kept" }));
        assert_eq!(stopping.told.all(), [Ok(expected.collect())]);
        assert_eq!(stopping.asked.all().len(), MANY);
        assert_eq!(table.keys().len(), MANY / 2);
        assert_eq!(table.read.all().concat().len(), MANY, "what was loaded is not read again");
        for id in [0, 1, MANY - 2, MANY - 1] {
            let stops: &[&str] = if id % 2 == 0 { &["oslo"] } else { &[] };
            assert_eq!(stopping.world.stops(&id.to_string()).await, stops, "{id}");
        }
    }
}

#[tokio::test]
async fn one_that_is_missing_is_told_as_missing() {
    let stopping = Stopping::new(&named(&["2", "lost", "4"]), &named(&["2", "4"]), false).await;
    assert_eq!(stopping.stop().await, Verdict::Done);
    assert_eq!(stopping.told.all(), [Ok(named(&["0: 2 stopped", "1: none", "2: 4 stopped"]))]);
}

#[tokio::test]
async fn one_that_lost_its_race_is_asked_about_again_as_it_is_by_then() {
    for is_loaded in [false, true] {
        let ids = named(&["2", "4", "6"]);
        let mut stopping = Stopping::new(&ids, &ids, is_loaded).await;
        stopping.world.meddle_with_table(overtakes(2));
        assert_eq!(stopping.stop().await, Verdict::Done);
        let expected = [0, 1, 2, 1, 1].into_iter().zip([0, 0, 0, 1, 2]).map(|(at, stops)| (at, Some(stops)));
        assert_eq!(stopping.asked.all(), expected.collect::<Vec<_>>());
        assert_eq!(stopping.told.all(), [Ok(named(&["0: 2 stopped", "1: 4 stopped", "2: 6 stopped"]))]);
        assert_eq!(stopping.world.stops("4").await, ["rival 1", "rival 2", "oslo"]);
        assert_eq!(stopping.world.stops("6").await, ["oslo"]);
    }
}

#[tokio::test]
async fn more_lost_races_than_that_are_a_transient_failure_and_the_others_stay_changed() {
    let ids = named(&["2", "4"]);
    let mut stopping = Stopping::new(&ids, &ids, false).await;
    stopping.world.meddle_with_table(overtakes(COMMIT_RACES_MAX + 1));
    let verdict = stopping.stop().await;
    let is_conflict = matches!(&verdict, Verdict::Retry(_, failure) if failure.reason() == "conflict");
    assert!(is_conflict, "{verdict:?}");
    assert_eq!(stopping.world.stops("2").await, ["oslo"]);
    assert!(!stopping.world.stops("4").await.contains(&"oslo".to_owned()));
}

#[tokio::test]
async fn a_table_that_fails_is_the_failure_of_the_call() {
    let ids = named(&["2", "4"]);
    let mut stopping = Stopping::new(&ids, &ids, false).await;
    stopping.world.meddle_with_table(|write| match write.item.key.ends_with('4') {
        true => CommitFault::NotApplied,
        false => CommitFault::None,
    });
    assert!(matches!(stopping.stop().await, Verdict::Retry(..)));
    assert!(matches!(&stopping.told.all()[..], [Err(failure)] if failure.kind() == FailureKind::Transient));
}
