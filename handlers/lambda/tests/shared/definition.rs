//! The auction's definition, for tests that deploy it: the functions have the platform, here it only names things.

use quadrille::Choreography;
use std::sync::Arc;
use systems::auction::{PLATFORM_BUCKET, Settings, auction, platform::Elsewhere};

pub fn definition() -> Choreography {
    let settings = Settings { platform_bucket: Some(PLATFORM_BUCKET.to_owned()), ..Settings::default() };
    auction(&settings, Arc::new(Elsewhere), Vec::new()).unwrap()
}
