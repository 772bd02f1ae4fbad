//! Answers that get lost, and calls that are refused for a while: whatever happens to the call, it ends as one effect.

use crate::{
    one_of_each, peer,
    proxy::{Fault, Proxy},
};
use quadrille::port::Clock as _;
use quadrille::{
    Timestamp, aws,
    port::{BusEntry, CommitError, Item, NewMessage, Ports, SystemClock, Write},
};
use serde_json::value::RawValue;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

/// The ports of a table, a queue and a bucket, by way of a proxy.
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

/// A write of version `version` that emits an event.
fn write(name: &str, version: u64, document: &str) -> Write {
    let event = format!("{{\"id\":\"{name}.{version}\",\"document\":{document}}}");
    Write {
        item: Item {
            key: format!("thing/{name}"),
            version,
            document: document.into(),
            expires_at: None,
            index: None,
        },
        expected: version - 1,
        now: SystemClock.now(),
        outbox: vec![RawValue::from_string(event).unwrap()],
        index_changed: version == 1,
        expiry_changed: version == 1,
    }
}

impl Scene {
    async fn commit(&self, writes: &[Write]) -> Vec<Result<(), CommitError>> {
        self.ports.table("table").unwrap().commit(writes.to_vec()).await
    }

    async fn assert_stored(&self, writes: &[Write]) {
        let keys: Vec<String> = writes.iter().map(|write| write.item.key.clone()).collect();
        let found = self.ports.table("table").unwrap().get(&keys).await.unwrap();
        for (write, found) in writes.iter().zip(found) {
            assert_eq!(Some(&write.item), found.as_ref());
        }
    }
}

const OK: Result<(), CommitError> = Ok(());

fn is_transient(answer: &Result<(), CommitError>) -> bool {
    matches!(answer, Err(CommitError::Port(error)) if error.is_transient())
}

#[tokio::test]
async fn a_commit_ends_as_one_whatever_becomes_of_its_answer() {
    let Some(scene) = scene("a_commit_ends_as_one_whatever_becomes_of_its_answer").await else { return };
    for fault in [Fault::Throttled, Fault::Failed, Fault::FailedAfter, Fault::Cut] {
        let name = format!("{fault:?}");
        for version in [1, 2] {
            let write = write(&name, version, &format!("\"{version}\""));
            scene.proxy.meddle("PutItem", &[fault]);
            assert_eq!(
                scene.commit(std::slice::from_ref(&write)).await,
                [OK],
                "{fault:?}, version {version}"
            );
            assert_eq!(scene.proxy.seen(), ["PutItem", "PutItem"], "{fault:?}, version {version}");
            scene.assert_stored(&[write]).await;
        }
    }
}

#[tokio::test]
async fn many_commits_end_as_one_each_whatever_becomes_of_their_answer() {
    let Some(scene) = scene("many_commits_end_as_one_each_whatever_becomes_of_their_answer").await else {
        return;
    };
    let faults = [Fault::Throttled, Fault::Failed, Fault::FailedAfter, Fault::Cut, Fault::PartThrottled(3)];
    for fault in faults {
        for version in [1, 2] {
            let write = |at| write(&format!("{fault:?}-{at}"), version, &format!("\"{version}\""));
            let writes: Vec<Write> = (0..10).map(write).collect();
            scene.proxy.meddle("BatchExecuteStatement", &[fault]);
            assert_eq!(scene.commit(&writes).await, vec![OK; 10], "{fault:?}, version {version}");
            let seen = scene.proxy.seen();
            assert_eq!(seen[..2], ["BatchExecuteStatement", "BatchExecuteStatement"], "{fault:?}: {seen:?}");
            scene.assert_stored(&writes).await;
        }
    }
}

