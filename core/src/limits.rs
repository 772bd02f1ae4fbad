//! Every limit the library holds itself to: its value, its unit, whose limit it is.
//!
//! The local and the in-memory adapter enforce AWS's limits too, so that what works on a laptop is not refused
//! in the cloud.

use std::time::Duration;

/// Longest delay of a message on a queue: 900 s (SQS, `DelaySeconds`). Longer waits are walked in hops.
pub const QUEUE_DELAY_MAX: Duration = Duration::from_secs(900);

/// Longest visibility timeout: 12 h (SQS, `VisibilityTimeout`).
pub const QUEUE_VISIBILITY_MAX: Duration = Duration::from_secs(43_200);

/// Largest message: 1 MiB of body and attributes (SQS; also the most a batch may hold).
pub const MESSAGE_BYTES_MAX: usize = 1_048_576;

/// Most attributes of a message: 10 (SQS, and SNS where it delivers to SQS).
pub const MESSAGE_ATTRIBUTES_MAX: usize = 10;

/// Longest name of an attribute of a message: 256 bytes (SQS).
pub const ATTRIBUTE_NAME_BYTES_MAX: usize = 256;

/// Most messages a function is handed at once from a standard queue: 10,000 (Lambda event source mapping).
pub const CONSUMER_BATCH_MAX: usize = 10_000;

/// Largest batch a consumer takes without waiting to gather it: 10 messages (Lambda event source mapping).
pub const CONSUMER_BATCH_WITHOUT_WINDOW_MAX: usize = 10;

/// Longest message retention of a queue: 14 days (SQS, `MessageRetentionPeriod`).
pub const QUEUE_RETENTION_MAX: Duration = Duration::from_secs(14 * 86_400);

/// Longest run of one function invocation: 900 s (Lambda).
pub const FUNCTION_TIMEOUT_MAX: Duration = Duration::from_secs(900);

/// Longest time of the function of a route: 30 s (API Gateway: an HTTP API answers 503 by itself then). A function gives its
/// answer some time before its own ends.
pub const ROUTE_TIMEOUT_MAX: Duration = Duration::from_secs(30);

/// Longest idempotency key of a request: 256 bytes. Ours.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 256;

/// Largest item: 400 KB of names and values (DynamoDB counts 1 KB as 1,024 bytes).
pub const ITEM_BYTES_MAX: usize = 400 * 1024;

/// Longest partition key: 2,048 bytes (DynamoDB).
pub const KEY_BYTES_MAX: usize = 2_048;

/// Longest place in an index partition: 1,024 bytes (DynamoDB, sort key).
pub const INDEX_SORT_BYTES_MAX: usize = 1_024;

/// Longest key of an object: 1,024 bytes of UTF-8 (S3).
pub const OBJECT_KEY_BYTES_MAX: usize = 1_024;

/// Largest notification: 256 KiB (SNS).
pub const NOTIFICATION_BYTES_MAX: usize = 262_144;

/// Largest entry of an event bus: 256 KiB of source, detail type and detail (EventBridge; also the most a call may hold).
pub const BUS_ENTRY_BYTES_MAX: usize = 262_144;

/// Longest detail type of an entry of an event bus: 128 characters (EventBridge).
pub const BUS_DETAIL_TYPE_MAX: usize = 128;

/// Longest pattern of a rule: 2,048 characters (EventBridge).
pub const BUS_PATTERN_BYTES_MAX: usize = 2_048;

/// Longest name of a table, queue, topic, bus, bucket, schedule or step: 40 bytes. Ours: with system and stack before
/// it, it has to fit in 64 bytes (a Lambda function's name).
pub const NAME_BYTES_MAX: usize = 40;

/// Entries a trail keeps: the first one and the latest. Ours: a trail has to stay far below an item's size.
pub const TRAIL_ENTRIES_MAX: usize = 16;

/// Bytes that an entry of a trail keeps of what a handler was given, and as many of what it made of it, where a table keeps
/// details. Ours: with them in all its entries, a trail takes 32 KB of an item's 400.
pub const TRAIL_DETAIL_BYTES_MAX: usize = 1_024;

/// How often the pipeline, or [`Context::change_all`](crate::Context::change_all), reads an entity again after losing a race
/// for it, before it gives the message back as a transient failure. Ours.
pub const COMMIT_RACES_MAX: u32 = 5;

/// Visibility timeout in multiples of a function's timeout: at least 6 (AWS's advice for SQS event sources).
pub const VISIBILITY_PER_TIMEOUT_MIN: u32 = 6;

/// Largest HTTP request body: 1 MiB. Ours; API Gateway would take 10 MB, a Lambda function 6 MB.
pub const HTTP_BODY_BYTES_MAX: usize = 1_048_576;

/// Receives that the queue itself allows beyond a step's attempts: 3. Ours: a message that has used up its attempts, because its
/// process died or its time ran out each time, is received once more and given up by the pipeline, with its reason. A crash in
/// the middle of that is made good by the ones left.
pub const SPARE_RECEIVES: u32 = 3;

/// Most attempts of a step: 997 (SQS, `maxReceiveCount`: 1,000, less [`SPARE_RECEIVES`]).
pub const ATTEMPTS_MAX: u32 = 1_000 - SPARE_RECEIVES;

/// Memory of a function: 128 to 10,240 MB (Lambda).
pub const FUNCTION_MEMORY: std::ops::RangeInclusive<u32> = 128..=10_240;

/// A period of an alarm is a multiple of so many seconds (CloudWatch, for metrics that are not of high resolution).
pub(crate) const ALARM_PERIOD_UNIT: u64 = 60;

/// The longest that an alarm may look back, in seconds: 7 days (CloudWatch, for periods of an hour and more; shorter ones have a
/// day, which three of them fit into).
pub(crate) const ALARM_WINDOW_MAX: u64 = 604_800;

/// A schedule stands where nothing of it was handled for so many of its periods. Ours.
pub(crate) const SILENT_PERIODS: u32 = 3;

/// With fewer periods, an alarm would go off where a message comes a little later than the one before it. Ours.
pub(crate) const SILENT_PERIODS_MIN: u64 = 2;

/// Batches of a queue that Lambda works at the same time: a maximum of 2 to 1,000 (Lambda event source mapping).
pub const MAXIMUM_CONCURRENCY: std::ops::RangeInclusive<u32> = 2..=1_000;

/// Fewest pollers that Lambda keeps for a queue in provisioned mode: 2 to 200 (Lambda event source mapping).
pub const POLLERS_LEAST: std::ops::RangeInclusive<u32> = 2..=200;

/// Most pollers that Lambda keeps for a queue in provisioned mode: 2 to 2,000 (the provider; Lambda's API takes up to 10,000).
pub const POLLERS_MOST: std::ops::RangeInclusive<u32> = 2..=2_000;

/// Read units a second that an on-demand table is ready for by itself: 12,000 (DynamoDB, warm throughput).
pub const WARM_READS_MIN: u32 = 12_000;

/// Write units a second that an on-demand table is ready for by itself: 4,000 (DynamoDB, warm throughput).
pub const WARM_WRITES_MIN: u32 = 4_000;

/// Most places that a setting spreads something over: 4,096. Ours: whoever reads them all asks as often.
pub const SPREAD_MAX: u64 = 4_096;
