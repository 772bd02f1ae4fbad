//! The rules that a definition is held to: each is broken once, alone, and the message says how to mend it.
#![allow(clippy::unwrap_used)] // In a test a panic is the assertion.

use quadrille::{
    Backoff, Budget, Choreography, Consumer, Context, Cron, Definition, Emits, Entity, Event, Failure,
    Handled, Outcome, Route, Setting, Stored, Table, Timestamp, TrailEntry, TrailEntryKind, Uses, Waits,
    choreography::{Advice, Bus, Comparison, DefinitionError as Broken, Match, Passage, Path, Rule, When},
    http::{Request, Response},
};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, time::Duration};

const DAY: Duration = Duration::from_secs(86_400);

/// That of a cycle whose retries are those that a consumer has by default.
const BUDGET: Budget = Budget { deadline: Duration::from_secs(150), hops: 10 };

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[derive(Serialize, Deserialize)]
struct Letter {
    id: String,
}

impl Entity for Letter {
    const KIND: &'static str = "letter";

    fn id(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.id)
    }
}

#[derive(Serialize, Deserialize)]
struct Stamp;

impl Entity for Stamp {
    const KIND: &'static str = "stamp";

    fn id(&self) -> Cow<'_, str> {
        Cow::Borrowed("")
    }
}

macro_rules! events {
    ($($event:ident $name:literal),+) => {$(
        #[derive(Serialize, Deserialize)]
        struct $event;

        impl Event for $event {
            const TYPE: &'static str = $name;
            type Entity = Letter;

            fn subject(&self) -> Cow<'_, str> {
                Cow::Borrowed("1")
            }
        }
    )+};
}

events!(Posted "posted", Sorted "sorted", Carried "carried");

/// A handler that loads nothing and does nothing.
async fn idle<Ev: Event, Em: Emits>(_: Ev, _: Context<Em>) -> Outcome<Em> {
    Ok(Handled::Done)
}

/// A handler that loads the letter and does nothing.
async fn load<Ev: Event<Entity = Letter>, Em: Emits>(
    _: Stored<Letter>,
    _: Ev,
    _: Context<Em>,
) -> Outcome<Em> {
    Ok(Handled::Done)
}

/// A route that claims to emit all of `Em`.
async fn take<Em: Emits>(_: Request, _: Context<Em>) -> Result<Response, Failure> {
    Ok(Response::json(202, &()))
}

/// Everything a definition can have, but no consumer: what is posted is not consumed yet.
fn post_office() -> Definition {
    Choreography::define("post-office")
        .table(Table::new("letters").holds::<Letter>())
        .bucket("photos")
        .topic("notices")
        .route(Route::post("/letters/{id}", "take", take::<(Posted,)>).uses(taking()))
        .schedule("rounds", secs(3_600), |_| Posted)
}

/// What the post office's only route uses.
fn taking() -> Uses {
    Uses::new().commits::<Letter>().puts("photos")
}

fn sorting() -> Consumer {
    Consumer::new("sort", idle::<Posted, ()>)
}

fn good() -> Definition {
    post_office().on(sorting())
}

/// A post office whose only consumer is changed by `change`.
fn with(change: impl FnOnce(Consumer) -> Consumer) -> Definition {
    post_office().on(change(sorting()))
}

/// A post office that sorts to itself without end, unless `change` gives that a budget.
fn circling(change: impl FnOnce(Consumer) -> Consumer) -> Definition {
    post_office().on(change(Consumer::new("sort", idle::<Posted, (Posted,)>)))
}

fn mistakes(definition: Definition) -> Vec<Broken> {
    definition.build().map_or_else(|errors| errors.0, |_| Vec::new())
}

/// Asserts that the definition breaks this rule and no other, and that the message names rule and mend.
#[track_caller]
fn assert_breaks(definition: Definition, expected: Broken, rule: &str, mend: &str) {
    let message = expected.to_string();
    assert_eq!(mistakes(definition), [expected]);
    assert!(message.starts_with(&format!("{rule}: ")), "{message}");
    assert!(message.contains(mend), "{mend:?} is not in: {message}");
}

#[test]
fn a_good_definition_builds() {
    let choreography = good().build().unwrap();
    let model = choreography.model();
    let queue = model.queue("sort").unwrap();
    // What follows from the consumer without being said.
    assert_eq!(queue.visibility_timeout, secs(6 * 30));
    let redrive = queue.redrive.as_ref().unwrap();
    assert_eq!((redrive.dead_letter_queue.as_str(), redrive.receives_max), ("sort-dlq", 8));
    assert_eq!(model.queue("sort-dlq").unwrap().retention, 14 * DAY);
    assert_eq!(model.source_of("sort-dlq").unwrap().name, "sort");
    assert_eq!(model.step("sort").unwrap().event_type, "posted");
    assert_eq!(model.table_of("letter"), Some("letters"));
}

#[test]
fn a_name_that_aws_would_not_take_everywhere() {
    let long = "a".repeat(41);
    for name in ["", "Sort", "1sort", "-sort", "sort.letters", "sört", long.as_str()] {
        let invalid = |what| Broken::InvalidName { what, name: name.to_owned() };
        let mend = "use 1 to 40 of a-z, 0-9 and '-' or '_', a letter first";
        let breaks = |definition, what| assert_breaks(definition, invalid(what), "invalid_name", mend);
        breaks(post_office().on(sorting()).table(Table::new(name)), "table");
        breaks(with(|sort| sort.uses(Uses::new().puts(name))).bucket(name), "bucket");
        breaks(good().topic(name), "topic");
        breaks(good().bus(name), "event bus");
        breaks(good().schedule(name, DAY, |_| Posted), "schedule");
        breaks(good().route(Route::get("/", name, take::<()>)), "step");
        breaks(with(|sort| sort.queue(name).dead_letter_queue("dead")), "queue");
        breaks(with(|sort| sort.dead_letter_queue(name)), "queue");
        breaks(Choreography::define(name), "choreography");
    }
}

#[test]
fn a_name_of_40_bytes_is_taken_and_its_dead_letter_queue_counts_too() {
    let forty = format!("a{}-_9", "z".repeat(36));
    assert_eq!(forty.len(), 40);
    assert_eq!(mistakes(good().topic(forty.clone())), []);
    // `-dlq` makes it 44.
    let dead = Broken::InvalidName { what: "queue", name: format!("{forty}-dlq") };
    assert_eq!(mistakes(with(|sort| sort.queue(&forty))), [dead]);
    assert_eq!(mistakes(with(|sort| sort.queue(&forty[..36]))), []);
}