#[tokio::test]
async fn a_race_is_lost_also_where_the_answer_was() {
    let Some(scene) = scene("a_race_is_lost_also_where_the_answer_was").await else { return };
    // Somebody else's commit at the same version, which only looks a little like ours.
    for (at, theirs) in ["\"theirs\"", "\"ours\""].into_iter().enumerate() {
        let names: Vec<String> = (0..4).map(|other| format!("race-{at}-{other}")).collect();
        let mut stored: Vec<Write> = names.iter().map(|name| write(name, 1, theirs)).collect();
        stored.iter_mut().for_each(|write| write.outbox.clear());
        let ours: Vec<Write> = names.iter().map(|name| write(name, 1, "\"ours\"")).collect();
        assert_eq!(scene.commit(&stored).await, vec![OK; 4]);
        for (of, ours) in [("BatchExecuteStatement", &ours[..3]), ("PutItem", &ours[3..])] {
            scene.proxy.meddle(of, &[Fault::Cut]);
            let lost = vec![Err(CommitError::Conflict); ours.len()];
            assert_eq!(scene.commit(ours).await, lost, "{of} over {theirs}");
            scene.proxy.seen();
        }
        scene.assert_stored(&stored).await;
    }
}

#[tokio::test]
async fn a_table_that_stays_throttled_is_a_transient_error() {
    let Some(scene) = scene("a_table_that_stays_throttled_is_a_transient_error").await else { return };
    let attempts = aws::ATTEMPTS_MAX as usize;
    let writes: Vec<Write> = (0..3).map(|at| write(&format!("throttled-{at}"), 1, "1")).collect();
    for writes in [&writes[..1], &writes] {
        scene.proxy.meddle("", &vec![Fault::Throttled; attempts]);
        assert!(scene.commit(writes).await.iter().all(is_transient));
        assert_eq!(scene.proxy.seen().len(), attempts);
    }
    // In a batch the others are applied, and only what is refused is sent again.
    scene.proxy.meddle("", &[Fault::PartThrottled(2), Fault::PartThrottled(1), Fault::PartThrottled(1)]);
    assert_eq!(scene.commit(&writes).await, vec![OK; 3]);
    scene.proxy.seen();
    scene.assert_stored(&writes).await;
}

