//! The auction's definition, for tests that deploy it: the functions have the platform, here it only names things.

use async_trait::async_trait;
use quadrille::{Choreography, Failure};
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

pub fn definition() -> Choreography {
    let settings = Settings { platform_bucket: Some(PLATFORM_BUCKET.to_owned()), ..Settings::default() };
    let notifiers: Vec<(String, Arc<dyn Notifier>)> = Vec::new();
    auction(&settings, Arc::new(Nobody), notifiers).unwrap()
}