#[test]
fn two_things_with_one_environment_variable() {
    let breaks = |definition, name: &str| {
        let twice = Broken::NameUsedTwice { what: "environment variable", name: name.to_owned() };
        assert_breaks(definition, twice, "name_used_twice", "rename one");
    };
    breaks(good().topic("sea-side").topic("sea_side"), "QUADRILLE_TOPIC_SEA_SIDE");
    let used = |definition: Definition, names: [&'static str; 2]| {
        let uses = names.iter().fold(Uses::new(), |uses, name| uses.setting(*name));
        definition.on(Consumer::new("weigh", idle::<Posted, ()>).uses(uses))
    };
    let secret = || quadrille::Setting::text("key").secret();
    let plain = |name| quadrille::Setting::text(name).default("x");
    let both = good().setting(secret()).setting(plain("key_secret"));
    breaks(used(both, ["key", "key_secret"]), "QUADRILLE_KEY_SECRET");
    let function = good().setting(plain("function")).setting(plain("pace"));
    breaks(used(function, ["function", "pace"]), "QUADRILLE_FUNCTION");
}

#[test]
fn two_things_of_one_sort_with_one_name() {
    let breaks = |definition, what, name: &str| {
        let twice = Broken::NameUsedTwice { what, name: name.to_owned() };
        assert_breaks(definition, twice, "name_used_twice", "rename one");
    };
    breaks(good().table(Table::new("letters")), "table", "letters");
    breaks(good().bucket("photos"), "bucket", "photos");
    breaks(good().bus("town").bus("town"), "event bus", "town");
    let keyed = |key: &str| good().table(Table::new("stamps").key_attribute(key));
    breaks(keyed("version"), "attribute of a table", "version");
    assert_eq!(mistakes(keyed("stampId")), []);
    for key in ["", "stamp\"id", &"x".repeat(41)] {
        let unfit = Broken::OutOfRange {
            name: "stamps".into(),
            what: "the key attribute",
            value: format!("{key:?}"),
            allowed: "1 to 40 of a-z, A-Z, 0-9, '_', '-' and '.'",
        };
        assert_breaks(keyed(key), unfit, "out_of_range", "1 to 40 of");
    }
    let shown =
        |field: &str| good().table(Table::new("stamps").key_attribute("stampId").shows(["worth", field]));
    for taken in ["worth", "stampId", "document", "outbox"] {
        breaks(shown(taken), "attribute of a table", taken);
    }
    assert_eq!(mistakes(shown("key")), []);
    let unfit = Broken::OutOfRange {
        name: "stamps".into(),
        what: "a field that is shown",
        value: "\"a b\"".into(),
        allowed: "1 to 40 of a-z, A-Z, 0-9, '_', '-' and '.'",
    };
    assert_breaks(shown("a b"), unfit, "out_of_range", "1 to 40 of");
    let bare = Broken::OutOfRange {
        name: "stamps".into(),
        what: "the number of kinds under bare keys",
        value: "0".into(),
        allowed: "1",
    };
    assert_breaks(good().table(Table::new("stamps").bare_keys()), bare, "out_of_range", "1");
    breaks(good().topic("notices"), "topic", "notices");
    breaks(good().schedule("rounds", DAY, |_| Posted), "schedule", "rounds");
    breaks(good().table(Table::new("others").holds::<Letter>()), "entity kind", "letter");
    let again = || Consumer::new("again", idle::<Posted, ()>);
    breaks(good().on(again().queue("sort").dead_letter_queue("again-dlq")), "queue", "sort");
    breaks(good().on(again().dead_letter_queue("sort-dlq")), "queue", "sort-dlq");
    breaks(good().on(Consumer::new("sort", idle::<Posted, ()>).queue("again")), "step", "sort");
    // A route is a step too.
    breaks(good().route(Route::get("/", "sort", take::<()>)), "step", "sort");
    // Two routes differ in more than the name of a parameter.
    let route = good().route(Route::post("/letters/{other}", "other", take::<()>));
    breaks(route, "route", "POST /letters/{}");
    // Three are one mistake.
    breaks(good().bucket("photos").bucket("photos"), "bucket", "photos");
    // Of different sorts, or of different methods, they are two things.
    assert_eq!(mistakes(good().topic("letters")), []);
    assert_eq!(mistakes(good().route(Route::get("/letters/{id}", "show", take::<()>))), []);
}

#[test]
fn an_event_that_nobody_consumes() {
    let breaks = |definition, emitter: &str, event_type: &str| {
        let none = Broken::NoConsumer { emitter: emitter.to_owned(), event_type: event_type.to_owned() };
        assert_breaks(definition, none, "no_consumer", "add a consumer for it, say that it goes outside");
    };
    breaks(good().route(Route::get("/", "other", take::<(Sorted,)>)), "other", "sorted");
    breaks(good().schedule("other", DAY, |_| Sorted), "schedule other", "sorted");
    breaks(post_office().on(Consumer::new("sort", idle::<Posted, (Sorted,)>)), "sort", "sorted");
}

#[test]
fn a_consumer_that_nothing_feeds() {
    let lonely = || Consumer::new("carry", idle::<Sorted, ()>);
    let none = Broken::NoProducer { step: "carry".into(), event_type: "sorted".into() };
    let mend = "emit it, schedule it, or remove the consumer";
    assert_breaks(good().on(lonely()), none, "no_producer", mend);
    assert_eq!(mistakes(good().on(lonely()).schedule("others", DAY, |_| Sorted)), []);
    assert_eq!(mistakes(good().on(lonely()).route(Route::get("/", "other", take::<(Sorted,)>))), []);
}

#[test]
fn alerts_are_produced_by_alarms_alone() {
    let notify = || Consumer::new("notify", idle::<quadrille::Alert, ()>);
    assert_eq!(mistakes(good().alarm_to("notices").on(notify().from_topic("notices"))), []);
    let none = Broken::NoProducer { step: "notify".into(), event_type: "quadrille.alert".into() };
    assert_eq!(mistakes(good().on(notify().from_topic("notices"))), [none]);
}

#[test]
fn an_entity_that_no_table_holds() {
    let definition = Choreography::define("post-office")
        .table(Table::new("stamps").holds::<Stamp>())
        .schedule("rounds", DAY, |_| Posted)
        .on(Consumer::new("sort", load::<Posted, ()>));
    let none = Broken::NoTable { step: "sort".into(), kind: "letter".into() };
    assert_breaks(definition, none, "no_table", "add `.holds::<…>()` to one");
    // Nor are there any to get, query or commit.
    for uses in [Uses::new().gets::<Stamp>(), Uses::new().queries::<Stamp>(), Uses::new().commits::<Stamp>()]
    {
        let none = |step: &str| Broken::NoTable { step: step.into(), kind: "stamp".into() };
        let mend = "add `.holds::<…>()` to one";
        assert_breaks(with(|sort| sort.uses(uses.clone())), none("sort"), "no_table", mend);
        let show = Route::get("/", "show", take::<()>);
        assert_breaks(good().route(show.uses(uses)), none("show"), "no_table", mend);
    }
    // A handler that loads nothing needs no table.
    let definition = Choreography::define("post-office").schedule("rounds", DAY, |_| Posted).on(sorting());
    assert_eq!(mistakes(definition), []);
}

