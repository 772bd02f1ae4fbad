//! What AWS gives by default, each with its source. Regional ones are those of eu-west-1, as read in November 2026.

/// A limit of AWS.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quota {
    /// What is limited.
    pub(super) what: &'static str,
    /// The number, in `unit`.
    pub(super) value: f64,
    /// Of what.
    pub(super) unit: &'static str,
    /// Whether AWS raises it for an account that asks.
    pub(super) is_raised: bool,
    /// Where AWS says so.
    pub(super) source: &'static str,
}

const fn quota(
    what: &'static str,
    value: f64,
    unit: &'static str,
    is_raised: bool,
    source: &'static str,
) -> Quota {
    Quota { what, value, unit, is_raised, source }
}

/// The page of DynamoDB's guide by this name.
macro_rules! dynamodb {
    ($page:literal) => {
        concat!("https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/", $page, ".html")
    };
}

macro_rules! lambda {
    ($page:literal) => {
        concat!("https://docs.aws.amazon.com/lambda/latest/dg/", $page, ".html")
    };
}

pub(super) const PARTITION_WRITES: Quota =
    quota("a partition's write units", 1_000.0, "units/s", false, dynamodb!("bp-partition-key-design"));
pub(super) const WARM_WRITES: Quota =
    quota("write units it is ready for", 4_000.0, "units/s", true, dynamodb!("warm-throughput-scenarios"));
pub(super) const WARM_READS: Quota =
    quota("read units it is ready for", 12_000.0, "units/s", true, dynamodb!("warm-throughput-scenarios"));
pub(super) const TABLE_WRITES: Quota = quota(
    "the account's write units of a table or index",
    40_000.0,
    "units/s",
    true,
    dynamodb!("ServiceQuotas"),
);
pub(super) const TABLE_READS: Quota = quota(
    "the account's read units of a table or index",
    40_000.0,
    "units/s",
    true,
    dynamodb!("ServiceQuotas"),
);
pub(super) const AT_MOST: Quota = quota(
    "units it may use at most",
    40_000.0,
    "units/s",
    true,
    dynamodb!("on-demand-capacity-mode-max-throughput"),
);
pub(super) const STREAM: Quota = quota(
    "batches of a stream's shard at once (parallelization factor, 1 to 10)",
    10.0,
    "batches/shard",
    false,
    lambda!("services-ddb-params"),
);
pub(super) const IN_FLIGHT: Quota = quota(
    "messages in flight",
    120_000.0,
    "messages",
    true,
    "https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-queues.html",
);
pub(super) const MAPPING: Quota = quota(
    "batches of a queue at once (maximum concurrency, 2 to 1,000; 10 for each provisioned poller)",
    1_000.0,
    "batches",
    false,
    lambda!("services-sqs-scaling"),
);
pub(super) const RESERVED: Quota = quota(
    "invocations at once that are reserved, or else the account's",
    1_000.0,
    "at once",
    true,
    lambda!("configuration-concurrency"),
);
pub(super) const CONCURRENCY: Quota =
    quota("the account's invocations at once", 1_000.0, "at once", true, lambda!("gettingstarted-limits"));
pub(super) const INVOCATIONS: Quota = quota(
    "invocations a second, 10 for each at once",
    10_000.0,
    "invocations/s",
    true,
    lambda!("scaling-behavior"),
);
pub(super) const IN_TURN: Quota = quota(
    "messages that follow each other, in so many rows",
    1.0,
    "rows",
    false,
    "the flow itself: a message is sent by the one before it",
);
pub(super) const PREFIX: Quota = quota(
    "puts under a prefix",
    3_500.0,
    "puts/s",
    false,
    "https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html",
);
pub(super) const REQUESTS: Quota = quota(
    "the account's requests of all APIs",
    10_000.0,
    "requests/s",
    true,
    "https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html",
);
pub(super) const STAGE: Quota = quota(
    "requests that the stage lets through",
    10_000.0,
    "requests/s",
    true,
    "https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-throttling.html",
);
pub(super) const PUT_EVENTS: Quota = quota(
    "the account's calls of PutEvents, of 10 events",
    10_000.0,
    "calls/s",
    true,
    "https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html",
);
pub(super) const RULES: Quota = quota(
    "the account's deliveries by rules; more are delayed, not lost",
    18_750.0,
    "deliveries/s",
    true,
    "https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html",
);
pub(super) const PUBLISHED: Quota = quota(
    "the account's messages to topics",
    9_000.0,
    "messages/s",
    true,
    "https://docs.aws.amazon.com/general/latest/gr/sns.html",
);
pub(super) const SCHEDULER: Quota = quota(
    "the account's scheduled messages",
    1_000.0,
    "messages/s",
    true,
    "https://docs.aws.amazon.com/scheduler/latest/UserGuide/scheduler-quotas.html",
);
