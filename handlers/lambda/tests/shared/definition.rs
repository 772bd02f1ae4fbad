//! The auction's definition, for tests that deploy it: the functions have the platform, here it only names things.

use async_trait::async_trait;
use quadrille::{
    Choreography, Failure,
    aws::{Needs, Settings as Names},
    choreography::Model,
    needs::{ResourceKind, Variable},
};
use std::sync::Arc;
use systems::{
    auction::{
        Settings, auction,
        platform::{Answer, AuctionPlatform, SubmittedOrder},
    },
    notify::Notifier,
};

/// The bucket that stands for the platform.
pub const PLATFORM_BUCKET: &str = "auction-platform";

struct Nobody;

#[async_trait]
impl AuctionPlatform for Nobody {
    async fn submit(&self, _: &str, _: u32, _: &[SubmittedOrder]) -> Result<(), Failure> {
        Err(Failure::permanent("nobody", "not asked here"))
    }

    async fn results(&self, _: &str, _: u32, _: Option<&str>) -> Result<Answer, Failure> {
        Err(Failure::permanent("nobody", "not asked here"))
    }
}

/// The variables that tell a function the names of what it needs, and of nothing else.
pub fn told(model: &Model, function: &str, names: &Names) -> Vec<(String, String)> {
    let needs = Needs::of_step(model, function).unwrap_or_else(|| {
        assert_eq!(function, "relay");
        Needs::of_relay(model)
    });
    let value = |variable: Variable| {
        let names = match variable.kind {
            ResourceKind::Table => &names.tables,
            ResourceKind::Queue => &names.queues,
            ResourceKind::Bucket => &names.buckets,
            ResourceKind::Topic => &names.topics,
        };
        (variable.name, names[&variable.of].clone())
    };
    needs.variables().into_iter().map(value).collect()
}

pub fn definition() -> Choreography {
    let settings = Settings { platform_bucket: Some(PLATFORM_BUCKET.to_owned()), ..Settings::default() };
    let notifiers: Vec<(String, Arc<dyn Notifier>)> = Vec::new();
    auction(&settings, Arc::new(Nobody), notifiers).unwrap()
}