#[test]
fn a_route_that_cancels_knows_the_one_and_commits_it_and_is_alone() {
    let with_stamps = || good().table(Table::new("stamps").holds::<Stamp>());
    let commits = || Uses::new().gets_one::<Stamp>().commits_one::<Stamp>();
    let void = |path: &str| Route::post(path, "void", take::<()>).cancels::<Stamp>();
    assert_eq!(mistakes(with_stamps().route(void("/stamps/{id}/void").uses(commits()))), []);
    let breaks = |route: Route, what: &'static str| {
        let (name, kind) = ("void".to_owned(), "stamp".to_owned());
        let broken = Broken::Cancels { route: name, kind, what };
        assert_breaks(with_stamps().route(route), broken, "cancels", what);
    };
    let no_parameter = "its path does not name one: give it one parameter, the id (`/orders/{id}/cancel`)";
    breaks(void("/stamps").uses(commits()), no_parameter);
    breaks(void("/albums/{album}/stamps/{id}").uses(commits()), no_parameter);
    breaks(Route::direct("void", take::<()>).cancels::<Stamp>().uses(commits()), no_parameter);
    breaks(void("/stamps/{id}").uses(Uses::new().gets_one::<Stamp>()), "it commits none: say so by its uses");
    let get = Route::get("/stamps/{id}", "void", take::<()>).cancels::<Stamp>().uses(commits());
    breaks(get, "a GET changes nothing: make it a POST or a DELETE");
    let other = Route::delete("/stamps/{id}", "burn", take::<()>).cancels::<Stamp>().uses(commits());
    let (route, kind) = ("burn".to_owned(), "stamp".to_owned());
    let twice = Broken::Cancels { route, kind, what: "another route does so too: leave one of them" };
    let both = with_stamps().route(void("/stamps/{id}/void").uses(commits())).route(other);
    assert_eq!(mistakes(both), [twice]);
}

#[test]
fn a_name_that_is_used_but_not_defined() {
    let breaks = |definition, user: &str, what, name: &str| {
        let undefined = Broken::Undefined { user: user.to_owned(), what, name: name.to_owned() };
        assert_breaks(definition, undefined, "undefined", "add it, or mend the name");
    };
    breaks(post_office().on(sorting().from_topic("notes")), "sort", "topic", "notes");
    let reading = || Uses::new().reads("photo");
    breaks(with(|sort| sort.uses(reading())), "sort", "bucket", "photo");
    let show = Route::get("/", "show", take::<()>);
    breaks(good().route(show.uses(reading())), "show", "bucket", "photo");
    breaks(good().alarm_to("notes"), "the alarm", "topic", "notes");
    breaks(post_office().on(sorting().from_bus("town", Rule::new())), "sort", "event bus", "town");
    breaks(good().publish_to_bus::<Posted>("town"), "posted", "event bus", "town");
    breaks(post_office().on(sorting().from_stream("town")), "sort", "table", "town");
}

#[test]
fn a_bucket_that_nothing_uses() {
    let unused = Broken::UnusedBucket { bucket: "parcels".into() };
    let mend = "add `.puts(\"parcels\")`, `.reads(\"parcels\")` or `.lists(\"parcels\")`";
    assert_breaks(good().bucket("parcels"), unused, "unused_bucket", mend);
    for uses in [Uses::new().puts("parcels"), Uses::new().reads("parcels"), Uses::new().lists("parcels")] {
        assert_eq!(mistakes(with(|sort| sort.uses(uses)).bucket("parcels")), []);
    }
}

#[test]
fn a_topic_whose_subscribers_would_get_each_others_events() {
    let shared = |first: &str, second: &str| Broken::TopicShared {
        topic: "notices".into(),
        first: first.to_owned(),
        second: second.to_owned(),
    };
    let subscribed = || {
        post_office().on(Consumer::new("count", idle::<Posted, (Sorted,)>)).on(Consumer::new(
            "carry",
            idle::<Sorted, ()>,
        )
        .from_topic("notices"))
    };
    let mend = "give each its own topic";
    let sort = || Consumer::new("sort", idle::<Posted, ()>);
    assert_breaks(
        subscribed().on(sort().from_topic("notices")),
        shared("posted", "sorted"),
        "topic_shared",
        mend,
    );
    assert_breaks(
        subscribed().alarm_to("notices"),
        shared("quadrille.alert", "sorted"),
        "topic_shared",
        mend,
    );
    // Several subscribers of one event are what a topic is for.
    assert_eq!(
        mistakes(subscribed().on(Consumer::new("load", idle::<Sorted, ()>).from_topic("notices"))),
        []
    );
    assert_eq!(
        mistakes(
            subscribed().topic("others").on(sort().from_topic("others")).topic("alarms").alarm_to("alarms")
        ),
        []
    );
}

/// A post office whose only consumer reads the stream of the letters.
fn in_stream(change: impl FnOnce(Consumer) -> Consumer) -> Definition {
    Choreography::define("post-office")
        .table(Table::new("letters").holds::<Letter>())
        .table(Table::new("stamps").holds::<Stamp>())
        .route(Route::post("/letters/{id}", "take", take::<(Posted,)>).uses(Uses::new().commits::<Letter>()))
        .on(change(sorting().from_stream("letters")))
}

#[test]
fn an_event_that_is_not_in_the_stream_it_is_taken_from() {
    let breaks = |definition, table: &str, emitter: &str| {
        let missing = Broken::NotInStream {
            step: "sort".into(),
            event_type: "posted".into(),
            table: table.to_owned(),
            emitter: emitter.to_owned(),
        };
        assert_breaks(definition, missing, "not_in_stream", "leave `from_stream` out");
    };
    assert_eq!(mistakes(in_stream(|sort| sort)), []);
    breaks(in_stream(|sort| sort.from_stream("stamps")), "stamps", "take");
    let emits = |uses| Route::get("/", "other", take::<(Posted,)>).uses(uses);
    breaks(in_stream(|sort| sort).route(emits(Uses::new())), "letters", "other");
    let both = || Uses::new().commits::<Letter>().commits::<Stamp>();
    breaks(in_stream(|sort| sort).route(emits(both())), "letters", "other");
    assert_eq!(mistakes(in_stream(|sort| sort).route(emits(Uses::new().commits::<Letter>()))), []);
    let gives_up = Consumer::new("carry", load::<Sorted, ()>).on_given_up(|_: &Sorted, _| Posted);
    let sorted = || Route::get("/s", "s", take::<(Sorted,)>).uses(Uses::new().commits::<Letter>());
    breaks(in_stream(|sort| sort).route(sorted()).on(gives_up), "letters", "carry");
}

#[test]
fn a_stream_with_more_readers_than_dynamodb_feeds() {
    let shared =
        Broken::StreamShared { table: "letters".into(), first: "sort".into(), second: "count".into() };
    let count = Consumer::new("count", idle::<Posted, ()>);
    assert_eq!(mistakes(in_stream(|sort| sort).on(Consumer::new("count", idle::<Posted, ()>))), []);
    let both = in_stream(|sort| sort).on(count.from_stream("letters"));
    assert_breaks(both, shared, "stream_shared", "leave `from_stream` out of one of them");
}

