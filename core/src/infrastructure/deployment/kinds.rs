//! What each type of resource takes of whoever deploys it: to make it, read it, change it and remove it, as version 7 of
//! Pulumi's provider does. A type that is not here is an error of the program that has it.

/// Rights on one resource.
#[derive(Debug)]
pub(super) struct Right {
    pub(super) actions: &'static [&'static str],
    /// Patterns of the resources' ARNs. `{region}` and `{account}` are the place's, any other word in braces is a property of
    /// the resource; a reference in it stands for the name of what it refers to.
    pub(super) on: &'static [&'static str],
    pub(super) only: Only,
    /// Why a pattern takes more than the resource: the words of [`WIDE`].
    pub(super) wide: Option<Wide>,
}

/// What else has to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Only {
    /// Nothing.
    Always,
    /// What is made gets the tags of the stack.
    TaggedSo,
    /// It has the tags of the stack.
    Tagged,
    /// It concerns this function of the program.
    Function,
    /// DynamoDB asks, on behalf of the caller.
    ByDynamoDb,
    /// The role is handed to the service that it trusts.
    PassedToItsService,
}

/// Why a right takes more than one resource of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wide {
    /// The action knows no resource.
    NoResource,
    /// AWS gives it a number for a name, which nobody knows before; a condition tells it from others'.
    Numbered,
    /// The same, and IAM has no condition that tells it from others'.
    OnlyNumbered,
}

/// Each with its reason, as people are told.
pub(super) const WIDE: [(Wide, &str); 3] = [
    (Wide::NoResource, "the action knows no resource"),
    (Wide::Numbered, "AWS gives it a number for a name; a condition tells it from that of others"),
    (Wide::OnlyNumbered, "AWS gives it a number for a name, and no condition tells it from that of others"),
];

const fn on(actions: &'static [&'static str], on: &'static [&'static str]) -> Right {
    Right { actions, on, only: Only::Always, wide: None }
}

const fn anywhere(actions: &'static [&'static str]) -> Right {
    Right { actions, on: &["*"], only: Only::Always, wide: Some(Wide::NoResource) }
}

const fn numbered(actions: &'static [&'static str], on: &'static [&'static str], only: Only) -> Right {
    Right { actions, on, only, wide: Some(Wide::Numbered) }
}

const KEYS: &str = "arn:aws:kms:{region}:{account}:key/*";
const MAPPINGS: &str = "arn:aws:lambda:{region}:{account}:event-source-mapping:*";
const APIS: &str = "arn:aws:apigateway:{region}::/apis";
const OF_APIS: &str = "arn:aws:apigateway:{region}::/apis/*";

/// A part of an API, which is made under the API and then has a number of its own.
const OF_API: &[Right] = &[Right {
    actions: &["apigateway:DELETE", "apigateway:GET", "apigateway:PATCH", "apigateway:POST"],
    on: &[OF_APIS],
    only: Only::Always,
    wide: Some(Wide::OnlyNumbered),
}];

/// A part of a bucket that is a resource of its own: read and written by these.
macro_rules! of_bucket {
    ($($action:literal),+) => { &[on(&[$($action),+], &["arn:aws:s3:::{bucket}"])] };
}

