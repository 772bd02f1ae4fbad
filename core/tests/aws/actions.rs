//! Which actions of IAM each use takes: what the adapters call, seen on the wire, and what a use says are the same. Permissions
//! are derived from what it says.

use crate::{
    one_of_each, peer,
    proxy::{Fault, Proxy},
};
use quadrille::{
    Choreography, Consumer, Context, Entity, Event, Failure, Outcome, Pipeline, Stored, Timestamp, Verdict,
    aws::{self, Needs},
    choreography::{BucketUse, QueueUse, TableUse, TopicUse},
    port::{
        Clock as _, CommitError, IndexEntry, IndexQuery, Item, Message, NewMessage, Ports, SystemClock, Write,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

struct Scene {
    proxy: Proxy,
    ports: Ports,
}

async fn scene(test: &str) -> Option<Scene> {
    let url = peer::require_that_can(test, peer::Can::BeMeddledWith)?;
    let proxy = Proxy::start(url).await;
    let model = one_of_each();
    let names = peer::provision(&model, &peer::configuration(url).await).await;
    let ports = aws::ports(&model, &names, &peer::configuration(&proxy.url).await);
    Some(Scene { proxy, ports })
}

fn set(actions: &[&str]) -> BTreeSet<String> {
    actions.iter().map(|action| (*action).to_owned()).collect()
}

fn write(key: &str, version: u64) -> Write {
    let index = IndexEntry { partition: "open".to_owned(), sort: key.to_owned() };
    Write {
        item: Item {
            key: key.to_owned(),
            version,
            document: format!("\"{version}\"").into(),
            expires_at: None,
            index: Some(index),
        },
        expected: version - 1,
        now: SystemClock.now(),
        outbox: Vec::new(),
        index_changed: version == 1,
        expiry_changed: version == 1,
    }
}

/// Commits of one and of many; new, again, and where somebody else was first or nothing is there; with answers that get lost.
#[tokio::test]
async fn a_use_of_a_table_takes_the_actions_that_it_says() {
    let Some(scene) = scene("a_use_of_a_table_takes_the_actions_that_it_says").await else { return };
    let table = scene.ports.table("table").unwrap();
    let name = |count: usize, at: usize| format!("thing/{count}-{at}");
    let mut seen: BTreeMap<TableUse, BTreeSet<String>> = BTreeMap::new();
    let used = |count: usize, is_new: bool| match (count, is_new) {
        (1, _) => TableUse::Commit,
        (_, true) => TableUse::CreateMany,
        (_, false) => TableUse::ChangeMany,
    };
    for count in [1, 3] {
        let call = if count == 1 { "PutItem" } else { "BatchExecuteStatement" };
        let writes = |version: u64| (0..count).map(move |at| write(&name(count, at), version)).collect();
        for (version, fault, applied) in [
            (1, Fault::None, true),
            (2, Fault::Cut, true),
            (1, Fault::None, false),
            (2, Fault::Failed, true),
            (3, Fault::Throttled, true),
            (9, Fault::None, false),
        ] {
            scene.proxy.meddle(call, &[fault]);
            let answers = table.commit(writes(version)).await;
            let expected = if applied { Ok(()) } else { Err(CommitError::Conflict) };
            assert_eq!(answers, vec![expected; count], "{count} of version {version}, {fault:?}");
            seen.entry(used(count, version == 1)).or_default().extend(scene.proxy.actions(""));
        }
        // One that expired is replaced, and one that is gone is looked for.
        let mut expired: Vec<Write> =
            (0..count).map(|at| write(&format!("thing/old-{count}-{at}"), 1)).collect();
        expired.iter_mut().for_each(|write| write.item.expires_at = Some(Timestamp::from_millis(1_000)));
        for _ in 0..2 {
            scene.proxy.meddle("", &[]);
            assert_eq!(table.commit(expired.clone()).await, vec![Ok(()); count]);
            seen.entry(used(count, true)).or_default().extend(scene.proxy.actions(""));
        }
        scene.proxy.meddle("", &[]);
        let gone = (0..count).map(|at| write(&format!("thing/gone-{count}-{at}"), 2)).collect();
        assert_eq!(table.commit(gone).await, vec![Err(CommitError::Conflict); count]);
        seen.entry(used(count, false)).or_default().extend(scene.proxy.actions(""));
    }
    // One of many may be left for a request of its own.
    let of_one = seen[&TableUse::Commit].clone();
    assert_eq!(of_one, set(TableUse::Commit.actions()));
    for many in [TableUse::CreateMany, TableUse::ChangeMany] {
        let with_one: BTreeSet<String> = seen[&many].union(&of_one).cloned().collect();
        assert_eq!(with_one, set(many.actions()), "{many:?}");
    }

    scene.proxy.meddle("", &[]);
    for (count, used) in [(1, TableUse::Get), (3, TableUse::GetMany)] {
        let keys: Vec<String> = (0..count).map(|at| name(3, at)).chain(["thing/nobody".to_owned()]).collect();
        assert_eq!(table.get(&keys[..count]).await.unwrap().into_iter().flatten().count(), count);
        assert_eq!(table.get(&keys[count..]).await, Ok(vec![None]));
        assert_eq!(scene.proxy.actions(""), set(used.actions()));
    }

    scene.proxy.meddle("", &[]);
    let bounds = [None, Some("thing/3-0".to_owned())];
    for (after, before) in bounds.iter().flat_map(|after| [(after, None), (after, Some("x".to_owned()))]) {
        let query = IndexQuery { partition: "open".to_owned(), after: after.clone(), before, limit: 2 };
        assert!(!table.query(&query).await.unwrap().items.is_empty());
    }
    assert_eq!(scene.proxy.actions(""), set(TableUse::Query.actions()));
}

#[tokio::test]
async fn a_use_of_a_bucket_takes_the_actions_that_it_says() {
    let Some(scene) = scene("a_use_of_a_bucket_takes_the_actions_that_it_says").await else { return };
    let bucket = scene.ports.bucket("bucket").unwrap();
    let mut seen = BTreeSet::new();
    for (key, fault, is_new) in [
        ("a", Fault::None, true),
        ("a", Fault::None, false),
        ("b", Fault::Cut, true),
        ("c", Fault::Failed, true),
    ] {
        scene.proxy.meddle("PUT /", &[fault]);
        assert_eq!(bucket.put_if_absent(key, b"x".to_vec()).await, Ok(is_new), "{key}, {fault:?}");
        seen.extend(scene.proxy.actions(""));
    }
    assert_eq!(seen, set(BucketUse::Put.actions()));

    scene.proxy.meddle("", &[]);
    assert_eq!(bucket.get("a").await, Ok(Some(b"x".to_vec())));
    assert_eq!(scene.proxy.actions(""), set(&["s3:GetObject"]));
    assert_eq!(bucket.get("nothing").await, Ok(None));
    assert_eq!(scene.proxy.actions(""), set(BucketUse::Get.actions()));

    scene.proxy.meddle("", &[]);
    for (prefix, after, found) in [("", None, 3), ("a", None, 1), ("", Some("a"), 2), ("nothing", None, 0)] {
        assert_eq!(bucket.list(prefix, after, 10).await.unwrap().keys.len(), found);
    }
    assert_eq!(scene.proxy.actions(""), set(BucketUse::List.actions()));
}

#[tokio::test]
async fn a_use_of_a_queue_or_a_topic_takes_the_actions_that_it_says() {
    let Some(scene) = scene("a_use_of_a_queue_or_a_topic_takes_the_actions_that_it_says").await else {
        return;
    };
    let queue = scene.ports.queue("queue").unwrap();
    let messages = |count: usize| -> Vec<NewMessage> {
        (0..count).map(|at| NewMessage { body: at.to_string(), ..NewMessage::default() }).collect()
    };
    for count in [1, 12] {
        scene.proxy.meddle("SendMessage", &[Fault::Failed]);
        assert_eq!(queue.send(messages(count)).await, vec![Ok(()); count]);
        assert_eq!(scene.proxy.actions(""), set(QueueUse::Send.actions()));
    }
    // Of these a function calls the second alone; Lambda calls the others for it.
    scene.proxy.meddle("", &[]);
    let received = queue.receive(12, Duration::from_secs(5), None).await.unwrap();
    let (kept, done) = received.split_at(1);
    queue.extend(&[(kept[0].receipt.clone(), Duration::from_secs(5))]).await.unwrap();
    let receipts: Vec<_> = done.iter().map(|message| message.receipt.clone()).collect();
    queue.delete(&receipts).await.unwrap();
    queue.depth().await.unwrap();
    assert_eq!(scene.proxy.actions(""), set(QueueUse::Consume.actions()));

    for count in [1, 12] {
        scene.proxy.meddle("", &[]);
        let published = scene.ports.topic("topic").unwrap().publish(messages(count)).await;
        assert_eq!(published, vec![Ok(()); count]);
        assert_eq!(scene.proxy.actions(""), set(TopicUse::Publish.actions()));
    }
}

#[derive(Serialize, Deserialize)]
struct Thing {
    id: String,
}

impl Entity for Thing {
    const KIND: &'static str = "thing";

    fn id(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.id)
    }
}

#[derive(Serialize, Deserialize)]
struct Told {
    id: String,
    what: String,
}

impl Event for Told {
    const TYPE: &'static str = "thing.told";
    type Entity = Thing;

    fn subject(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.id)
    }
}