#[test]
fn an_event_that_would_not_follow_what_lambda_gives_up() {
    let given_up = Broken::GivenUpFromStream {
        step: "sort".into(),
        table: "letters".into(),
        event_type: "sorted".into(),
    };
    let carry = Consumer::new("carry", idle::<Sorted, ()>);
    let definition = in_stream(|sort| sort.on_given_up(|_: &Posted, _| Sorted)).on(carry);
    assert_breaks(definition, given_up, "given_up_from_stream", "leave `from_stream` or `on_given_up` out");
}

#[test]
fn a_stream_stands_in_the_pictures_of_a_flow() {
    let choreography = in_stream(|sort| sort).build().unwrap();
    let chart = choreography.to_mermaid();
    assert!(chart.contains("    table_letters == posted ==> step_sort\n"), "{chart}");
    assert!(!chart.contains("relay"), "nothing is left for it:\n{chart}");
    let text = choreography.to_text();
    assert!(text.contains("[table letters] ─ stream ─ posted ─▶ (sort) ─▶ sort"), "{text}");
}

/// A post office whose only consumer is on a bus, behind `rule`.
fn on_bus(rule: Rule) -> Definition {
    post_office().bus("town").on(sorting().from_bus("town", rule))
}

#[test]
fn a_rule_that_never_matches_the_event_it_is_for() {
    let breaks = |rule, problem: &str| {
        let unfit = Broken::UnfitRule {
            step: "sort".into(),
            bus: "town".into(),
            event_type: "posted".into(),
            problem: problem.to_owned(),
        };
        assert_breaks(on_bus(rule), unfit, "unfit_rule", "mend the rule");
    };
    let other = "it asks for another source or another type";
    breaks(Rule::new().detail_type("sorted"), other);
    breaks(Rule::new().source("harbour"), other);
    breaks(Rule::new().detail("type", Match::AnythingBut(vec!["posted".into()])), other);
    breaks(
        Rule::new().detail("size.x", "L"),
        "an envelope has no \"size.x\": what an event says of itself is in `data`, as in \"data.size.x\"",
    );
    breaks(
        Rule::new().detail("data.size", "L").detail("data.size.x", "L"),
        "\"data.size\" is to be a value, and an object with fields",
    );
    let bounds = "a number has one bound, or a lower one and then an upper one that is above it";
    breaks(Rule::new().detail("data.size", Match::number(Comparison::Above, f64::NAN)), bounds);
    let (above, below) = ((Comparison::Above, 3.0), (Comparison::Below, 3.0));
    for range in [vec![], vec![above, below], vec![below, above], vec![above, below, below]] {
        breaks(Rule::new().detail("data.size", Match::Number(range)), bounds);
    }
    breaks(Rule::new().detail("subject", Match::Prefix(String::new())), "a prefix is empty");
    breaks(Rule::new().detail("subject", Match::AnythingBut(Vec::new())), "`AnythingBut` of nothing");
    // What stands around the text are 52 characters.
    let long = |text: usize| Rule::new().detail("subject", "x".repeat(text));
    breaks(long(1_997), "its pattern has 2049 characters, a bus takes 2048");
    assert_eq!(mistakes(on_bus(long(1_996))), []);
    let good = Rule::new().source("post-office").detail_type(Match::Prefix("post".into()));
    assert_eq!(mistakes(on_bus(good.detail("extra", Match::Exists(false)).detail("data.size", true))), []);
}

#[test]
fn a_rule_that_takes_events_which_its_step_can_not_read() {
    let sorted = |rule| Consumer::new("carry", idle::<Sorted, ()>).from_bus("town", rule);
    let posted = || Consumer::new("sort", idle::<Posted, (Sorted,)>).from_bus("town", Rule::new());
    let both = |rule| post_office().bus("town").on(posted()).on(sorted(rule));
    let wide = Broken::RuleTooWide { step: "carry".into(), bus: "town".into(), other: "posted".into() };
    let mend = "leave the detail type out of the rule";
    assert_breaks(both(Rule::new().detail_type(Match::Exists(true))), wide, "rule_too_wide", mend);
    assert_eq!(mistakes(both(Rule::new())), []);
    assert_eq!(mistakes(both(Rule::new().detail_type(Match::Exists(true)).detail("type", "sorted"))), []);
}

#[test]
fn a_bus_of_others_may_feed_a_step_that_nothing_of_ours_feeds() {
    let carry = || Consumer::new("carry", idle::<Carried, ()>).from_bus("town", Rule::new());
    let none = Broken::NoProducer { step: "carry".into(), event_type: "carried".into() };
    assert_eq!(mistakes(good().bus("town").on(carry())), [none]);
    assert_eq!(mistakes(good().bus(Bus::of_others("town", "the-town")).on(carry())), []);
}

#[test]
fn a_visibility_timeout_under_6_times_the_timeout() {
    let visible_for = |time: Duration| with(move |sort| sort.timeout(secs(30)).visibility_timeout(time));
    let short = Broken::VisibilityTooShort {
        queue: "sort".into(),
        visibility: secs(179),
        step: "sort".into(),
        timeout: secs(30),
        window: Duration::ZERO,
    };
    assert_breaks(
        visible_for(secs(179)),
        short,
        "visibility_too_short",
        "raise the visibility timeout to 180 s",
    );
    assert_eq!(mistakes(visible_for(secs(180))), []);
}

#[test]
fn the_visibility_timeout_that_the_message_asks_for_is_long_enough() {
    let timeout = Duration::from_millis(1_100);
    let visible_for = |time: Duration| with(move |sort| sort.timeout(timeout).visibility_timeout(time));
    let short = Broken::VisibilityTooShort {
        queue: "sort".into(),
        visibility: secs(6),
        step: "sort".into(),
        timeout,
        window: Duration::ZERO,
    };
    assert_breaks(visible_for(secs(6)), short, "visibility_too_short", "raise the visibility timeout to 7 s");
    assert_eq!(mistakes(visible_for(secs(7))), []);
}

