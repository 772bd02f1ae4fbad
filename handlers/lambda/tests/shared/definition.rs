//! The auction's definition, for tests that deploy it: the functions have the platform, here it only names things.

use quadrille::{
    Choreography,
    aws::{Needs, Settings as Names},
    choreography::Model,
    needs::{ResourceKind, Variable},
};
use std::sync::Arc;
use systems::auction::{PLATFORM_BUCKET, Settings, auction, platform::Elsewhere};

/// What a function needs.
pub fn needs(model: &Model, function: &str) -> Needs {
    Needs::of_step(model, function).unwrap_or_else(|| {
        assert_eq!(function, "relay");
        Needs::of_relay(model)
    })
}

/// The variables that tell a function the names of what it needs, and of nothing else.
pub fn told(model: &Model, function: &str, names: &Names) -> Vec<(String, String)> {
    let value = |variable: Variable| {
        let names = match variable.kind {
            ResourceKind::Table => &names.tables,
            ResourceKind::Queue => &names.queues,
            ResourceKind::Bucket => &names.buckets,
            ResourceKind::Topic => &names.topics,
        };
        (variable.name, names[&variable.of].clone())
    };
    needs(model, function).variables().into_iter().map(value).collect()
}

pub fn definition() -> Choreography {
    let settings = Settings { platform_bucket: Some(PLATFORM_BUCKET.to_owned()), ..Settings::default() };
    auction(&settings, Arc::new(Elsewhere), Vec::new()).unwrap()
}
