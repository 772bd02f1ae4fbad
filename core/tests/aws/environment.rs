//! What a process needs, and what its environment has to tell.

use crate::peer;
use quadrille::{
    Choreography, Consumer, Context, Entity, Event, Failure, Handled, Outcome, Route, Stored, Table, Uses,
    aws::{self, Names, NamesError, Needs},
    choreography::{BucketUse, Model, QueueUse, ResourceKind, TableUse, TopicUse, Variable},
    conformance,
    http::{Request, Response},
    port::NewMessage,
};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, collections::BTreeMap, env, process::Command};

#[derive(Serialize, Deserialize)]
struct Pot {
    day: String,
}

impl Entity for Pot {
    const KIND: &'static str = "pot";
    fn id(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.day)
    }
}

macro_rules! events {
    ($($event:ident $name:literal),+) => {$(
        #[derive(Serialize, Deserialize)]
        struct $event {
            day: String,
        }
        impl Event for $event {
            const TYPE: &'static str = $name;
            type Entity = Pot;
            fn subject(&self) -> Cow<'_, str> {
                Cow::Borrowed(&self.day)
            }
        }
    )+};
}

events!(TeaTime "tea.time", Steeped "tea.steeped", Served "tea.served");

async fn brew(_: TeaTime, _: Context<(Steeped,)>) -> Outcome<(Steeped,)> {
    Ok(Handled::Done)
}

async fn serve(_: Stored<Pot>, _: Steeped, _: Context<(Served,)>) -> Outcome<(Served,)> {
    Ok(Handled::Done)
}

async fn wash(_: Served, _: Context<()>) -> Outcome<()> {
    Ok(Handled::Done)
}

async fn look(_: Request, _: Context<()>) -> Result<Response, Failure> {
    Err(Failure::permanent("closed", "no tea today"))
}

fn tea_shop() -> Choreography {
    Choreography::define("tea-shop")
        .table(Table::new("tea-pots").holds::<Pot>())
        .bucket("bills")
        .bucket("recipes")
        .topic("guests")
        .schedule("tea-time", std::time::Duration::from_secs(86_400), |at| TeaTime { day: at.to_string() })
        .on(Consumer::new("brew", brew).uses(Uses::new().commits::<Pot>().reads("recipes")))
        .on(Consumer::new("serve", serve).uses(Uses::new().puts("bills")))
        .on(Consumer::new("wash", wash).from_topic("guests"))
        .route(Route::get("/pots/{day}", "look", look).uses(Uses::new().gets::<Pot>()))
        .build()
        .unwrap()
}

fn variables(model: &Model, needs: &Needs) -> Vec<String> {
    needs.variables(model).into_iter().map(|variable| variable.name).collect()
}

fn of_step(model: &Model, step: &str) -> Vec<String> {
    variables(model, &Needs::of_step(model, step).unwrap())
}

#[test]
fn a_process_is_told_what_it_touches_and_no_more() {
    let tea_shop = tea_shop();
    let model = tea_shop.model();
    assert_eq!(
        of_step(model, "serve"),
        [
            "QUADRILLE_TABLE_TEA_POTS",
            "QUADRILLE_QUEUE_SERVE",
            "QUADRILLE_QUEUE_SERVE_DLQ",
            "QUADRILLE_BUCKET_BILLS"
        ]
    );
    assert_eq!(of_step(model, "look"), ["QUADRILLE_TABLE_TEA_POTS"]);
    assert_eq!(of_step(model, "wash"), ["QUADRILLE_QUEUE_WASH", "QUADRILLE_QUEUE_WASH_DLQ"]);
    assert_eq!(Needs::of_step(model, "dance"), None);
    // What starts the flow comes from the schedule, not from the relay. What a topic does not take goes to the
    // dead-letter queue of who would have got it.
    assert_eq!(
        variables(model, &Needs::of_relay(model)),
        [
            "QUADRILLE_QUEUE_SERVE",
            "QUADRILLE_QUEUE_SERVE_DLQ",
            "QUADRILLE_QUEUE_WASH_DLQ",
            "QUADRILLE_TOPIC_GUESTS"
        ]
    );
    let everything = Needs::everything(model);
    assert_eq!(everything.queues.len(), 6);
    assert_eq!(everything.variables(model).len(), 1 + 6 + 2 + 1);
    let bills = Variable {
        name: "QUADRILLE_BUCKET_BILLS".to_owned(),
        kind: ResourceKind::Bucket,
        of: "bills".to_owned(),
    };
    assert_eq!(everything.variables(model)[7], bills);
}