#[test]
fn a_number_that_aws_would_not_take() {
    let breaks = |definition, name: &str, what, value: &str, allowed| {
        let range = Broken::OutOfRange { name: name.to_owned(), what, value: value.to_owned(), allowed };
        assert_breaks(definition, range, "out_of_range", &format!("allowed is {allowed}"));
    };
    let timeouts = "1 s to 900 s (Lambda)";
    breaks(with(|sort| sort.timeout(Duration::from_millis(999))), "sort", "the timeout", "999ms", timeouts);
    breaks(with(|sort| sort.timeout(secs(901))), "sort", "the timeout", "901s", timeouts);
    let batches = "1 to 10,000 messages (Lambda)";
    breaks(with(|sort| sort.batch(0, secs(1))), "sort", "the batch", "0", batches);
    breaks(with(|sort| sort.batch(10_001, secs(1))), "sort", "the batch", "10001", batches);
    let window = "1 s or more for a batch over 10 (Lambda)";
    breaks(with(|sort| sort.batch(11, Duration::ZERO)), "sort", "the batch window", "0ns", window);
    let window = "at most 300 s (Lambda)";
    breaks(with(|sort| sort.batch(11, secs(301))), "sort", "the batch window", "301s", window);
    breaks(with(|sort| sort.concurrency(0)), "sort", "the concurrency", "0", "1 or more");
    breaks(with(|sort| sort.workers(0)), "sort", "the workers", "0", "1 or more");
    let attempts = "1 to 997 (SQS: 1,000, of which 3 are kept to give a message up)";
    let short = Backoff { initial: secs(1), max: secs(1), ..Backoff::default() };
    breaks(with(|sort| sort.attempts(0, short)), "sort", "the attempts", "0", attempts);
    breaks(with(|sort| sort.attempts(998, short)), "sort", "the attempts", "998", attempts);
    let hours_12 = secs(43_200);
    let visible_for = |time: Duration| with(move |sort| sort.visibility_timeout(time));
    let longer = visible_for(hours_12 + secs(1));
    breaks(longer, "sort", "the visibility timeout", "43201s", "at most 12 h (SQS)");
    assert_eq!(mistakes(visible_for(hours_12)), []);
    let short = with(|sort| sort.attempts(1, short).retention(secs(59)));
    breaks(short, "sort", "the retention", "59s", "60 s to 14 days (SQS)");
    let answering = |time| good().route(Route::get("/", "show", take::<()>).timeout(time));
    let timeouts = "1 s to 30 s (API Gateway answers after 30 s)";
    breaks(answering(Duration::from_millis(999)), "show", "the timeout", "999ms", timeouts);
    let longer = secs(30) + Duration::from_millis(1);
    breaks(answering(longer), "show", "the timeout", "30.001s", timeouts);
    assert_eq!(mistakes(answering(secs(1))), []);
    assert_eq!(mistakes(answering(secs(30))), []);
    let path = good().route(Route::get("letters", "list", take::<()>));
    breaks(path, "list", "the path", "\"letters\"", "a path that begins with '/'");
}

#[test]
fn the_ends_of_the_ranges_are_taken() {
    let short = Backoff { initial: secs(1), max: secs(1), ..Backoff::default() };
    for definition in [
        with(|sort| sort.timeout(secs(1))),
        with(|sort| sort.timeout(secs(900))),
        with(|sort| sort.batch(1, Duration::ZERO)),
        with(|sort| sort.batch(10, Duration::ZERO)),
        with(|sort| sort.batch(11, secs(1))),
        with(|sort| sort.batch(10_000, secs(300))),
        with(|sort| sort.attempts(1, short)),
        with(|sort| sort.attempts(1, short).retention(secs(60))),
        with(|sort| sort.attempts(997, short)),
    ] {
        assert_eq!(mistakes(definition), []);
    }
}

#[test]
fn a_wait_longer_than_a_queue_can_hide_a_message() {
    // SQS hides a message for 12 h at most, counted from its receive: the handler's own time is part of that.
    let waiting = |longest: Duration| {
        let backoff = Backoff { initial: longest, max: longest, ..Backoff::default() };
        with(move |sort| sort.timeout(secs(30)).attempts(2, backoff))
    };
    let range = Broken::OutOfRange {
        name: "sort".into(),
        what: "the longest backoff, with the timeout",
        value: "43201s".into(),
        allowed: "at most 12 h (SQS)",
    };
    assert_breaks(waiting(secs(43_171)), range, "out_of_range", "at most 12 h (SQS)");
    assert_eq!(mistakes(waiting(secs(43_170))), []);
}

#[test]
fn a_batch_that_does_not_fit_in_the_timeout() {
    let taking = |time: Duration| {
        with(move |sort| {
            sort.timeout(secs(30)).batch(10, Duration::ZERO).concurrency(4).time_per_message(time)
        })
    };
    // Ten messages, four at a time, are three rounds.
    let slow = Broken::BatchTooSlow { step: "sort".into(), batch: 10, needed: secs(33), timeout: secs(30) };
    let mend = "lower the batch, raise the concurrency or the timeout";
    assert_breaks(taking(secs(11)), slow, "batch_too_slow", mend);
    assert_eq!(mistakes(taking(secs(10))), []);
}

#[test]
fn a_cycle_that_nothing_bounds() {
    let cycle = |step: &str| Broken::CycleWithoutBudget { step: step.to_owned() };
    let mend = "give it a `Budget` (deadline and hops)";
    assert_breaks(circling(|sort| sort), cycle("sort"), "cycle_without_budget", mend);
    assert_eq!(mistakes(circling(|sort| sort.budget(BUDGET))), []);
}

/// Sorts to carriers, who carry to `Em`.
fn two_steps<Em: Emits>(sort: Option<Budget>, carry: Option<Budget>) -> Definition {
    let with = |consumer: Consumer, budget: Option<Budget>| match budget {
        Some(budget) => consumer.budget(budget),
        None => consumer,
    };
    post_office()
        .on(with(Consumer::new("sort", idle::<Posted, (Sorted,)>), sort))
        .on(with(Consumer::new("carry", idle::<Sorted, Em>), carry))
}

#[test]
fn a_cycle_of_two_steps_needs_one_budget_on_either() {
    let budget = Some(BUDGET);
    let cycle = Broken::CycleWithoutBudget { step: "sort".into() };
    // One mistake, told of its first step, however many steps the cycle has.
    assert_eq!(mistakes(two_steps::<(Posted,)>(None, None)), [cycle]);
    for (sort, carry) in [(budget, None), (None, budget), (budget, budget)] {
        let choreography = two_steps::<(Posted,)>(sort, carry).build().unwrap();
        for step in ["sort", "carry"] {
            assert_eq!(choreography.model().step(step).unwrap().cycle.as_deref(), Some("sort"));
        }
    }
}

#[test]
fn a_chain_is_no_cycle_and_neither_is_the_way_into_one() {
    let chain = two_steps::<()>(None, None).build().unwrap();
    assert!(chain.model().steps.iter().all(|step| step.cycle.is_none()));
    // `sort` leads to a cycle of `carry` with itself, and comes back to neither.
    let circling = two_steps::<(Sorted,)>(None, None);
    assert_eq!(mistakes(circling), [Broken::CycleWithoutBudget { step: "carry".into() }]);
    let budget = Some(BUDGET);
    let bounded = two_steps::<(Sorted,)>(None, budget).build().unwrap();
    assert_eq!(bounded.model().step("sort").unwrap().cycle, None);
    assert_eq!(bounded.model().step("carry").unwrap().cycle.as_deref(), Some("carry"));
    // A budget on the way in bounds nothing.
    let before = two_steps::<(Sorted,)>(budget, None);
    assert_eq!(mistakes(before), [Broken::CycleWithoutBudget { step: "carry".into() }]);
}

#[test]
fn each_cycle_needs_its_own_budget() {
    let definition = post_office()
        .on(Consumer::new("sort", idle::<Posted, (Posted, Sorted)>).budget(BUDGET))
        .on(Consumer::new("carry", idle::<Sorted, (Sorted, Carried)>))
        .on(Consumer::new("hand-over", idle::<Carried, ()>));
    assert_eq!(mistakes(definition), [Broken::CycleWithoutBudget { step: "carry".into() }]);
}

