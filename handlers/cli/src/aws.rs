//! A stack on AWS, as the operator's commands reach it: the same API in this process, over the adapters of AWS and with
//! the operator's own credentials. Physical names come from one parameter that the infrastructure leaves, or from a file.

use crate::{
    App,
    access::Access,
    error::CommandError,
    node::{equipped, with_settings},
    print::{Progress, line},
    target::Target,
};
use aws_config::{
    SdkConfig, environment::EnvironmentVariableRegionProvider, meta::region::RegionProviderChain,
    profile::ProfileFileRegionProvider,
};
use aws_sdk_sqs::{
    config::ProvideCredentials as _,
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
    types::{ListMessageMoveTasksResultEntry as MoveTask, QueueAttributeName},
};
use quadrille::{
    Pipeline,
    aws::{self, Names},
    choreography::Model,
    excerpt,
    operator::Api,
};
use serde_json::json;
use std::{collections::BTreeMap, error::Error, path::Path, sync::Arc, time::Duration};

/// How long a move of all dead letters is left alone between two looks at it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Looks that a move which was started may take to be seen.
const LOOKS_UNSEEN_MAX: u32 = 30;

/// Most messages a second that a move task can be told to move.
const MOVE_RATE_MAX: u32 = 500;

/// A stack.
pub struct Aws {
    api: Api,
    model: Arc<Model>,
    sqs: aws_sdk_sqs::Client,
    /// Where SQS answers.
    endpoint: String,
    /// URLs by the names of the model.
    queues: BTreeMap<String, String>,
}

impl Aws {
    /// The stack that `target` names.
    ///
    /// # Errors
    /// [`CommandError::Usage`] without a region or credentials, [`CommandError::NotFound`] where there is no such stack,
    /// [`CommandError::Refused`] without a permission, or for settings that lack a name.
    pub async fn open(app: &App<'_>, target: &Target, access: Access<'_>) -> Result<Self, CommandError> {
        let config = configuration().await?;
        let choreography = app.choreography.clone();
        let (names, of) = match (&target.settings, &target.stack) {
            (Some(file), _) => (read(file).await?, file.display().to_string()),
            (None, stack) => {
                let name = parameter_name(app.system.name(), stack.as_deref().unwrap_or_default())?;
                (fetch(&config, &name).await?, format!("the parameter {name}"))
            }
        };
        let names: Names = serde_json::from_str(&names)
            .map_err(|error| CommandError::Refused(format!("{of} does not tell a stack's names: {error}")))?;
        let model = Arc::clone(choreography.model());
        lacks_nothing(&model, &names, &of)?;
        let ports = aws::ports(&model, &names, &config);
        let ports = match access {
            Access::Answers(step) => equipped(app, &choreography, ports, step)?,
            Access::Tries | Access::Operates => with_settings(app, &choreography, ports)?,
            Access::Looks | Access::Changes => ports,
        };
        let pipeline = Pipeline::new(choreography, ports);
        let sqs = aws_sdk_sqs::Client::new(&config);
        let region = config.region().map(ToString::to_string).unwrap_or_default();
        let endpoint = config.endpoint_url().map_or_else(
            || format!("https://sqs.{region}.amazonaws.com"),
            |url| url.trim_end_matches('/').to_owned(),
        );
        Ok(Self { api: Api::new(pipeline), model, sqs, endpoint, queues: names.queues })
    }

    /// Where the stack's queues answer.
    pub fn endpoint(&self) -> String {
        format!("{}/", self.endpoint)
    }

