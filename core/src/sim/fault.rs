//! The faults that AWS allows, and those of processes: which there are, and where they come from.

use std::{fmt, str::FromStr};

macro_rules! faults {
    ($($(#[doc = $doc:literal])* $fault:ident $name:literal from $source:literal, $rate:literal $($beyond:ident)?;)*) => {
        /// A fault: something that AWS, a network or a process may do, and that no handler may be hurt by.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault {
            $($(#[doc = $doc])* $fault,)*
        }

        impl Fault {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$fault,)*];

            /// Its name on the command line: `duplicate`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$fault => $name,)* }
            }

            /// Where AWS's documentation allows it, or why there is such a thing.
            pub fn source(self) -> &'static str {
                match self { $(Self::$fault => $source,)* }
            }

            /// Whether every system withstands it: no promise depends on its absence. Others strike only where they are named.
            pub fn is_withstood(self) -> bool {
                match self { $(Self::$fault => faults!(@withstood $($beyond)?),)* }
            }

            /// How often it strikes at most, of 1,000 chances.
            pub(super) fn rate_max(self) -> u64 {
                match self { $(Self::$fault => $rate,)* }
            }
        }
    };
    (@withstood) => { true };
    (@withstood beyond) => { false };
}

faults! {
    /// A message arrives twice.
    Duplicate "duplicate" from "SQS Developer Guide, at-least-once delivery; EventBridge and SNS deliver at least once", 100;
    /// A message arrives hours late.
    Late "late" from "SQS keeps a message for its retention, and a consumer may be down", 50;
    /// A message is overtaken by others.
    Overtaken "overtaken" from "SQS Developer Guide, standard queues: best-effort ordering", 200;
    /// A message is visible again while its handler works.
    Visible "visible" from "SQS Developer Guide, visibility timeout: a message may be received again", 50;
    /// A message's receive count is one too high or too low.
    Count "count" from "SQS API: ApproximateReceiveCount", 100;
    /// A queue says that it holds a few messages more or fewer than it does.
    Depth "depth" from "SQS API: ApproximateNumberOfMessages", 300;
    /// One entry of a batch is refused, and the others are taken.
    Entry "entry" from "SendMessageBatch, PutEvents, BatchExecuteStatement answer each entry", 50;
    /// A call is refused as a whole: nothing of it is applied.
    Throttled "throttled" from "DynamoDB ProvisionedThroughputExceeded, SQS RequestThrottled, S3 503 Slow Down", 50;
    /// A call is applied, and its answer is lost.
    Lost "lost" from "any network", 50;
    /// A call takes long.
    Slow "slow" from "any network", 20;
    /// A page of an index lacks its latest entries, or has entries that were changed since.
    Stale "stale" from "DynamoDB Developer Guide: global secondary indexes are eventually consistent", 200;
    /// Records of a change stream are read again.
    Again "again" from "Lambda Developer Guide, DynamoDB: a batch may be delivered more than once", 50;
    /// A change stream stands for some minutes.
    Held "held" from "Lambda Developer Guide, DynamoDB: a shard waits while a batch is retried", 100;
    /// A schedule's message is not sent.
    Skipped "skipped" from "EventBridge Scheduler: retries end after the time that they are given", 50;
    /// An expired item is still there after days.
    Expiry "expiry" from "DynamoDB Developer Guide, TTL: typically within a few days", 500;
    /// A process dies at any await, and is started again.
    Crash "crash" from "Lambda ends a sandbox; a machine loses power", 3;
    /// The clock of a process is seconds ahead or behind.
    Clock "clock" from "two machines have two clocks", 300;
    /// The clock of a process is set back by minutes while it runs.
    SetBack "set-back" from "somebody sets it, or a virtual machine is moved", 200;
    /// A schedule sends up to a minute early or late.
    Minute "minute" from "EventBridge Scheduler: within 60 seconds of the time", 300;
    /// A port takes nothing for up to two minutes: a target without room, a service that is out.
    Outage "outage" from "any service of AWS; a quota that is used up; EventBridge retries for 24 hours", 2;
    /// Something outside can't be reached.
    Unreachable "unreachable" from "any service of others", 100;
    /// Something outside is asked, and its answer is lost: it may have given up waiting, or its caller has.
    Unanswered "unanswered" from "any service of others", 100;
    /// Something outside answers a question otherwise when it is asked again.
    Fickle "fickle" from "any service of others", 100;
    /// Dead letters are sent back while others come in.
    Redriven "redriven" from "an operator, or StartMessageMoveTask", 700;
    /// A process has the build before, beside others with this one.
    Build "build" from "Lambda Developer Guide: during a deployment both versions are invoked", 300;
    /// Records of a change stream are lost.
    RecordsLost "records-lost" from "DynamoDB Developer Guide, Streams: records are there for 24 hours", 20 beyond;
    /// A dead letter is gone before anybody has looked.
    LetterExpired "letter-expired" from "SQS Developer Guide: a message is kept for 14 days at most", 100 beyond;
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is no fault's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no fault {name:?}; there are {}", Fault::ALL.iter().map(|fault| fault.as_str()).collect::<Vec<_>>().join(", "))]
pub struct FaultError {
    name: String,
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(name: &str) -> Result<Self, FaultError> {
        let found = Self::ALL.iter().find(|fault| fault.as_str() == name);
        found.copied().ok_or_else(|| FaultError { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_named_and_found_by_its_name() {
        for fault in Fault::ALL {
            assert_eq!(fault.as_str().parse(), Ok(*fault));
            assert!(!fault.source().is_empty());
        }
        let error = "flood".parse::<Fault>().unwrap_err().to_string();
        assert!(error.contains("flood") && error.contains("duplicate"), "{error}");
    }
}