#[test]
fn retries_that_last_longer_than_the_deadline() {
    let backoff = Backoff { initial: secs(100), max: secs(100), ..Backoff::default() };
    let bounded = |deadline: Duration| {
        circling(move |sort| sort.attempts(4, backoff).budget(Budget { deadline, hops: 10 }))
    };
    let beyond =
        Broken::BackoffBeyondDeadline { step: "sort".into(), backoff: secs(300), deadline: secs(299) };
    let mend = "lower the attempts or the backoff, or raise the deadline";
    assert_breaks(bounded(secs(299)), beyond, "backoff_beyond_deadline", mend);
    assert_eq!(mistakes(bounded(secs(300))), []);
}

#[test]
fn a_reason_that_ends_with_a_dead_letter_and_without_one() {
    let ending =
        |done: &'static str| with(move |sort| sort.business_ends([done]).dead_lettered_ends(["torn"]));
    let twice = Broken::EndsTwice { step: "sort".into(), reason: "torn".into() };
    assert_breaks(ending("torn"), twice, "ends_twice", "name it in one of them");
    assert_eq!(mistakes(ending("unknown_street")), []);
}

#[test]
fn retries_that_end_long_before_the_deadline() {
    let bounded = |seconds| circling(move |sort| sort.budget(Budget { deadline: secs(seconds), ..BUDGET }));
    // The default: 1, 2, 4 and 8 s, a tenth of 150 s.
    assert_eq!(mistakes(bounded(150)), []);
    let early = Broken::RetriesEndEarly {
        step: "sort".into(),
        retries: secs(15),
        deadline: secs(160),
        needed: secs(16),
    };
    assert_breaks(bounded(160), early, "retries_end_early", "attempts or its waits until they last 16s");
    let meant = circling(|sort| sort.gives_up_early().budget(Budget { deadline: DAY, ..BUDGET }));
    assert_eq!(mistakes(meant), []);
    // A step off all cycles has no deadline, and Lambda itself calls again who reads a stream.
    assert_eq!(mistakes(with(|sort| sort.attempts(1, Backoff::default()))), []);
    let reading = Consumer::new("sort", load::<Posted, (Posted,)>).from_stream("letters");
    let reading = reading.budget(Budget { deadline: DAY, ..BUDGET });
    assert_eq!(mistakes(in_stream(|_| reading)), []);
}

#[test]
fn waits_that_last_longer_than_the_queue_keeps_the_message() {
    let mend = "raise the retention (at most 14 days) or shorten the backoff or the deadline";
    let beyond = |needed: Duration, retention: Duration| Broken::BeyondRetention {
        step: "sort".into(),
        queue: "sort".into(),
        needed,
        retention,
    };
    let hour = secs(3_600);
    let backoff = Backoff { initial: hour, max: hour, ..Backoff::default() };
    let kept = |retention: Duration| with(move |sort| sort.attempts(4, backoff).retention(retention));
    assert_breaks(kept(3 * hour - secs(1)), beyond(3 * hour, 3 * hour - secs(1)), "beyond_retention", mend);
    assert_eq!(mistakes(kept(3 * hour)), []);
    // The deadline counts where it is longer than the waits.
    let budget = Budget { deadline: DAY, ..BUDGET };
    let kept =
        |retention: Duration| circling(move |sort| sort.gives_up_early().budget(budget).retention(retention));
    assert_breaks(kept(DAY - secs(1)), beyond(DAY, DAY - secs(1)), "beyond_retention", mend);
    assert_eq!(mistakes(kept(DAY)), []);
}

#[test]
fn a_dead_letter_queue_that_forgets_before_its_source_does() {
    let kept = |retention: Duration| with(move |sort| sort.retention(retention));
    let forgotten = Broken::DeadLettersForgotten {
        queue: "sort-dlq".into(),
        retention: 14 * DAY,
        source_retention: 14 * DAY,
    };
    assert_breaks(kept(14 * DAY), forgotten, "dead_letters_forgotten", "lower the source's retention");
    assert_eq!(mistakes(kept(14 * DAY - secs(1))), []);
}

#[test]
fn every_mistake_is_reported_at_once() {
    let definition = circling(|sort| sort.workers(0).uses(Uses::new().lists("nowhere")));
    let definition = definition.topic("notices").bucket("Photos");
    let errors = definition.build().unwrap_err();
    let expected = [
        Broken::NameUsedTwice { what: "topic", name: "notices".into() },
        Broken::InvalidName { what: "bucket", name: "Photos".into() },
        Broken::Undefined { user: "sort".into(), what: "bucket", name: "nowhere".into() },
        Broken::UnusedBucket { bucket: "Photos".into() },
        Broken::OutOfRange {
            name: "sort".into(),
            what: "the workers",
            value: "0".into(),
            allowed: "1 or more",
        },
        Broken::CycleWithoutBudget { step: "sort".into() },
    ];
    assert_eq!(errors.0, expected);
    let text = errors.to_string();
    assert!(text.starts_with("the definition has 6 mistake(s)\n"), "{text}");
    for error in expected {
        assert!(text.contains(&format!("\n  {error}")), "{error} is not in: {text}");
    }
}

#[test]
fn a_bus_stands_in_the_pictures_of_a_flow() {
    let choreography = post_office()
        .bus("town")
        .on(Consumer::new("sort", idle::<Posted, (Sorted,)>).from_bus("town", Rule::new()))
        .publish_to_bus::<Sorted>("town")
        .build()
        .unwrap();
    let chart = choreography.to_mermaid();
    for line in [
        r#"bus_town[/"town"\]"#,
        "relay -- posted --> bus_town",
        "relay -- sorted --> bus_town",
        "bus_town --> step_sort",
        "bus_town --> subscribers",
    ] {
        assert!(chart.lines().any(|drawn| drawn.trim() == line), "{line} is not in:\n{chart}");
    }
    let text = choreography.to_text();
    for part in ["{bus town} ─▶ (sort) ─▶ sort", "relay ─ sorted ─▶ {bus town} ─▶ subscribers outside"]
    {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
}

#[test]
fn the_flowchart_of_a_small_definition() {
    let reading = Uses::new().gets::<Letter>().queries::<Stamp>();
    let sort = Consumer::new("sort", load::<Posted, (Sorted,)>);
    let sort = sort.uses(Uses::new().gets::<Stamp>().reads("photos").lists("photos"));
    let choreography = post_office()
        .table(Table::new("stamps").holds::<Stamp>())
        .route(Route::get("/letters/{id}", "show", take::<()>).uses(reading))
        .on(sort.attempts(3, Backoff::default()))
        .on(Consumer::new("carry", load::<Sorted, ()>).queue("carriers").from_topic("notices"))
        .topic("alarms")
        .alarm_to("alarms")
        .build()
        .unwrap();
    let expected = r#"flowchart TD
    step_take["take<br>POST /letters/{id}"]
    step_show["show<br>GET /letters/{id}"]
    schedule_rounds(["rounds<br>every 1h"])
    table_letters[("letters")]
    table_stamps[("stamps")]
    relay(("relay"))
    step_sort["sort"]
    queue_sort_dlq>"sort-dlq"]
    queue_carriers>"carriers"]
    step_carry["carry"]
    queue_carriers_dlq>"carriers-dlq"]
    bucket_photos[/"photos"/]
    topic_notices{{"notices"}}
    topic_alarms{{"alarms"}}
    step_take -- commits --> table_letters
    step_take --> bucket_photos
    step_show -. reads .-> table_letters
    step_show -. reads .-> table_stamps
    schedule_rounds --> step_sort
    table_letters == stream ==> relay
    table_stamps == stream ==> relay
    relay -- posted --> step_sort
    relay -- sorted --> topic_notices
    step_sort -- commits --> table_letters
    step_sort -. reads .-> table_stamps
    step_sort --> bucket_photos
    step_sort -. fails .-> queue_sort_dlq
    topic_notices --> queue_carriers
    queue_carriers --> step_carry
    step_carry -- commits --> table_letters
    step_carry -. fails .-> queue_carriers_dlq
    queue_sort_dlq & queue_carriers_dlq -. alarm .-> topic_alarms