async fn obey(thing: Option<Stored<Thing>>, event: Told, _: Context<()>) -> Outcome<()> {
    match event.what.as_str() {
        "retry" => Err(Failure::transient("busy", "not now")),
        "dead-letter" => Err(Failure::permanent("broken", "never")),
        _ => Ok(thing.unwrap_or_else(|| Stored::new(Thing { id: event.id })).commit("obeyed").into()),
    }
}

fn message(id: &str, what: &str) -> NewMessage {
    let now = SystemClock.now();
    let mut event = json!({
        "specversion": "1.0", "id": format!("{id}-{what}"), "source": "/test", "type": Told::TYPE, "subject": id,
        "time": now, "data": { "id": id, "what": what },
    });
    if what == "wait" {
        event["notbefore"] = json!(now + Duration::from_secs(3_600));
    }
    NewMessage { body: event.to_string(), ..NewMessage::default() }
}

/// A batch with every end that a message can have, as a function of Lambda works it, which acknowledges by its answer.
#[tokio::test]
async fn a_function_calls_no_more_than_its_needs_allow() {
    let Some(url) =
        peer::require_that_can("a_function_calls_no_more_than_its_needs_allow", peer::Can::BeMeddledWith)
    else {
        return;
    };
    let choreography = Choreography::define("things")
        .table(quadrille::Table::new("things").holds::<Thing>())
        .schedule("daily", Duration::from_secs(86_400), |at| Told { id: at.to_string(), what: String::new() })
        .on(Consumer::new("obey", obey).uses(quadrille::Uses::new().emits_later::<Told>()))
        .build()
        .unwrap();
    let model = choreography.model().as_ref().clone();
    let config = peer::configuration(url).await;
    let names = peer::provision(&model, &config).await;
    let theirs = aws::ports(&model, &names, &config);
    let queue = theirs.queue("obey").unwrap();
    let proxy = Proxy::start(url).await;
    let ours = aws::ports(&model, &names, &peer::configuration(&proxy.url).await);
    let pipeline = Pipeline::new(choreography, ours);

    // One message alone, then many with every end among them.
    let many = [
        ("1", "commit"),
        ("2", "commit"),
        ("1", "retry"),
        ("1", "wait"),
        ("1", "dead-letter"),
        ("2", "dead-letter"),
    ];
    for batch in [&many[..1], &many] {
        assert_eq!(
            queue.send(batch.iter().map(|(id, what)| message(id, what)).collect()).await,
            vec![Ok(()); batch.len()]
        );
        let mut messages: Vec<Message> = Vec::new();
        while messages.len() < batch.len() {
            messages.extend(queue.receive(10, Duration::from_secs(5), None).await.unwrap());
        }
        let delivered = pipeline.deliver_unacknowledged("obey", &messages).await.unwrap();
        let count =
            |is: fn(&Verdict) -> bool| delivered.verdicts.iter().filter(|verdict| is(verdict)).count();
        if batch.len() > 1 {
            assert_eq!(count(|verdict| matches!(verdict, Verdict::Done)), 2, "{delivered:?}");
            assert_eq!(count(|verdict| matches!(verdict, Verdict::Later(_))), 1, "{delivered:?}");
            assert_eq!(count(|verdict| matches!(verdict, Verdict::Retry(..))), 1, "{delivered:?}");
            assert_eq!(count(|verdict| matches!(verdict, Verdict::DeadLetter(_))), 2, "{delivered:?}");
        }
        let receipts: Vec<_> = messages.iter().map(|message| message.receipt.clone()).collect();
        queue.delete(&receipts).await.unwrap();
    }
    let needs = Needs::of_step(&model, "obey").unwrap();
    let on = |queue: &str| proxy.actions(&format!("{}\"", names.queues[queue]));
    assert_eq!(on("obey"), set(&["sqs:ChangeMessageVisibility", "sqs:SendMessage"]));
    assert_eq!(on("obey-dlq"), set(&["sqs:SendMessage"]));
    for queue in ["obey", "obey-dlq"] {
        let allowed: BTreeSet<&str> =
            needs.queues[queue].iter().flat_map(|how| how.actions()).copied().collect();
        assert!(on(queue).iter().all(|action| allowed.contains(action.as_str())), "{queue}: {:?}", on(queue));
    }
    let on_table: BTreeSet<String> =
        proxy.actions("").into_iter().filter(|action| action.starts_with("dynamodb:")).collect();
    let allowed: BTreeSet<&str> =
        needs.tables["things"].iter().flat_map(|how| how.actions()).copied().collect();
    assert!(on_table.contains("dynamodb:GetItem") && on_table.contains("dynamodb:PutItem"), "{on_table:?}");
    assert!(on_table.iter().all(|action| allowed.contains(action.as_str())), "{on_table:?}");
    assert_eq!(proxy.actions("").iter().filter(|action| !action.starts_with("dynamodb:")).count(), 2);
}