    /// The API over the stack.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// Sends all dead letters of `queue` back to its source by a move task of SQS's, and shows its progress until it ends.
    /// A task that is under way already is followed instead.
    ///
    /// The moved messages keep the attributes of dead letters. That does no harm: a handler sees none of them, and a
    /// message that is given up again gets them anew.
    pub async fn redrive_all(&self, queue: &str, rate: Option<u32>, json: bool) -> Result<(), CommandError> {
        let source = self.model.source_of(queue).ok_or_else(|| {
            CommandError::NotFound(format!("no dead-letter queue of the choreography is named {queue:?}"))
        })?;
        let from = self.arn(queue).await?;
        let to = self.arn(&source.name).await?;
        let mut ended = std::pin::pin!(crate::signal::signal()?);
        let last = self.newest(queue, &from).await?;
        let running = last.as_ref().filter(|task| is_running(task));
        if let Some(task) = running {
            if task.destination_arn().is_some_and(|destination| destination != to) {
                let other = task.destination_arn().unwrap_or_default();
                return Err(CommandError::Refused(format!(
                    "{queue} is being moved to {other}: a queue has one move task at a time"
                )));
            }
            eprintln!("{queue} is being moved already; this follows it, at its own rate");
        } else {
            self.start(queue, &from, &to, rate).await?;
        }
        // The task before ours may be all that is seen for a moment.
        let before = last.filter(|task| !is_running(task)).map(|task| task.started_timestamp());
        let progress = Progress::new();
        let (mut unseen, mut handle) = (0, None::<String>);
        loop {
            let task = self.newest(queue, &from).await?;
            match task.filter(|task| Some(task.started_timestamp()) != before) {
                Some(task) if is_running(&task) => {
                    handle = task.task_handle().map(str::to_owned).or(handle);
                    progress.show(progress_of(&task));
                }
                Some(task) => {
                    progress.clear();
                    return tell_end(queue, &task, json);
                }
                None if unseen < LOOKS_UNSEEN_MAX => unseen += 1,
                None => {
                    return Err(CommandError::OutOfReach(format!(
                        "the move of {queue} was started and is not seen: {}",
                        how_to_see(&from)
                    )));
                }
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = ended.as_mut() => {
                    progress.clear();
                    let handle = handle.as_deref().unwrap_or("HANDLE");
                    return Err(CommandError::Failed(format!(
                        "interrupted: the move of {queue} goes on without this command. Run it again to follow the move; \
                         {}; cancel it: aws sqs cancel-message-move-task --task-handle {handle}",
                        how_to_see(&from)
                    )));
                }
            }
        }
    }

    async fn start(&self, queue: &str, from: &str, to: &str, rate: Option<u32>) -> Result<(), CommandError> {
        let rate = rate.map(|rate| i32::try_from(rate.min(MOVE_RATE_MAX)).unwrap_or(1));
        let request = self.sqs.start_message_move_task().source_arn(from);
        // Named, because SQS knows the source only of messages that it moved itself, and handlers give up most of them.
        let request = request.destination_arn(to).set_max_number_of_messages_per_second(rate);
        request.send().await.map_err(|error| refused(&format!("a move of {queue}"), &error))?;
        Ok(())
    }

    /// The move task of a dead-letter queue that was started last.
    async fn newest(&self, queue: &str, arn: &str) -> Result<Option<MoveTask>, CommandError> {
        let listed = self.sqs.list_message_move_tasks().source_arn(arn).max_results(10).send().await;
        let listed = listed.map_err(|error| refused(&format!("the moves of {queue}"), &error))?;
        Ok(listed.results.unwrap_or_default().into_iter().max_by_key(|task| task.started_timestamp()))
    }

    async fn arn(&self, queue: &str) -> Result<String, CommandError> {
        let url = self.queues.get(queue).cloned().unwrap_or_default();
        let request = self.sqs.get_queue_attributes().queue_url(url);
        let told = request.attribute_names(QueueAttributeName::QueueArn).send().await;
        let told = told.map_err(|error| refused(queue, &error))?.attributes.unwrap_or_default();
        told.get(&QueueAttributeName::QueueArn)
            .cloned()
            .ok_or_else(|| CommandError::Failed(format!("{queue}: SQS does not tell its ARN")))
    }
}

fn is_running(task: &MoveTask) -> bool {
    matches!(task.status(), Some("RUNNING" | "CANCELLING"))
}

fn progress_of(task: &MoveTask) -> String {
    let moved = task.approximate_number_of_messages_moved();
    match task.approximate_number_of_messages_to_move() {
        Some(of) => format!("{moved} of about {of} redriven"),
        None => format!("{moved} redriven"),
    }
}

fn how_to_see(arn: &str) -> String {
    format!("see it: aws sqs list-message-move-tasks --source-arn {arn}")
}

fn tell_end(queue: &str, task: &MoveTask, json: bool) -> Result<(), CommandError> {
    let moved = task.approximate_number_of_messages_moved();
    let status = task.status().unwrap_or("UNKNOWN");
    let reason = task.failure_reason();
    if json {
        line(json!({ "dry_run": false, "redriven": moved, "status": status, "failure_reason": reason }));
    } else {
        line(format_args!("{moved} dead letter(s) redriven by a move task of SQS"));
    }
    if status == "COMPLETED" {
        return Ok(());
    }
    let is_denied = reason.is_some_and(aws::is_denied);
    let reason = reason.map(|reason| format!(": {}", excerpt(reason, 300))).unwrap_or_default();
    let text = format!("the move of {queue} ended as {status}{reason}; the others are still there");
    Err(if is_denied { CommandError::Refused(text) } else { CommandError::Failed(text) })
}