#[tokio::test]
async fn messages_of_a_batch_are_sent_again_alone() {
    let Some(scene) = scene("messages_of_a_batch_are_sent_again_alone").await else { return };
    let queue = scene.ports.queue("queue").unwrap();
    let message = |at: usize| NewMessage { body: format!("{at}"), ..NewMessage::default() };
    scene.proxy.meddle("SendMessageBatch", &[Fault::PartThrottled(4), Fault::PartThrottled(1)]);
    let sent = queue.send((0..10).map(message).collect()).await;
    assert_eq!(sent, vec![Ok(()); 10]);
    assert_eq!(scene.proxy.seen().len(), 3);
    let mut received = queue.receive(100, Duration::from_secs(5), None).await.unwrap();
    received.sort_by(|one, other| one.body.cmp(&other.body));
    let bodies: Vec<&str> = received.iter().map(|message| message.body.as_str()).collect();
    assert_eq!(bodies, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"], "each once");

    // What stays refused is told of its message alone.
    scene.proxy.meddle("SendMessageBatch", &[Fault::PartThrottled(1); aws::ATTEMPTS_MAX as usize]);
    let sent = queue.send(vec![message(0), message(1)]).await;
    assert!(sent[0].as_ref().is_err_and(quadrille::port::PortError::is_transient), "{sent:?}");
    assert_eq!(sent[1], Ok(()));
    // A settlement is repeated too.
    scene.proxy.meddle("DeleteMessageBatch", &[Fault::Cut]);
    let receipts: Vec<_> = received.iter().map(|message| message.receipt.clone()).collect();
    queue.delete(&receipts).await.unwrap();
    scene.proxy.seen();
}

/// Whatever an answer does not confirm was not taken: messages, settlements, entries of a bus.
#[tokio::test]
async fn what_an_answer_does_not_tell_of_is_sent_again() {
    let Some(scene) = scene("what_an_answer_does_not_tell_of_is_sent_again").await else { return };
    let queue = scene.ports.queue("queue").unwrap();
    let message = |at: usize| NewMessage { body: format!("{at}"), ..NewMessage::default() };
    scene.proxy.meddle("SendMessageBatch", &[Fault::PartUnconfirmed(4), Fault::PartUnconfirmed(4)]);
    assert_eq!(queue.send((0..10).map(message).collect()).await, vec![Ok(()); 10]);
    assert_eq!(scene.proxy.seen().len(), 3);
    let received = queue.receive(100, Duration::from_secs(5), None).await.unwrap();
    assert_eq!(received.len(), 10, "each once");
    let receipts: Vec<_> = received.iter().map(|message| message.receipt.clone()).collect();
    scene.proxy.meddle("DeleteMessageBatch", &[Fault::PartUnconfirmed(3)]);
    queue.delete(&receipts).await.unwrap();
    assert_eq!(scene.proxy.seen().len(), 2);
    assert_eq!(queue.depth().await.unwrap().in_flight, 0);

    let bus = scene.ports.bus("bus").unwrap();
    let entry = |at: usize| BusEntry {
        source: "test".to_owned(),
        detail_type: "told".to_owned(),
        detail: format!("{{\"at\":{at}}}"),
    };
    scene.proxy.meddle("PutEvents", &[Fault::PartUnconfirmed(2), Fault::None]);
    assert_eq!(bus.publish((0..5).map(entry).collect()).await, vec![Ok(()); 5]);
    assert_eq!(scene.proxy.seen().len(), 2);
}

/// What is refused whole is cut until what is wrong with it stands alone.
#[tokio::test]
async fn what_is_wrong_with_a_message_takes_none_of_the_others_of_its_batch_with_it() {
    let test = "what_is_wrong_with_a_message_takes_none_of_the_others_of_its_batch_with_it";
    let Some(scene) = scene(test).await else { return };
    let queue = scene.ports.queue("queue").unwrap();
    let bodies = ["a", "poison", "c", "d"];
    let messages = bodies.map(|body| NewMessage { body: body.to_owned(), ..NewMessage::default() });
    // All four; the first two; the first; the second; the last two.
    scene.proxy.meddle("SendMessageBatch", &[Fault::RefusedWith("poison"); 5]);
    let sent = queue.send(messages.to_vec()).await;
    assert_eq!(scene.proxy.seen().len(), 5);
    assert_eq!([&sent[0], &sent[2], &sent[3]], [&Ok(()); 3]);
    assert!(sent[1].as_ref().is_err_and(|error| !error.is_transient()), "{sent:?}");
    let received = queue.receive(100, Duration::from_secs(5), None).await.unwrap();
    let mut received: Vec<&str> = received.iter().map(|message| message.body.as_str()).collect();
    received.sort_unstable();
    assert_eq!(received, ["a", "c", "d"]);
}

#[tokio::test]
async fn an_object_is_put_once_whatever_becomes_of_the_answer() {
    let Some(scene) = scene("an_object_is_put_once_whatever_becomes_of_the_answer").await else { return };
    let bucket = scene.ports.bucket("bucket").unwrap();
    for (at, fault) in [Fault::Failed, Fault::FailedAfter, Fault::Cut].into_iter().enumerate() {
        let key = format!("object-{at}");
        scene.proxy.meddle("PUT /", &[fault]);
        let written = bucket.put_if_absent(&key, b"ours".to_vec()).await;
        assert_eq!(written, Ok(true), "{fault:?}: it was written now, by the attempt whose answer was lost");
        scene.proxy.seen();
        assert_eq!(
            bucket.put_if_absent(&key, b"ours".to_vec()).await,
            Ok(false),
            "and is there from then on"
        );
    }
    // Not ours: a lost answer does not make it so.
    assert_eq!(bucket.put_if_absent("theirs", b"theirs".to_vec()).await, Ok(true));
    scene.proxy.meddle("PUT /", &[Fault::Cut]);
    assert_eq!(bucket.put_if_absent("theirs", b"ours".to_vec()).await, Ok(false));
    assert_eq!(bucket.get("theirs").await, Ok(Some(b"theirs".to_vec())));
}

#[tokio::test]
async fn an_expired_item_is_replaced_in_one_of_many_commits() {
    let Some(scene) = scene("an_expired_item_is_replaced_in_one_of_many_commits").await else { return };
    let expires = Timestamp::from_millis(1_800_000_000_500);
    let mut old: Vec<Write> = (0..3).map(|at| write(&format!("expiring-{at}"), 1, "\"old\"")).collect();
    old.iter_mut().for_each(|write| write.item.expires_at = Some(expires));
    old[2].item.expires_at = Some(Timestamp::from_millis(1_800_000_000_000));
    assert_eq!(scene.commit(&old).await, vec![OK; 3]);
    // To the millisecond, though the table's time to live counts seconds.
    let at = [expires, Timestamp::from_millis(1_800_000_000_499), expires];
    let new: Vec<Write> = (0..3)
        .map(|place| Write { now: at[place], ..write(&format!("expiring-{place}"), 1, "\"new\"") })
        .collect();
    assert_eq!(scene.commit(&new).await, [OK, Err(CommitError::Conflict), OK]);
    scene.assert_stored(&[new[0].clone(), old[1].clone(), new[2].clone()]).await;
}

#[tokio::test]
async fn what_a_read_leaves_unprocessed_is_read_again() {
    let Some(scene) = scene("what_a_read_leaves_unprocessed_is_read_again").await else { return };
    let writes: Vec<Write> = (0..9).map(|at| write(&format!("read-{at}"), 1, "1")).collect();
    assert_eq!(scene.commit(&writes).await, vec![OK; 9]);
    // More answers than attempts: each of them brings something.
    let left = [8, 7, 6, 5, 4, 3].map(Fault::PartUnprocessed);
    scene.proxy.meddle("BatchGetItem", &left);
    scene.assert_stored(&writes).await;
    assert_eq!(scene.proxy.seen().len(), 7);
    // One that brings nothing, again and again, is an error that may pass.
    scene.proxy.meddle("", &[Fault::Throttled; aws::ATTEMPTS_MAX as usize]);
    let keys: Vec<String> = writes.iter().map(|write| write.item.key.clone()).collect();
    let found = scene.ports.table("table").unwrap().get(&keys).await;
    assert!(found.is_err_and(|error| error.is_transient()));
}

/// The SDK would watch the speed of a body by itself, which the configuration leaves to the timeout of an attempt.
#[tokio::test]
async fn an_answer_that_stands_still_in_its_middle_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let standing_still = tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut connection, _)) = listener.accept().await {
            let begun =
                "HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: 900\r\n\r\n{";
            // An answer to nothing would be an error by itself.
            assert!(connection.read(&mut [0; 4_096]).await.unwrap() > 0);
            connection.write_all(begun.as_bytes()).await.unwrap();
            open.push(connection);
            if open.len() == aws::ATTEMPTS_MAX as usize {
                break;
            }
        }
        open
    });
    let config = peer::configuration(&url).await;
    let timeouts = config.timeout_config().unwrap().to_builder();
    let timeouts = timeouts.operation_attempt_timeout(Duration::from_millis(200)).build();
    let config = config.into_builder().timeout_config(timeouts).build();
    let mut names = aws::Names::default();
    names.tables.insert("table".to_owned(), "table".to_owned());
    let ports = aws::ports(&one_of_each(), &names, &config);
    let answers = ports.table("table").unwrap().commit(vec![write("still", 1, "1")]).await;
    assert!(answers.iter().all(is_transient), "{answers:?}");
    assert!(format!("{answers:?}").contains("timeout"), "{answers:?}");
    let open = tokio::time::timeout(Duration::from_secs(10), standing_still).await.unwrap().unwrap();
    assert_eq!(open.len(), aws::ATTEMPTS_MAX as usize, "each attempt got the beginning of an answer");
}

/// A read of many keys that is refused for one of them.
#[tokio::test]
async fn of_a_read_that_is_refused_whole_the_key_that_is_wrong_stands_alone() {
    let Some(scene) = scene("of_a_read_that_is_refused_whole_the_key_that_is_wrong_stands_alone").await
    else {
        return;
    };
    let writes: Vec<Write> = (0..10).map(|at| write(&format!("read-{at}"), 1, "1")).collect();
    assert_eq!(scene.commit(&writes).await, vec![OK; 10]);
    // Ten keys, twice five, two and three, and of these one alone and two.
    scene.proxy.meddle("GetItem", &[Fault::RefusedWith("read-7"); 7]);
    let keys: Vec<String> = writes.iter().map(|write| write.item.key.clone()).collect();
    let found = scene.ports.table("table").unwrap().get(&keys).await.unwrap();
    assert!(scene.proxy.seen().len() < 10, "the others are not read one by one");
    for (write, found) in writes.iter().zip(found) {
        let found = found.unwrap();
        assert_eq!(found.key, write.item.key);
        assert_eq!(found.document.text().is_ok(), !found.key.ends_with("read-7"), "{found:?}");
    }
}
