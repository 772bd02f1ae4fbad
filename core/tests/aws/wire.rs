//! What goes over the wire: the layout of an item, how many calls are made, and what is refused before any call.

use crate::{one_of_each, peer, proxy::Proxy};
use aws_sdk_dynamodb::types::AttributeValue;
use quadrille::{
    Timestamp,
    aws::{self, Names, table},
    choreography::Model,
    layout,
    port::{
        Attributes, Clock as _, CommitError, IndexEntry, IndexQuery, Item, NewMessage, PortError, Ports,
        SystemClock, Write,
    },
};
use serde_json::value::RawValue;
use std::{collections::HashMap, time::Duration};

struct Scene {
    proxy: Proxy,
    ports: Ports,
    names: Names,
    dynamodb: aws_sdk_dynamodb::Client,
}

async fn scene(test: &str) -> Option<Scene> {
    scene_of(test, &one_of_each()).await
}

async fn scene_of(test: &str, model: &Model) -> Option<Scene> {
    let url = peer::require_that_can(test, peer::Can::BeMeddledWith)?;
    let proxy = Proxy::start(url).await;
    let config = peer::configuration(url).await;
    let names = peer::provision(model, &config).await;
    let ports = aws::ports(model, &names, &peer::configuration(&proxy.url).await);
    Some(Scene { proxy, ports, names, dynamodb: aws_sdk_dynamodb::Client::new(&config) })
}

impl Scene {
    async fn commit(&self, writes: Vec<Write>) -> Vec<Result<(), CommitError>> {
        self.ports.table("table").unwrap().commit(writes).await
    }

    /// The item as the table has it.
    async fn raw(&self, key: &str) -> HashMap<String, AttributeValue> {
        let request = self.dynamodb.get_item().table_name(&self.names.tables["table"]);
        let found = request.key(layout::KEY, AttributeValue::S(key.to_owned())).send().await.unwrap();
        found.item.unwrap()
    }
}

fn write(key: &str, version: u64) -> Write {
    Write {
        item: Item {
            key: key.to_owned(),
            version,
            document: "{\"power\":1.50}".into(),
            expires_at: None,
            index: None,
        },
        expected: version - 1,
        now: SystemClock.now(),
        outbox: Vec::new(),
        index_changed: true,
        expiry_changed: true,
    }
}

fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn number(number: i64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

fn attributes<const N: usize>(attributes: [(&str, AttributeValue); N]) -> HashMap<String, AttributeValue> {
    attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// An item by a commit of its own and by one of many is the same item.
#[tokio::test]
async fn an_item_has_just_the_attributes_that_it_needs() {
    let Some(scene) = scene("an_item_has_just_the_attributes_that_it_needs").await else { return };
    for many in [0, 3] {
        let key = format!("thing/{many}");
        let others = |version: u64| (0..many).map(move |at| write(&format!("thing/{many}-{at}"), version));
        let mut first = write(&key, 1);
        first.item.expires_at = Some(Timestamp::from_millis(1_800_000_000_001));
        first.item.index = Some(IndexEntry { partition: "new".to_owned(), sort: "1".to_owned() });
        first.outbox =
            ["{\"a\":1.0}", "[2]"].map(|event| RawValue::from_string(event.to_owned()).unwrap()).to_vec();
        let mut second = write(&key, 2);
        second.item.expires_at = Some(Timestamp::from_millis(1_800_000_000_000));
        let whole = attributes([
            (layout::KEY, text(&key)),
            (layout::VERSION, number(1)),
            (layout::DOCUMENT, text("{\"power\":1.50}")),
            (layout::EXPIRES_AT, number(1_800_000_001)),
            (layout::EXPIRES_AT_MILLIS, number(1_800_000_000_001)),
            (layout::INDEX_PARTITION, text("new")),
            (layout::INDEX_SORT, text("1")),
            (layout::OUTBOX, text("[{\"a\":1.0},[2]]")),
            (layout::RELAY, text("1")),
        ]);
        let bare = attributes([
            (layout::KEY, text(&key)),
            (layout::VERSION, number(2)),
            (layout::DOCUMENT, text("{\"power\":1.50}")),
            (layout::EXPIRES_AT, number(1_800_000_000)),
        ]);
        for (version, next, expected) in [(1, first, whole), (2, second, bare)] {
            let answers = scene.commit(others(version).chain([next]).collect()).await;
            assert!(answers.iter().all(Result::is_ok), "{answers:?}");
            assert_eq!(scene.raw(&key).await, expected, "with {many} others");
        }
    }
}

/// By a commit alone, by one of many, by a read, a scan, and after an answer that was lost.
#[tokio::test]
async fn a_table_may_have_a_name_of_its_own_for_the_partition_key() {
    let mut model = one_of_each();
    model.tables[0].key_attribute = Some("order_id".to_owned());
    let test = "a_table_may_have_a_name_of_its_own_for_the_partition_key";
    let Some(scene) = scene_of(test, &model).await else { return };
    let keys = ["a", "b", "c"].map(str::to_owned);
    let writes = |version| keys.iter().map(|key| write(key, version)).collect::<Vec<_>>();
    for version in [1, 2] {
        assert_eq!(scene.commit(writes(version)).await, [Ok(()), Ok(()), Ok(())]);
        // The same again, as by an answer that was lost; and another, which is in nobody's place.
        assert_eq!(scene.commit(writes(version)).await, [Ok(()), Ok(()), Ok(())]);
    }
    let alone = |version| scene.commit(vec![write("alone", version)]);
    assert_eq!([alone(1).await, alone(1).await, alone(2).await].concat(), [Ok(()), Ok(()), Ok(())]);
    assert_eq!(scene.commit(vec![write("alone", 2), write("a", 1)]).await[1], Err(CommitError::Conflict));
    let table = scene.ports.table("table").unwrap();
    let found = table.get(&keys).await.unwrap();
    assert!(found.iter().flatten().all(|item| item.version == 2) && found.len() == 3, "{found:?}");
    let mut scanned = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = table.scan(after.as_deref(), 2).await.unwrap();
        scanned.extend(page.items.into_iter().map(|item| item.key));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    scanned.sort();
    assert_eq!(scanned, ["a", "alone", "b", "c"]);
}

/// By a commit alone and by one of many: an item is found by its bare id, shows fields of the state beside the document, and
/// shows no longer what the state no longer has.
#[tokio::test]
async fn a_table_may_have_bare_keys_and_show_fields() {
    let mut model = one_of_each();
    model.tables[0].has_bare_keys = true;
    model.tables[0].shows = ["status", "items", "paid"].map(str::to_owned).to_vec();
    let Some(scene) = scene_of("a_table_may_have_bare_keys_and_show_fields", &model).await else { return };
    let shown = |id: &str, version, state: &str| {
        let mut write = write(&format!("thing/{id}"), version);
        write.item.document = format!("{{\"state\":{state},\"trail\":[]}}").into();
        write
    };
    let item = HashMap::from([("price".to_owned(), AttributeValue::N("1.5".to_owned()))]);
    for others in [vec![], vec!["x", "y"]] {
        let id = format!("a/b-{}", others.len());
        let commit = |version, state: &'static str| {
            let all = others.iter().map(|other| shown(&format!("{other}-{id}"), version, state));
            scene.commit(all.chain([shown(&id, version, state)]).collect())
        };
        let first = r#"{"status":"new","items":[{"price":1.5}],"paid":null}"#;
        let second = r#"{"status":"done","paid":true}"#;
        for (version, state) in [(1, first), (2, second)] {
            // The second time as by an answer that was lost.
            for _ in 0..2 {
                let answers = commit(version, state).await;
                assert!(answers.iter().all(Result::is_ok), "{answers:?}");
            }
            let raw = scene.raw(&id).await;
            let status = if version == 1 { "new" } else { "done" };
            assert_eq!(raw["status"], text(status));
            let items = AttributeValue::L(vec![AttributeValue::M(item.clone())]);
            assert_eq!(raw.get("items"), (version == 1).then_some(&items));
            assert_eq!(raw.get("paid"), (version == 2).then_some(&AttributeValue::Bool(true)));
        }
        assert_eq!(*commit(2, first).await.last().unwrap(), Err(CommitError::Conflict));
        let table = scene.ports.table("table").unwrap();
        let keys = [format!("thing/{id}"), format!("other/{id}"), format!("thing/{id}")];
        let found = table.get(&keys).await.unwrap();
        let versions: Vec<_> = found.iter().map(|item| item.as_ref().map(|item| item.version)).collect();
        assert_eq!(versions, [Some(2), None, Some(2)]);
        assert_eq!(found[0].as_ref().map(|item| item.key.as_str()), Some(keys[0].as_str()));
    }
    let scanned = scene.ports.table("table").unwrap().scan(None, 100).await.unwrap().items;
    assert!(scanned.len() == 4 && scanned.iter().all(|item| item.key.starts_with("thing/")), "{scanned:?}");
    // Of another kind there is none in such a table.
    let other = scene.commit(vec![write("other/1", 1)]).await.remove(0);
    assert!(matches!(&other, Err(CommitError::Port(error)) if !error.is_transient()), "{other:?}");
}

#[tokio::test]
async fn the_relay_reads_a_commit_from_the_item() {
    let Some(scene) = scene("the_relay_reads_a_commit_from_the_item").await else { return };
    let mut emitting = write("thing/told", 1);
    emitting.outbox = vec![RawValue::from_string("{\"id\":\"é \\\"😀\\\"\",\"n\":1.50}".to_owned()).unwrap()];
    assert_eq!(scene.commit(vec![emitting.clone()]).await, [Ok(())]);
    let image = scene.raw("thing/told").await;
    let text = |name: &str| match image.get(name)? {
        AttributeValue::S(text) | AttributeValue::N(text) => Some(text.as_str()),
        _ => None,
    };
    let record = table::stream_record(7, layout::KEY, text);
    assert_eq!((record.sequence, record.key.as_str(), record.version), (7, "thing/told", 1));
    let outbox = record.outbox.unwrap();
    let events: Vec<&str> = outbox.iter().map(|event| event.get()).collect();
    assert_eq!(events, [emitting.outbox[0].get()]);
    let without = |lacking: &'static str| move |name: &str| if name == lacking { None } else { text(name) };
    // Nobody needs these to send the events on.
    for name in [layout::KEY, layout::VERSION, layout::DOCUMENT] {
        assert!(table::stream_record(7, layout::KEY, without(name)).outbox.is_ok(), "{name}");
    }
    let lacking = table::stream_record(7, layout::KEY, without(layout::OUTBOX));
    assert_eq!((lacking.key.as_str(), lacking.outbox.is_err()), ("thing/told", true));
}

/// Where it spares a write unit, what the item says already is not written twice; and the relay reads the events as they
/// were emitted.
#[tokio::test]
async fn an_outbox_takes_no_more_than_it_has_to() {
    let Some(scene) = scene("an_outbox_takes_no_more_than_it_has_to").await else { return };
    for many in [0, 3] {
        let key = format!("thing/short-{many}");
        let others = (0..many).map(|at| write(&format!("{key}-{at}"), 1));
        let words: Vec<String> =
            (0..40_u32).map(|at| format!("{:x}", at.wrapping_mul(2_654_435_761))).collect();
        let mut emitting = write(&key, 1);
        emitting.item.document = format!("{{\"words\":\"é {}\"}}", words.join(" ")).into();
        let event =
            format!("{{\"id\":\"{key}@1.0\",\"data\":{{\"words\":\"é {}\"}}}}", words[..39].join(" "));
        emitting.outbox = vec![RawValue::from_string(event.clone()).unwrap(); 2];
        let answers = scene.commit(others.chain([emitting]).collect()).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        let image = scene.raw(&key).await;
        let text = |name: &str| match image.get(name)? {
            AttributeValue::S(text) | AttributeValue::N(text) => Some(text.as_str()),
            _ => None,
        };
        assert!(text(layout::OUTBOX).unwrap().len() < event.len() / 2, "{image:?}");
        let record = table::stream_record(1, layout::KEY, text);
        let outbox = record.outbox.unwrap();
        let events: Vec<&str> = outbox.iter().map(|event| event.get()).collect();
        assert_eq!(events, [event.as_str(); 2], "with {many} others");
        let other = |name: &str| if name == layout::DOCUMENT { Some("{}") } else { text(name) };
        assert!(table::stream_record(1, layout::KEY, other).outbox.is_err());
        for lacking in [layout::KEY, layout::DOCUMENT] {
            let without = |name: &str| if name == lacking { None } else { text(name) };
            assert!(table::stream_record(1, layout::KEY, without).outbox.is_err(), "{lacking}");
        }
    }
}

#[test]
fn the_relays_filter_asks_for_what_only_a_commit_with_events_has() {
    let filter: serde_json::Value = serde_json::from_str(layout::RELAY_FILTER).unwrap();
    assert_eq!(filter["dynamodb"]["NewImage"][layout::RELAY]["S"], serde_json::json!(["1"]));
}

#[tokio::test]
async fn many_are_few_calls() {
    let Some(scene) = scene("many_are_few_calls").await else { return };
    let writes =
        |version: u64| (0..100).map(move |at| write(&format!("thing/many-{at:03}"), version)).collect();
    let of = |name: &str, count: usize| vec![name.to_owned(); count];
    for version in [1, 2] {
        scene.proxy.meddle("", &[]);
        assert_eq!(scene.commit(writes(version)).await, vec![Ok(()); 100]);
        assert_eq!(scene.proxy.seen(), of("BatchExecuteStatement", 4));
    }
    scene.proxy.meddle("", &[]);
    assert_eq!(scene.commit(vec![write("thing/many-000", 3)]).await, [Ok(())]);
    assert_eq!(scene.proxy.seen(), of("PutItem", 1));

    // All of them lost: one look tells about all whose items the answers do not.
    scene.proxy.meddle("", &[]);
    assert_eq!(scene.commit(writes(1)).await, vec![Err(CommitError::Conflict); 100]);
    let seen = scene.proxy.seen();
    assert!(seen.len() <= 8, "{seen:?}");

    let keys: Vec<String> = (0..150).map(|at| format!("thing/many-{at:03}")).collect();
    scene.proxy.meddle("", &[]);
    let found = scene.ports.table("table").unwrap().get(&keys).await.unwrap();
    assert_eq!(found.iter().flatten().count(), 100);
    assert_eq!(scene.proxy.seen(), of("BatchGetItem", 2));

    let messages =
        |count: usize| (0..count).map(|at| NewMessage { body: at.to_string(), ..NewMessage::default() });
    scene.proxy.meddle("", &[]);
    let sent = scene.ports.queue("queue").unwrap().send(messages(95).collect()).await;
    assert!(sent.iter().all(Result::is_ok), "{sent:?}");
    assert_eq!(scene.proxy.seen(), of("SendMessageBatch", 10));
    scene.proxy.meddle("", &[]);
    let published = scene.ports.topic("topic").unwrap().publish(messages(25).collect()).await;
    assert!(published.iter().all(Result::is_ok), "{published:?}");
    assert_eq!(scene.proxy.seen().len(), 3);
}

/// Asserts that an answer is a permanent error that says `what`.
#[track_caller]
fn assert_refused<T: std::fmt::Debug>(answer: &Result<T, PortError>, what: &str) {
    let told = answer.as_ref().err().filter(|error| !error.is_transient()).map(ToString::to_string);
    assert!(told.as_ref().is_some_and(|told| told.contains(what)), "{answer:?} does not say {what:?}");
}

#[tokio::test]
async fn what_the_services_would_refuse_costs_no_call() {
    let Some(scene) = scene("what_the_services_would_refuse_costs_no_call").await else { return };
    let named = |names: &[String]| -> Attributes {
        names.iter().map(|name| (name.clone(), "value".to_owned())).collect()
    };
    let message = |body: &str, names: &[String]| NewMessage {
        body: body.to_owned(),
        attributes: named(names),
        ..NewMessage::default()
    };
    let eleven: Vec<String> = (0..11).map(|at| format!("name-{at:02}")).collect();
    let name = |name: &str| vec![name.to_owned()];
    let cases = [
        (message("", &[]), "an empty body"),
        (message("a \u{0} b", &[]), "'\\0'"),
        (message("\u{ffff}", &[]), "'\\u{ffff}'"),
        (message("x", &eleven), "name-10"),
        (message("x", &name("")), "\"\""),
        (message("x", &name("a b")), "\"a b\""),
        (message("x", &name("AWS.x")), "\"AWS.x\""),
        (message("x", &name(".x")), "\".x\""),
        (message("x", &["x".repeat(257)]), "xxx"),
    ];
    let (messages, said): (Vec<NewMessage>, Vec<&str>) = cases.into_iter().unzip();
    scene.proxy.meddle("", &[]);
    let sent = scene.ports.queue("queue").unwrap().send(messages.clone()).await;
    let published = scene.ports.topic("topic").unwrap().publish(messages).await;
    for (answers, what) in [(sent, "sent"), (published, "published")] {
        assert_eq!(answers.len(), said.len(), "{what}");
        answers.iter().zip(&said).for_each(|(answer, said)| assert_refused(answer, said));
    }
    let bucket = scene.ports.bucket("bucket").unwrap();
    for key in ["..", "../x", "a/../../x", "/../x", "a/./../..//"] {
        assert_refused(&bucket.put_if_absent(key, Vec::new()).await, "climb");
        assert_refused(&bucket.get(key).await, "climb");
    }
    for key in [" ", "\n"] {
        assert_refused(&bucket.put_if_absent(key, Vec::new()).await, "white space");
    }
    assert_refused(&bucket.list("", None, 0).await, "0 keys");
    let table = scene.ports.table("table").unwrap();
    let query = |partition: &str, after: Option<&str>, before: Option<&str>, limit: usize| IndexQuery {
        partition: partition.to_owned(),
        after: after.map(str::to_owned),
        before: before.map(str::to_owned),
        limit,
    };
    assert_refused(&table.query(&query("open", None, None, 1_001)).await, "1001 items");
    assert_refused(&table.scan(None, 0).await, "0 items");
    // Nothing can be there.
    for query in
        [query("", None, None, 1), query("open", None, Some(""), 1), query("open", Some("b"), Some("a"), 1)]
    {
        assert_eq!(table.query(&query).await.unwrap().items, []);
    }
    let mut unsorted = write("thing/unsorted", 1);
    unsorted.item.index = Some(IndexEntry { partition: "open".to_owned(), sort: "x".repeat(1_025) });
    match &scene.commit(vec![unsorted]).await[..] {
        [Err(CommitError::Port(error))] => assert_refused(&Err::<(), _>(error.clone()), "1,024 bytes"),
        other => assert_eq!(other.len(), 0, "{other:?}"),
    }
    assert_eq!(table.get(&[String::new(), "x".repeat(2_049)]).await, Ok(vec![None, None]));
    assert_eq!(scene.proxy.seen(), Vec::<String>::new());
}

#[tokio::test]
async fn a_dead_letters_reason_is_never_in_its_way() {
    let Some(scene) = scene("a_dead_letters_reason_is_never_in_its_way").await else { return };
    let queue = scene.ports.queue("queue").unwrap();
    let attributes = [("reason", "malformed"), ("detail", "a \u{0} b \u{ffff}"), ("handler", "")];
    let attributes = attributes.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let letter = NewMessage { body: "x".to_owned(), attributes: attributes.into(), ..NewMessage::default() };
    assert_eq!(queue.send(vec![letter]).await, [Ok(())]);
    let received = queue.receive(1, Duration::from_secs(5), None).await.unwrap();
    let expected = [("reason", "malformed"), ("detail", "a \u{fffd} b \u{fffd}")];
    let expected: Attributes = expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    assert_eq!(received[0].attributes, expected);
}

/// SQS counts whole seconds: nothing is seen before its time.
#[tokio::test]
async fn a_fraction_of_a_second_is_rounded_up() {
    let Some(scene) = scene("a_fraction_of_a_second_is_rounded_up").await else { return };
    let queue = scene.ports.queue("queue").unwrap();
    let began = SystemClock.now();
    let delay = Duration::from_millis(1_001);
    let delayed = NewMessage { body: "x".to_owned(), delay, ..NewMessage::default() };
    assert_eq!(queue.send(vec![delayed]).await, [Ok(())]);
    let received = queue.receive(1, Duration::from_secs(10), Some(Duration::from_millis(1))).await.unwrap();
    assert_eq!(received.len(), 1);
    assert!(SystemClock.now().since(began) >= delay);
}