/// What the environment says of region and credentials.
///
/// # Errors
/// [`CommandError::Usage`] where no call could be made: without a region, or without credentials.
async fn configuration() -> Result<SdkConfig, CommandError> {
    // Not the SDK's whole chain: that asks for the metadata of a virtual machine, three times, where there mostly is none.
    let region = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
        .or_else(ProfileFileRegionProvider::new());
    let region = region.region().await.ok_or_else(|| {
        let text = "no AWS region is set: set AWS_REGION, or a region in the profile that AWS_PROFILE names";
        CommandError::Usage(text.to_owned())
    })?;
    let config = aws::configuration().region(region).load().await;
    let provided = match config.credentials_provider() {
        Some(provider) => provider.provide_credentials().await.map(drop).map_err(|error| told(&error)),
        None => Err("nothing provides any".to_owned()),
    };
    provided.map(|()| config).map_err(|why| {
        CommandError::Usage(format!(
            "no AWS credentials: sign in, set AWS_PROFILE, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY ({why})"
        ))
    })
}

/// An error with its causes.
fn told(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    excerpt(&text, 500)
}

async fn read(file: &Path) -> Result<String, CommandError> {
    tokio::fs::read_to_string(file).await.map_err(CommandError::io(file.display().to_string()))
}

/// The parameter that the infrastructure of a stack leaves.
fn parameter_name(system: &str, stack: &str) -> Result<String, CommandError> {
    let allowed = |character: char| character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | '_');
    if stack.is_empty() || !stack.chars().all(allowed) {
        return Err(CommandError::Usage(format!(
            "--stack {stack:?}: a name has letters, digits, '.', '-' and '_'"
        )));
    }
    Ok(format!("/quadrille/{system}/{stack}"))
}

async fn fetch(config: &SdkConfig, name: &str) -> Result<String, CommandError> {
    let answer = aws_sdk_ssm::Client::new(config).get_parameter().name(name).send().await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) if error.code() == Some("ParameterNotFound") => {
            let region = config.region().map(ToString::to_string).unwrap_or_default();
            return Err(CommandError::NotFound(format!(
                "the Parameter Store of {region} has no {name}: deploy the stack, or look at --stack, AWS_REGION and \
                 AWS_PROFILE; --settings FILE does without"
            )));
        }
        Err(error) => return Err(refused(&format!("the parameter {name} (ssm:GetParameter)"), &error)),
    };
    let value = answer.parameter.and_then(|parameter| parameter.value);
    value.ok_or_else(|| CommandError::Failed(format!("the parameter {name} has no value")))
}

/// Fails where a name is missing that a command may need.
fn lacks_nothing(model: &Model, names: &Names, of: &str) -> Result<(), CommandError> {
    let tables = model.tables.iter().map(|table| ("table", &table.name, &names.tables));
    let queues = model.queues.iter().map(|queue| ("queue", &queue.name, &names.queues));
    let missing: Vec<String> = tables
        .chain(queues)
        .filter(|(_, name, physical)| physical.get(*name).is_none_or(String::is_empty))
        .map(|(kind, name, _)| format!("{kind} {name}"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(CommandError::Refused(format!("{of} lacks {}: deploy the stack anew", missing.join(", "))))
}

/// What a call that failed says to an operator.
fn refused<E, R>(what: &str, error: &SdkError<E, R>) -> CommandError
where
    E: ProvideErrorMetadata + Error + 'static,
    R: std::fmt::Debug + 'static,
{
    let Some(code) = error.code() else {
        let why = DisplayErrorContext(error).to_string();
        return CommandError::OutOfReach(format!("{what}: no answer from AWS: {}", excerpt(&why, 500)));
    };
    let message = excerpt(error.message().unwrap_or("no message"), 500);
    if aws::is_denied(code) {
        return CommandError::Refused(format!(
            "{what}: your AWS credentials have no permission for it, or are not those of its account: {message}"
        ));
    }
    if code.contains("Token") || code.contains("Signature") || code.contains("Unrecognized") {
        return CommandError::Refused(format!(
            "{what}: AWS does not take your credentials, sign in anew: {message}"
        ));
    }
    CommandError::Failed(format!("{what}: {code}: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_has_a_parameter_unless_its_name_is_none() {
        assert_eq!(parameter_name("shop", "dev-2").ok().as_deref(), Some("/quadrille/shop/dev-2"));
        for wrong in ["", "../prod", "a b", "é"] {
            assert!(matches!(parameter_name("shop", wrong), Err(CommandError::Usage(_))), "{wrong}");
        }
    }
}
