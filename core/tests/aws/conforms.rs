//! The conformance suite.

use crate::peer;
use async_trait::async_trait;
use quadrille::{
    aws,
    conformance::{self, Capabilities, World},
    port::Ports,
};
use std::time::Duration;

/// The adapters on the peer, in real time.
struct OnThePeer(Ports);

#[async_trait]
impl World for OnThePeer {
    fn ports(&self) -> Ports {
        self.0.clone()
    }

    async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            // The peer counts exactly, so that this shows that the adapter reads the right figures. SQS does not.
            exact_depth: true,
            lateness: Duration::from_secs(2),
            ..Capabilities::default()
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_adapters_of_aws_conform() {
    let Some(url) = peer::require("the_adapters_of_aws_conform") else { return };
    let model = conformance::model();
    let config = peer::configuration(url).await;
    let settings = peer::provision(&model, &config).await;
    let world = OnThePeer(aws::ports(&model, &settings, &config));
    let report = conformance::run(&world).await;
    println!("aws on ministack:\n{report}\n");
    assert!(report.failures().is_empty(), "aws on ministack:\n{report}");
}