"#;
    assert_eq!(choreography.to_mermaid(), expected);

    let entry = |at, handler: &'static str, kind| TrailEntry {
        at: Timestamp::from_millis(at),
        what: "x".into(),
        handler: handler.into(),
        attempt: 1,
        until: None,
        kind,
        event: None,
        redriven: None,
        details: None,
    };
    let failed = TrailEntryKind::DeadLettered { reason: "lost".into() };
    // The last passage counts, in whatever order they come.
    let trail = [entry(2, "sort", failed.clone()), entry(1, "sort", TrailEntryKind::Committed)];
    let path = Path::of(&[trail.as_slice(), &[entry(0, "take", TrailEntryKind::Committed)]].concat());
    let marked = choreography.to_mermaid_of(&path);
    assert_eq!(
        marked.strip_prefix(expected).unwrap(),
        r#"    classDef done fill:#dafbe1,stroke:#1a7f37,stroke-width:3px,color:#1f2328
    class relay,step_take,table_letters done
    classDef failed fill:#ffebe9,stroke:#cf222e,stroke-width:3px,color:#1f2328
    class queue_sort_dlq,step_sort failed
    linkStyle 0,5,7 stroke:#1a7f37,stroke-width:3px
    linkStyle 12 stroke:#cf222e,stroke-width:3px
"#
    );
    let lines = choreography.to_lines_of(&path);
    let of = |part: &str| lines.iter().find(|(line, _)| line.contains(part)).unwrap().1;
    assert_eq!(of("POST /letters"), Some(Passage::Done));
    assert_eq!(of("(sort) ─▶ sort"), Some(Passage::Failed { is_dead_lettered: true }));
    assert_eq!(of("GET /letters"), None);
}

#[test]
fn a_visibility_timeout_that_forgets_the_window() {
    let windowed = |visibility: u64| {
        with(move |sort| sort.timeout(secs(30)).batch(100, secs(20)).visibility_timeout(secs(visibility)))
    };
    let short = Broken::VisibilityTooShort {
        queue: "sort".into(),
        visibility: secs(199),
        step: "sort".into(),
        timeout: secs(30),
        window: secs(20),
    };
    assert_breaks(windowed(199), short, "visibility_too_short", "raise the visibility timeout to 200 s");
    assert_eq!(mistakes(windowed(200)), []);
    let unsaid = with(|sort| sort.timeout(secs(30)).batch(100, secs(20)));
    assert_eq!(unsaid.build().unwrap().model().queue("sort").unwrap().visibility_timeout, secs(200));
}

#[test]
fn waits_that_make_no_sense() {
    let breaks = |waits: Waits, mend: &str| {
        let found = mistakes(with(move |sort| sort.attempts(3, waits.clone())));
        assert!(matches!(&found[..], [Broken::SenselessWaits { step, .. }] if step == "sort"), "{found:?}");
        assert!(found[0].to_string().contains(mend), "{}", found[0]);
    };
    let standard = Backoff::default();
    breaks(Backoff { multiplier: f64::NAN, ..standard }.into(), "2.0 doubles");
    breaks(Backoff { multiplier: -1.0, ..standard }.into(), "2.0 doubles");
    breaks(Backoff { jitter: 2.0, ..standard }.into(), "0.5 makes half");
    breaks(Backoff { initial: secs(600), max: secs(300), ..standard }.into(), "raise `max`");
    breaks(Waits::Listed(Vec::new()), "list one wait");
}

#[test]
fn a_schedule_that_aws_does_not_have() {
    for (when, told) in [
        (When::Every(Duration::from_millis(1_500)), "take minutes that divide an hour"),
        (When::Every(Duration::ZERO), "take minutes that divide an hour"),
        (When::Every(secs(90)), "take minutes that divide an hour"),
        (Cron::new("0 18 1 * MON", "UTC").into(), "make one `*`"),
        (Cron::new("0 18 * * *", "Europe/Atlantis").into(), "Europe/Atlantis"),
    ] {
        let found =
            mistakes(
                good().on(Consumer::new("other", idle::<Sorted, ()>)).schedule("others", when, |_| Sorted),
            );
        assert!(
            matches!(&found[..], [Broken::ScheduleTimes { schedule, .. }] if schedule == "others"),
            "{found:?}"
        );
        assert!(found[0].to_string().contains(told), "{}", found[0]);
    }
    let evening = Cron::new("0 18 * * MON-FRI", "Europe/Berlin");
    assert_eq!(
        mistakes(
            good().on(Consumer::new("other", idle::<Sorted, ()>)).schedule("others", evening, |_| Sorted)
        ),
        []
    );
}

#[test]
fn what_is_told_to_others_needs_somebody_who_tells_it() {
    let orphan = Broken::NoProducer { step: "\"billing\" outside".into(), event_type: "sorted".into() };
    assert_breaks(good().send_outside::<Sorted>("billing"), orphan, "no_producer", "emit it");
    assert_eq!(mistakes(with_emitting().send_outside::<Sorted>("billing")), []);
    assert_eq!(mistakes(with_emitting().topic("news").publish::<Sorted>("news")), []);
    let undefined = mistakes(with_emitting().publish::<Sorted>("news"));
    assert!(
        matches!(&undefined[..], [Broken::Undefined { what: "topic", name, .. }] if name == "news"),
        "{undefined:?}"
    );
}

/// A post office with this consumer.
fn with_sort(consumer: Consumer) -> Definition {
    post_office().on(consumer)
}

/// A post office whose step emits `Sorted`.
fn with_emitting() -> Definition {
    with_sort(Consumer::new("sort", idle::<Posted, (Sorted,)>))
}

#[test]
fn a_queue_that_is_ours_and_that_of_others() {
    let definition = with_sort(Consumer::new("sort", idle::<Posted, (Sorted,)>).queue("billing"));
    let both = Broken::QueueOfOthers { queue: "billing".into(), step: "sort".into() };
    assert_breaks(
        definition.send_outside::<Sorted>("billing"),
        both,
        "queue_of_others",
        "give one of them another name",
    );
}

