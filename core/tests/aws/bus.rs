//! The event bus on the wire: what is sent again, and what that takes of IAM.

use crate::{
    one_of_each, peer,
    proxy::{Fault, Proxy},
};
use quadrille::{
    aws,
    choreography::BusUse,
    port::{Bus, BusEntry, PortError},
};
use std::{collections::BTreeSet, sync::Arc};

async fn bus(test: &str) -> Option<(Proxy, Arc<dyn Bus>)> {
    let url = peer::require_that_can(test, peer::Can::BeMeddledWith)?;
    let proxy = Proxy::start(url).await;
    let model = one_of_each();
    let names = peer::provision(&model, &peer::configuration(url).await).await;
    let ports = aws::ports(&model, &names, &peer::configuration(&proxy.url).await);
    Some((proxy, Arc::clone(ports.bus("bus").unwrap())))
}

fn entries(count: usize) -> Vec<BusEntry> {
    let entry = |at| BusEntry {
        source: "tests".to_owned(),
        detail_type: "sent".to_owned(),
        detail: format!("{{\"at\":{at}}}"),
    };
    (0..count).map(entry).collect()
}

#[tokio::test]
async fn entries_of_a_call_are_sent_again_alone() {
    let Some((proxy, bus)) = bus("entries_of_a_call_are_sent_again_alone").await else { return };
    proxy.meddle("PutEvents", &[Fault::PartThrottled(4), Fault::PartThrottled(1)]);
    assert_eq!(bus.publish(entries(10)).await, vec![Ok(()); 10]);
    assert_eq!(proxy.seen().len(), 3);
    // What stays refused is told of its entry alone.
    proxy.meddle("PutEvents", &[Fault::PartThrottled(1); aws::ATTEMPTS_MAX as usize]);
    let published = bus.publish(entries(2)).await;
    assert!(published[0].as_ref().is_err_and(PortError::is_transient), "{published:?}");
    assert_eq!(published[1], Ok(()));
    // A call takes ten, whatever becomes of its answer.
    proxy.meddle("PutEvents", &[Fault::Failed, Fault::Cut]);
    assert_eq!(bus.publish(entries(12)).await, vec![Ok(()); 12]);
    assert_eq!(proxy.seen().len(), 4);
}

#[tokio::test]
async fn a_use_of_a_bus_takes_the_actions_that_it_says() {
    let Some((proxy, bus)) = bus("a_use_of_a_bus_takes_the_actions_that_it_says").await else { return };
    for count in [1, 12] {
        proxy.meddle("PutEvents", &[Fault::Failed]);
        assert_eq!(bus.publish(entries(count)).await, vec![Ok(()); count]);
        let says: BTreeSet<String> =
            BusUse::Publish.actions().iter().map(|action| (*action).to_owned()).collect();
        assert_eq!(proxy.actions(""), says);
    }
}