#[test]
fn a_need_says_how_it_is_used() {
    let tea_shop = tea_shop();
    let model = tea_shop.model();
    let name = |name: &str| name.to_owned();
    let serve = Needs {
        // It is loaded, and committed; of a batch, several at once. It has to be there.
        tables: [(
            name("tea-pots"),
            [TableUse::Get, TableUse::GetMany, TableUse::Commit, TableUse::ChangeMany].into(),
        )]
        .into(),
        queues: [
            // Nobody emits its event with a later time: it sends nothing back to its own queue.
            (name("serve"), [QueueUse::Consume].into()),
            (name("serve-dlq"), [QueueUse::Send].into()),
        ]
        .into(),
        buckets: [(name("bills"), [BucketUse::Put].into())].into(),
        buckets_where: BTreeMap::new(),
        topics: BTreeMap::new(),
        buses: BTreeMap::new(),
    };
    assert_eq!(Needs::of_step(model, "serve"), Some(serve));
    let brew = Needs::of_step(model, "brew").unwrap();
    assert_eq!(brew.tables, [(name("tea-pots"), [TableUse::CreateMany, TableUse::ChangeMany].into())].into());
    assert_eq!(brew.buckets, [(name("recipes"), [BucketUse::Get].into())].into());
    let relay = Needs::of_relay(model);
    assert!(relay.queues.values().all(|uses| *uses == [QueueUse::Send].into()), "{relay:?}");
    assert_eq!(relay.topics, [(name("guests"), [TopicUse::Publish].into())].into());
}

#[test]
fn an_environment_that_lacks_something_is_told_all_that_it_lacks() {
    let tea_shop = tea_shop();
    let model = tea_shop.model();
    let needs = Needs::of_step(model, "serve").unwrap();
    let told = BTreeMap::from([
        ("QUADRILLE_TABLE_TEA_POTS", "stack-tea-pots"),
        ("QUADRILLE_QUEUE_SERVE", "https://sqs.eu-central-1.amazonaws.com/123456789012/stack-serve"),
        ("QUADRILLE_BUCKET_BILLS", " "),
    ]);
    let read = |name: &str| told.get(name).map(|value| (*value).to_owned());
    let error = Names::from_variables(model, &needs, read).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the environment lacks QUADRILLE_QUEUE_SERVE_DLQ, QUADRILLE_BUCKET_BILLS: the infrastructure has to set them"
    );
    let names = Names::from_variables(model, &needs, |name| Some(name.to_lowercase())).unwrap();
    assert_eq!(names.tables["tea-pots"], "quadrille_table_tea_pots");
    assert_eq!(names.queues["serve-dlq"], "quadrille_queue_serve_dlq");
    assert_eq!(names.buckets["bills"], "quadrille_bucket_bills");
    assert_eq!(names.topics.len(), 0);
}

#[test]
fn a_table_may_be_told_by_a_variable_of_its_own() {
    let mut model = tea_shop().model().as_ref().clone();
    model.tables[0].variable = Some("POTS".to_owned());
    let needs = Needs::of_step(&model, "look").unwrap();
    assert_eq!(variables(&model, &needs), ["POTS"]);
    let names = Names::from_variables(&model, &needs, |name| Some(name.to_lowercase())).unwrap();
    assert_eq!(names.tables["tea-pots"], "pots");
}

#[test]
fn two_names_that_share_a_variable_are_refused() {
    let needs = Needs {
        queues: ["tea_pots", "tea-pots"].map(|name| (name.to_owned(), [QueueUse::Send].into())).into(),
        ..Needs::default()
    };
    let error = Names::from_variables(&Model::default(), &needs, |_| Some("x".to_owned())).unwrap_err();
    assert_eq!(error, NamesError::Shared("QUADRILLE_QUEUE_TEA_POTS".to_owned()));
}

/// A process of its own, for a process's environment is not changed while it runs.
#[tokio::test]
async fn a_process_connects_by_its_environment() {
    let Some(url) = peer::require("a_process_connects_by_its_environment") else { return };
    let model = conformance::model();
    let names = peer::provision(&model, &peer::configuration(url).await).await;
    let mut process = Command::new(env::current_exe().unwrap());
    process.args(["--exact", "environment::connects", "--ignored", "--nocapture"]).env_clear();
    process.envs(peer::variables(url));
    let told = [
        ("TABLE", &names.tables),
        ("QUEUE", &names.queues),
        ("BUCKET", &names.buckets),
        ("TOPIC", &names.topics),
        ("BUS", &names.buses),
    ];
    for (kind, names) in told {
        for (name, physical) in names {
            let name = name.to_uppercase().replace('-', "_");
            process.env(format!("QUADRILLE_{kind}_{name}"), physical);
        }
    }
    let output = tokio::task::spawn_blocking(move || process.output()).await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{output:?}");
}

#[tokio::test]
#[ignore = "the process that a_process_connects_by_its_environment starts"]
async fn connects() {
    let model = conformance::model();
    let names = Names::from_environment(&model, &Needs::everything(&model)).unwrap();
    let ports = aws::connect(&model, &names).await;
    assert_eq!(ports.tables.keys().collect::<Vec<_>>(), ["flows", "things"]);
    assert_eq!(ports.streams.len(), 0);
    assert_eq!(ports.table("things").unwrap().get(&["thing/1".to_owned()]).await, Ok(vec![None]));
    let message = || vec![NewMessage { body: "x".to_owned(), ..NewMessage::default() }];
    assert_eq!(ports.queue("work").unwrap().send(message()).await, [Ok(())]);
    assert_eq!(ports.bucket("objects").unwrap().put_if_absent("x", b"x".to_vec()).await, Ok(true));
    assert_eq!(ports.topic("published").unwrap().publish(message()).await, [Ok(())]);
}
