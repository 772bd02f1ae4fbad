//! What each use takes of IAM. Policies are derived from it; a test sees on the wire that the adapters call just these.

use crate::model::{BucketUse, BusUse, QueueUse, TableUse, TopicUse};

impl TableUse {
    /// The actions of IAM that the adapter of AWS needs for it: of [`Query`](Self::Query) on the table's index
    /// ([`INDEX`](crate::layout::INDEX)), of the others on the table.
    ///
    /// A commit of one entity is a put, many are statements of PartiQL: of several, one may be left for a request of its own,
    /// and one that expired is replaced by a put. Where the answer does not tell what was found in the way, it is looked up:
    /// only so is a race that was lost told from an answer that was.
    pub fn actions(self) -> &'static [&'static str] {
        match self {
            Self::Get => &["dynamodb:GetItem"],
            Self::GetMany => &["dynamodb:BatchGetItem", "dynamodb:GetItem"],
            Self::Query => &["dynamodb:Query"],
            Self::Commit => &["dynamodb:GetItem", "dynamodb:PutItem"],
            Self::CreateMany => {
                &["dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:PartiQLInsert", "dynamodb:PutItem"]
            }
            Self::ChangeMany => {
                &["dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:PartiQLUpdate", "dynamodb:PutItem"]
            }
        }
    }
}

impl BucketUse {
    /// The actions of IAM that the adapter of AWS needs for it: `s3:ListBucket` on the bucket, the others on its objects.
    ///
    /// A put whose answer got lost, and which then finds an object there, reads it to learn whether it is its own. And that an
    /// object is missing S3 tells only who may list the bucket; others it tells that they may not read it.
    pub fn actions(self) -> &'static [&'static str] {
        match self {
            Self::Put => &["s3:GetObject", "s3:PutObject"],
            Self::Get => &["s3:GetObject", "s3:ListBucket"],
            Self::List => &["s3:ListBucket"],
        }
    }
}

impl QueueUse {
    /// The actions of IAM that it needs on the queue.
    ///
    /// Of those of [`Consume`](Self::Consume), a function calls `sqs:ChangeMessageVisibility` alone; the others Lambda calls
    /// in the name of the function's role, for the event source mapping.
    pub fn actions(self) -> &'static [&'static str] {
        match self {
            Self::Send => &["sqs:SendMessage"],
            Self::Consume => &[
                "sqs:ChangeMessageVisibility",
                "sqs:DeleteMessage",
                "sqs:GetQueueAttributes",
                "sqs:ReceiveMessage",
            ],
        }
    }
}

impl BusUse {
    /// The actions of IAM that it needs on the event bus.
    pub fn actions(self) -> &'static [&'static str] {
        match self {
            Self::Publish => &["events:PutEvents"],
        }
    }
}

impl TopicUse {
    /// The actions of IAM that it needs on the topic.
    pub fn actions(self) -> &'static [&'static str] {
        match self {
            Self::Publish => &["sns:Publish"],
        }
    }
}