/// The types of resources, with what each takes.
pub(super) const KINDS: &[(&str, &[Right])] = &[
    (
        "aws:apigatewayv2:Api",
        &[
            Right {
                actions: &["apigateway:POST"],
                on: &[APIS],
                only: Only::Always,
                wide: Some(Wide::OnlyNumbered),
            },
            Right {
                actions: &["apigateway:DELETE", "apigateway:GET", "apigateway:PATCH"],
                on: &[OF_APIS],
                only: Only::Always,
                wide: Some(Wide::OnlyNumbered),
            },
            Right {
                actions: &["apigateway:DELETE", "apigateway:POST", "apigateway:PUT"],
                on: &["arn:aws:apigateway:{region}::/tags/*"],
                only: Only::Always,
                wide: Some(Wide::OnlyNumbered),
            },
        ],
    ),
    ("aws:apigatewayv2:Authorizer", OF_API),
    ("aws:apigatewayv2:Integration", OF_API),
    ("aws:apigatewayv2:Route", OF_API),
    (
        "aws:apigatewayv2:Stage",
        &[
            Right {
                actions: &["apigateway:DELETE", "apigateway:GET", "apigateway:PATCH", "apigateway:POST"],
                on: &[OF_APIS],
                only: Only::Always,
                wide: Some(Wide::OnlyNumbered),
            },
            // Its access log: API Gateway arranges for it in the caller's name.
            anywhere(&[
                "logs:CreateLogDelivery",
                "logs:DeleteLogDelivery",
                "logs:DescribeLogGroups",
                "logs:DescribeResourcePolicies",
                "logs:GetLogDelivery",
                "logs:ListLogDeliveries",
                "logs:PutResourcePolicy",
                "logs:UpdateLogDelivery",
            ]),
        ],
    ),
    (
        "aws:cloudwatch:Dashboard",
        &[on(
            &["cloudwatch:DeleteDashboards", "cloudwatch:GetDashboard", "cloudwatch:PutDashboard"],
            &["arn:aws:cloudwatch::{account}:dashboard/{dashboardName}"],
        )],
    ),
    (
        "aws:cloudwatch:EventBus",
        &[on(
            &[
                "events:CreateEventBus",
                "events:DeleteEventBus",
                "events:DescribeEventBus",
                "events:ListTagsForResource",
                "events:TagResource",
                "events:UntagResource",
                "events:UpdateEventBus",
            ],
            &["arn:aws:events:{region}:{account}:event-bus/{name}"],
        )],
    ),
    (
        "aws:cloudwatch:EventRule",
        &[on(
            &[
                "events:DeleteRule",
                "events:DescribeRule",
                "events:ListTagsForResource",
                "events:PutRule",
                "events:TagResource",
                "events:UntagResource",
            ],
            &["arn:aws:events:{region}:{account}:rule/{eventBusName}/{name}"],
        )],
    ),
    (
        "aws:cloudwatch:EventTarget",
        &[on(
            &["events:ListTargetsByRule", "events:PutTargets", "events:RemoveTargets"],
            &["arn:aws:events:{region}:{account}:rule/{eventBusName}/{rule}"],
        )],
    ),
    (
        "aws:cloudwatch:LogGroup",
        &[
            on(
                &[
                    "logs:CreateLogGroup",
                    "logs:DeleteLogGroup",
                    "logs:ListTagsForResource",
                    "logs:PutRetentionPolicy",
                    "logs:TagResource",
                    "logs:UntagResource",
                ],
                // Some go by the group's ARN, others by that of all its streams; which do, AWS tells nowhere.
                &[
                    "arn:aws:logs:{region}:{account}:log-group:{name}",
                    "arn:aws:logs:{region}:{account}:log-group:{name}:*",
                ],
            ),
            anywhere(&["logs:DescribeLogGroups"]),
        ],
    ),
    (
        "aws:cloudwatch:MetricAlarm",
        &[
            on(
                &[
                    "cloudwatch:DeleteAlarms",
                    "cloudwatch:ListTagsForResource",
                    "cloudwatch:PutMetricAlarm",
                    "cloudwatch:TagResource",
                    "cloudwatch:UntagResource",
                ],
                &["arn:aws:cloudwatch:{region}:{account}:alarm:{name}"],
            ),
            anywhere(&["cloudwatch:DescribeAlarms"]),
        ],
    ),
    (
        "aws:dynamodb:Table",
        &[
            on(
                &[
                    "dynamodb:CreateTable",
                    "dynamodb:DeleteTable",
                    "dynamodb:DescribeContinuousBackups",
                    "dynamodb:DescribeTable",
                    "dynamodb:DescribeTimeToLive",
                    "dynamodb:ListTagsOfResource",
                    "dynamodb:TagResource",
                    "dynamodb:UntagResource",
                    "dynamodb:UpdateContinuousBackups",
                    "dynamodb:UpdateTable",
                    "dynamodb:UpdateTimeToLive",
                ],
                &["arn:aws:dynamodb:{region}:{account}:table/{name}"],
            ),
            // A table that a key of the customer's encrypts: DynamoDB looks whether its maker may use the key.
            numbered(
                &[
                    "kms:CreateGrant",
                    "kms:Decrypt",
                    "kms:Encrypt",
                    "kms:GenerateDataKey",
                    "kms:GenerateDataKeyWithoutPlaintext",
                    "kms:ReEncryptFrom",
                    "kms:ReEncryptTo",
                ],
                &[KEYS],
                Only::ByDynamoDb,
            ),
        ],
    ),
    (
        "aws:iam:Role",
        &[
            on(
                &[
                    "iam:CreateRole",
                    "iam:DeleteRole",
                    "iam:GetRole",
                    "iam:ListAttachedRolePolicies",
                    "iam:ListInstanceProfilesForRole",
                    "iam:ListRolePolicies",
                    "iam:TagRole",
                    "iam:UntagRole",
                    "iam:UpdateAssumeRolePolicy",
                    "iam:UpdateRole",
                ],
                &["arn:aws:iam::{account}:role/{name}"],
            ),
            Right {
                actions: &["iam:PassRole"],
                on: &["arn:aws:iam::{account}:role/{name}"],
                only: Only::PassedToItsService,
                wide: None,
            },
        ],
    ),
    (
        "aws:iam:RolePolicy",
        &[on(
            &["iam:DeleteRolePolicy", "iam:GetRolePolicy", "iam:PutRolePolicy"],
            &["arn:aws:iam::{account}:role/{role}"],
        )],
    ),
    (
        "aws:kms:Alias",
        &[
            on(
                &["kms:CreateAlias", "kms:DeleteAlias", "kms:UpdateAlias"],
                &["arn:aws:kms:{region}:{account}:{name}"],
            ),
            numbered(&["kms:CreateAlias", "kms:DeleteAlias", "kms:UpdateAlias"], &[KEYS], Only::Tagged),
            anywhere(&["kms:ListAliases"]),
        ],
    ),
    (
        "aws:kms:Key",
        &[
            numbered(&["kms:CreateKey", "kms:TagResource"], &["*"], Only::TaggedSo),
            numbered(
                &[
                    "kms:DescribeKey",
                    "kms:DisableKeyRotation",
                    "kms:EnableKeyRotation",
                    "kms:GetKeyPolicy",
                    "kms:GetKeyRotationStatus",
                    "kms:ListResourceTags",
                    "kms:PutKeyPolicy",
                    "kms:ScheduleKeyDeletion",
                    "kms:UntagResource",
                    "kms:UpdateKeyDescription",
                ],
                &[KEYS],
                Only::Tagged,
            ),
        ],
    ),
    (
        "aws:lambda:EventSourceMapping",
        &[
            numbered(&["lambda:CreateEventSourceMapping"], &["*"], Only::Function),
            numbered(
                &[
                    "lambda:DeleteEventSourceMapping",
                    "lambda:GetEventSourceMapping",
                    "lambda:UpdateEventSourceMapping",
                ],
                &[MAPPINGS],
                Only::Function,
            ),
            // It is made with tags, and whoever tags it as it is made is asked for this as well.
            numbered(&["lambda:TagResource"], &[MAPPINGS], Only::TaggedSo),
            Right {
                actions: &["lambda:ListTags", "lambda:UntagResource"],
                on: &[MAPPINGS],
                only: Only::Always,
                wide: Some(Wide::OnlyNumbered),
            },
        ],
    ),
    (
        "aws:lambda:Function",
        &[on(
            &[
                "lambda:CreateFunction",
                "lambda:DeleteFunction",
                "lambda:DeleteFunctionConcurrency",
                "lambda:GetFunction",
                "lambda:GetFunctionCodeSigningConfig",
                "lambda:GetFunctionConfiguration",
                "lambda:ListTags",
                "lambda:ListVersionsByFunction",
                "lambda:PutFunctionConcurrency",
                "lambda:TagResource",
                "lambda:UntagResource",
                "lambda:UpdateFunctionCode",
                "lambda:UpdateFunctionConfiguration",
            ],
            &["arn:aws:lambda:{region}:{account}:function:{name}"],
        )],
    ),
    (
        "aws:lambda:FunctionRecursionConfig",
        &[on(
            &["lambda:GetFunctionRecursionConfig", "lambda:PutFunctionRecursionConfig"],
            &["arn:aws:lambda:{region}:{account}:function:{functionName}"],
        )],
    ),
    (
        "aws:lambda:Permission",
        &[on(
            &["lambda:AddPermission", "lambda:GetPolicy", "lambda:RemovePermission"],
            &["arn:aws:lambda:{region}:{account}:function:{function}"],
        )],
    ),
    (
        "aws:s3:Bucket",
        &[
            on(
                &[
                    "s3:CreateBucket",
                    "s3:DeleteBucket",
                    "s3:GetAccelerateConfiguration",
                    "s3:GetBucketAcl",
                    "s3:GetBucketCORS",
                    "s3:GetBucketLogging",
                    "s3:GetBucketObjectLockConfiguration",
                    "s3:GetBucketPolicy",
                    "s3:GetBucketRequestPayment",
                    "s3:GetBucketTagging",
                    "s3:GetBucketVersioning",
                    "s3:GetBucketWebsite",
                    "s3:GetEncryptionConfiguration",
                    "s3:GetLifecycleConfiguration",
                    "s3:GetReplicationConfiguration",
                    "s3:ListBucket",
                    "s3:ListBucketVersions",
                    "s3:ListTagsForResource",
                    "s3:PutBucketTagging",
                    "s3:TagResource",
                    "s3:UntagResource",
                ],
                &["arn:aws:s3:::{bucket}"],
            ),
            // `forceDestroy`: a stack that may be removed with all that is in it is emptied first.
            on(&["s3:DeleteObject", "s3:DeleteObjectVersion"], &["arn:aws:s3:::{bucket}/*"]),
        ],
    ),
    (
        "aws:s3:BucketLifecycleConfiguration",
        of_bucket!("s3:GetLifecycleConfiguration", "s3:PutLifecycleConfiguration"),
    ),
    ("aws:s3:BucketPolicy", of_bucket!("s3:DeleteBucketPolicy", "s3:GetBucketPolicy", "s3:PutBucketPolicy")),
    (
        "aws:s3:BucketPublicAccessBlock",
        of_bucket!("s3:GetBucketPublicAccessBlock", "s3:PutBucketPublicAccessBlock"),
    ),
    (
        "aws:s3:BucketServerSideEncryptionConfiguration",
        of_bucket!("s3:GetEncryptionConfiguration", "s3:PutEncryptionConfiguration"),
    ),
    ("aws:s3:BucketVersioning", of_bucket!("s3:GetBucketVersioning", "s3:PutBucketVersioning")),
    (
        "aws:scheduler:Schedule",
        &[on(
            &[
                "scheduler:CreateSchedule",
                "scheduler:DeleteSchedule",
                "scheduler:GetSchedule",
                "scheduler:UpdateSchedule",
            ],
            &["arn:aws:scheduler:{region}:{account}:schedule/default/{name}"],
        )],
    ),
    (
        "aws:secretsmanager:Secret",
        &[on(
            &[
                "secretsmanager:CreateSecret",
                "secretsmanager:DeleteSecret",
                "secretsmanager:DescribeSecret",
                "secretsmanager:GetResourcePolicy",
                "secretsmanager:TagResource",
                "secretsmanager:UntagResource",
                "secretsmanager:UpdateSecret",
            ],
            // Secrets Manager adds six characters to the name; while it is made, they are not there yet.
            &[
                "arn:aws:secretsmanager:{region}:{account}:secret:{name}",
                "arn:aws:secretsmanager:{region}:{account}:secret:{name}-??????",
            ],
        )],
    ),
    (
        "aws:sns:Topic",
        &[on(
            &[
                "sns:CreateTopic",
                "sns:DeleteTopic",
                "sns:GetTopicAttributes",
                "sns:ListTagsForResource",
                "sns:SetTopicAttributes",
                "sns:TagResource",
                "sns:UntagResource",
            ],
            &["arn:aws:sns:{region}:{account}:{name}"],
        )],
    ),
    (
        "aws:sns:TopicPolicy",
        &[on(
            &["sns:GetTopicAttributes", "sns:SetTopicAttributes"],
            &["arn:aws:sns:{region}:{account}:{arn}"],
        )],
    ),
    (
        "aws:sns:TopicSubscription",
        &[
            on(
                &["sns:ListSubscriptionsByTopic", "sns:Subscribe"],
                &["arn:aws:sns:{region}:{account}:{topic}"],
            ),
            anywhere(&["sns:GetSubscriptionAttributes", "sns:SetSubscriptionAttributes", "sns:Unsubscribe"]),
        ],
    ),
    (
        "aws:sqs:Queue",
        &[on(
            &[
                "sqs:CreateQueue",
                "sqs:DeleteQueue",
                "sqs:GetQueueAttributes",
                "sqs:GetQueueUrl",
                "sqs:ListQueueTags",
                "sqs:SetQueueAttributes",
                "sqs:TagQueue",
                "sqs:UntagQueue",
            ],
            &["arn:aws:sqs:{region}:{account}:{name}"],
        )],
    ),
    (
        "aws:sqs:QueuePolicy",
        &[on(
            &["sqs:GetQueueAttributes", "sqs:SetQueueAttributes"],
            &["arn:aws:sqs:{region}:{account}:{queueUrl}"],
        )],
    ),
    (
        "aws:sqs:RedriveAllowPolicy",
        &[on(
            &["sqs:GetQueueAttributes", "sqs:SetQueueAttributes"],
            &["arn:aws:sqs:{region}:{account}:{queueUrl}"],
        )],
    ),
    (
        "aws:ssm:Parameter",
        &[
            on(
                &[
                    "ssm:AddTagsToResource",
                    "ssm:DeleteParameter",
                    "ssm:GetParameter",
                    "ssm:GetParameters",
                    "ssm:ListTagsForResource",
                    "ssm:PutParameter",
                    "ssm:RemoveTagsFromResource",
                ],
                // The name begins with a slash.
                &["arn:aws:ssm:{region}:{account}:parameter{name}"],
            ),
            anywhere(&["ssm:DescribeParameters"]),
        ],
    ),
    // The provider itself asks who it is.
    ("pulumi:providers:aws", &[anywhere(&["sts:GetCallerIdentity"])]),
];