#[test]
fn a_decoder_for_another_event() {
    let decode = |_: &str| Ok::<_, quadrille::Failure>(Sorted);
    let consumer = Consumer::new("other", idle::<Posted, ()>).from_outside(decode);
    let mismatch = Broken::OtherEvent {
        step: "other".into(),
        consumed: "posted".into(),
        what: "its decoder",
        given: "sorted".into(),
    };
    assert_breaks(good().on(consumer), mismatch, "other_event", "both have to be for one event");
}

#[test]
fn what_follows_a_message_that_is_given_up_needs_a_consumer_and_counts_as_emitted() {
    let followed =
        || Consumer::new("sort", idle::<Posted, ()>).on_given_up(|_: &Posted, _: &quadrille::Failure| Sorted);
    let nobody = Broken::NoConsumer { emitter: "sort".into(), event_type: "sorted".into() };
    assert_breaks(with_sort(followed()), nobody, "no_consumer", "add a consumer");
    assert_eq!(mistakes(with_sort(followed()).on(Consumer::new("mend", idle::<Sorted, ()>))), []);
    // One that follows itself is a cycle.
    let endless =
        Consumer::new("sort", idle::<Posted, ()>).on_given_up(|_: &Posted, _: &quadrille::Failure| Posted);
    let unbounded = Broken::CycleWithoutBudget { step: "sort".into() };
    assert_breaks(with_sort(endless), unbounded, "cycle_without_budget", "Budget");
}

#[test]
fn settings_and_services_are_declared_used_and_sensible() {
    trait Scale: Send + Sync {}
    struct Exact;
    impl Scale for Exact {}
    let scale = || quadrille::Service::<dyn Scale>::new(|_| Ok(std::sync::Arc::new(Exact)));
    let user = |uses: Uses| Consumer::new("weigh", idle::<Posted, ()>).uses(uses);
    let unused = Broken::UnusedSetting { setting: "pace".into() };
    assert_breaks(
        good().setting(Setting::duration("pace").default("1s")),
        unused,
        "unused_setting",
        "remove it",
    );
    assert_breaks(
        good().service(scale()),
        Broken::UnusedService { service: "Scale".into() },
        "unused_service",
        "remove it",
    );
    let undefined = |what, name: &str| Broken::Undefined { user: "weigh".into(), what, name: name.into() };
    assert_eq!(mistakes(good().on(user(Uses::new().setting("pace")))), [undefined("setting", "pace")]);
    assert_eq!(
        mistakes(good().on(user(Uses::new().service::<dyn Scale>()))),
        [undefined("service", "Scale")]
    );
    let wrong =
        good().setting(Setting::duration("pace").default("soon")).on(user(Uses::new().setting("pace")));
    let found = mistakes(wrong);
    assert!(matches!(&found[..], [Broken::WrongDefault { .. }]), "{found:?}");
    let secret =
        good().setting(Setting::text("key").secret().default("sesame")).on(user(Uses::new().setting("key")));
    let told = mistakes(secret)[0].to_string();
    assert!(told.contains("a secret in a program's text is none") && !told.contains("sesame"), "{told}");
    let dashed = good().setting(Setting::text("a-b").default("x")).on(user(Uses::new().setting("a-b")));
    assert!(matches!(&mistakes(dashed)[..], [Broken::InvalidName { what: "setting", .. }]));
    let memory = mistakes(good().on(user(Uses::new()).memory(64)));
    assert!(matches!(&memory[..], [Broken::OutOfRange { what: "the memory", .. }]), "{memory:?}");
}

#[test]
fn advice_tells_of_what_is_no_mistake() {
    let silent = good().build().unwrap().advice();
    assert!(matches!(silent[..], [Advice::NoAlarm { dead_letter_queues: 1.. }]), "{silent:?}");
    assert!(silent[0].to_string().contains(".alarm_to"));
    let told = good().topic("alarms").alarm_to("alarms").build().unwrap().advice();
    assert_eq!(told, []);
}

/// The letters of a table that are spread by the setting `places`, as `setting` declares it; a step that queries them has `uses`.
fn spread(setting: Option<Setting>, uses: Uses) -> Vec<Broken> {
    let definition = Choreography::define("post")
        .table(Table::new("letters").holds::<Letter>().spread::<Letter>("places"))
        .route(
            Route::post("/letters", "take", |_: Request, _: Context<(Sorted,)>| async {
                Ok::<_, Failure>(Response::json(202, &()))
            })
            .uses(Uses::new().commits::<Letter>().queries::<Letter>())
            .uses(uses),
        )
        .on(Consumer::new("sort", idle::<Sorted, ()>));
    mistakes(setting.into_iter().fold(definition, Definition::setting))
}

#[test]
fn what_is_spread_by_a_number_that_is_none_or_that_is_not_read() {
    let places = || Setting::integer("places").within(1..=64).default("8");
    assert_eq!(spread(Some(places()), Uses::new().setting("places")), []);
    let unread = spread(Some(places()), Uses::new());
    assert!(
        unread.iter().any(|found| matches!(found, Broken::SpreadUnread { step, .. } if step == "take")),
        "{unread:?}"
    );
    assert!(
        spread(None, Uses::new())
            .iter()
            .any(|found| matches!(found, Broken::Undefined { name, .. } if name == "places"))
    );
    for wrong in [
        Setting::integer("places").default("8"),
        Setting::integer("places").within(0..=64).default("8"),
        Setting::integer("places").within(1..=64),
        Setting::text("places").default("8"),
    ] {
        let found = spread(Some(wrong), Uses::new().setting("places"));
        assert!(
            matches!(&found[..], [Broken::SpreadUnsaid { setting, .. }] if setting == "places"),
            "{found:?}"
        );
    }
}

#[test]
fn provisioned_pollers_beside_a_maximum_concurrency() {
    let with = |consumer: Consumer| {
        mistakes(good().on(consumer).schedule("others", When::Every(secs(3_600)), |_| Sorted))
    };
    let other = || Consumer::new("other", idle::<Sorted, ()>);
    assert_eq!(with(other().provisioned_pollers(2, 2_000)), []);
    assert_eq!(with(other().maximum_concurrency(1_000)), []);
    let both = with(other().provisioned_pollers(2, 10).maximum_concurrency(50));
    assert!(matches!(&both[..], [Broken::PollersAndConcurrency { step }] if step == "other"), "{both:?}");
    for wrong in [
        other().provisioned_pollers(1, 10),
        other().provisioned_pollers(5, 4),
        other().maximum_concurrency(1),
    ] {
        let found = with(wrong);
        assert!(matches!(&found[..], [Broken::OutOfRange { .. }]), "{found:?}");
    }
}

#[test]
fn a_table_that_is_ready_for_less_than_it_is_by_itself() {
    let with = |table: Table| mistakes(good().table(table.holds::<Stamp>()));
    let found = with(Table::new("stamps").warm(11_999, 3_999));
    assert!(
        found.iter().filter(|found| matches!(found, Broken::OutOfRange { .. })).count() == 2,
        "{found:?}"
    );
    assert!(with(Table::new("stamps").warm(12_000, 4_000)).is_empty());
}
