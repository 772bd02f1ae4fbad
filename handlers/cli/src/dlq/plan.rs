//! `dlq plan`: a file that says which letters are meant, and what would become of each.

use super::{give_back, interrupted, queues};
use crate::{
    App,
    access::Access,
    args::DlqPlan,
    client::Client,
    error::CommandError,
    print::{Progress, Shown, line, shown},
};
use quadrille::{
    Timestamp, excerpt,
    operator::{Filter, PlanAsk, PlanPage, Planned, TrialOutcome},
    port::{Clock as _, SystemClock},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    collections::{BTreeMap, HashSet},
    fs::File,
    io::{BufRead as _, BufReader, BufWriter, Read as _, Write as _},
    path::{Path, PathBuf},
};

/// The version of the file's format.
const VERSION: u32 = 1;

/// Letters tried by one request.
const PAGE: usize = 100;

/// Bytes of a line of a plan at most: a body of 1 MiB, escaped.
const LINE_BYTES_MAX: u64 = 8 << 20;

/// The first line of a plan.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PlanHead {
    /// The version of the format.
    plan: u32,
    /// The system's name.
    pub(super) system: String,
    /// When it was made.
    pub(super) at: Timestamp,
    /// The version of the build that tried the letters.
    build: String,
}

/// What letters are told together by: queue, reason, handler, and what would become of them.
type GroupKey = (String, String, String, String);

#[derive(Clone, Debug)]
struct Group {
    count: u64,
    deadline: Timestamp,
}

/// Writes the plan, and tells what is in it.
pub(super) async fn plan(app: &App<'_>, args: DlqPlan) -> Result<(), CommandError> {
    let DlqPlan { options, out, bodies, with_ends } = args;
    let queues = queues(app, &options)?;
    let bodies = read_bodies(&bodies)?;
    let filter = Filter { leaves_ends: !with_ends && options.reason.is_none(), ..options.filter() };
    let client = Client::open(app, &options.target, Access::Tries).await?;
    let head = PlanHead {
        plan: VERSION,
        system: app.system.name().to_owned(),
        at: SystemClock.now(),
        build: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let name = out.display().to_string();
    if out.exists() {
        return Err(CommandError::Failed(format!("{name} is there already: name another file")));
    }
    // Under another name until it is whole: a part of a plan is none.
    let part = part_of(&out);
    let file = File::create(&part).map_err(CommandError::io(name.clone()))?;
    let mut writing =
        Writing { file: BufWriter::new(file), name, groups: BTreeMap::new(), letters: 0, ends_left: 0 };
    writing.line(&head)?;
    let progress = Progress::new();
    let mut unused: HashSet<&String> = bodies.keys().collect();
    for queue in &queues {
        let ask = PlanAsk {
            queue: queue.clone(),
            filter: filter.clone(),
            after: 0,
            limit: PAGE,
            bodies: bodies.clone(),
            plan: None,
        };
        let mut held = Vec::new();
        let most = options.limit.unwrap_or(u64::MAX);
        let mut ends_left = 0;
        let written = pages(&client, ask, most, (&mut held, &mut ends_left), |letter| {
            unused.remove(&letter.id);
            writing.add(&letter)?;
            progress.show(format_args!("{} letters tried", writing.letters));
            Ok(())
        });
        let written = written.await;
        progress.clear();
        let given_back = give_back(&client, queue, &held).await;
        writing.ends_left += ends_left;
        written.and(given_back)?;
    }
    if let Some(id) = unused.into_iter().next() {
        let text = format!(
            "there is no letter {} among those that are meant: its body was not used",
            excerpt(id, 100)
        );
        return Err(CommandError::NotFound(text));
    }
    writing.end(&out, options.target.json)
}

/// Asks for a queue's letters page by page.
async fn pages(
    client: &Client,
    mut ask: PlanAsk,
    most: u64,
    (held, ends_left): (&mut Vec<String>, &mut u64),
    mut each: impl FnMut(Planned) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    let interrupted = interrupted()?;
    let (mut count, mut met) = (0_u64, HashSet::new());
    loop {
        if *interrupted.borrow() {
            return Err(CommandError::Failed("interrupted: the plan is not whole".to_owned()));
        }
        let page: PlanPage = client.post("/_quadrille/plan", &ask).await?;
        let is_received = !page.held.is_empty();
        held.extend(page.held);
        *ends_left += page.ends_left;
        for letter in page.letters {
            // Where letters are received, one whose time is up is met again.
            if is_received && !met.insert(letter.id.clone()) {
                continue;
            }
            if count == most {
                return Ok(());
            }
            count += 1;
            each(letter)?;
        }
        match page.next {
            Some(next) => (ask.after, ask.plan) = (next, page.plan),
            None => return Ok(()),
        }
    }
}

/// The file that a plan is written to until it is whole.
fn part_of(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

/// The bodies that stand in place of others, by the ids of their letters: `ID=FILE`.
fn read_bodies(wanted: &[String]) -> Result<BTreeMap<String, String>, CommandError> {
    let read = |pair: &String| {
        let usage = || CommandError::Usage(format!("{:?} is no ID=FILE", excerpt(pair, 200)));
        let (id, file) = pair.split_once('=').ok_or_else(usage)?;
        let body = std::fs::read_to_string(file).map_err(CommandError::io(file))?;
        Ok((id.to_owned(), body.trim_end().to_owned()))
    };
    wanted.iter().map(read).collect()
}

/// The file as it is written.
struct Writing {
    file: BufWriter<File>,
    name: String,
    groups: BTreeMap<GroupKey, Group>,
    letters: u64,
    ends_left: u64,
}

impl Writing {
    fn line(&mut self, value: &impl Serialize) -> Result<(), CommandError> {
        let text = serde_json::to_string(value)?;
        writeln!(self.file, "{text}").map_err(CommandError::io(self.name.clone()))
    }

    fn add(&mut self, letter: &Planned) -> Result<(), CommandError> {
        if letter.body.is_some()
            && let TrialOutcome::Fails { reason, detail, is_tried_again: false } = &letter.trial
        {
            let why = format!("{}: {}", excerpt(reason, 100), excerpt(detail, 500));
            return Err(CommandError::Refused(format!(
                "the body for letter {} would fail: {why}",
                letter.id
            )));
        }
        self.letters += 1;
        let (queue, of) = (letter.queue.clone(), &letter.letter);
        let key = (queue, of.reason.clone(), of.handler.clone(), letter.trial.summary(&of.reason));
        let group = self.groups.entry(key).or_insert(Group { count: 0, deadline: letter.deadline });
        group.count += 1;
        group.deadline = group.deadline.min(letter.deadline);
        self.line(letter)
    }

    fn end(mut self, out: &Path, json: bool) -> Result<(), CommandError> {
        let file = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        file.and_then(|()| std::fs::rename(part_of(out), out))
            .map_err(CommandError::io(self.name.clone()))?;
        if json {
            let groups = self.groups.iter().map(|((queue, reason, handler, outcome), group)| {
                json!({ "queue": queue, "reason": reason, "handler": handler, "outcome": outcome,
                    "letters": group.count, "deadline": group.deadline })
            });
            line(
                json!({ "plan": out.display().to_string(), "letters": self.letters, "ends_left": self.ends_left, "groups": groups.collect::<Vec<_>>() }),
            );
            return Ok(());
        }
        for ((queue, reason, handler, outcome), Group { count, deadline }) in &self.groups {
            let (reason, handler) = (excerpt(reason, 60), excerpt(handler, 60));
            let how = match outcome.as_str() {
                "done" => Shown::Good,
                outcome if outcome.starts_with("fails") => Shown::Bad,
                _ => Shown::Waiting,
            };
            let outcome = shown(&excerpt(outcome, 200), how);
            line(format_args!(
                "{count:>7}  {queue}  {reason} by {handler}: {outcome}; the first is dropped at {deadline}"
            ));
        }
        line(format_args!("{} letter(s) planned in {}; nothing was changed", self.letters, out.display()));
        if self.ends_left > 0 {
            line(format_args!("{} left out, an end of business: --with-ends takes them too", self.ends_left));
        }
        Ok(())
    }
}

/// Reads a plan of this system.
pub(super) fn read(app: &App<'_>, file: &Path) -> Result<(PlanHead, Vec<Planned>), CommandError> {
    let name = file.display().to_string();
    let opened = File::open(file).map_err(CommandError::io(name.clone()))?;
    let mut reader = BufReader::new(opened);
    let (mut number, mut head, mut letters) = (0_u64, None::<PlanHead>, Vec::new());
    loop {
        let mut text = String::new();
        number += 1;
        let read = reader.by_ref().take(LINE_BYTES_MAX).read_line(&mut text);
        let wrong = |error: String| {
            CommandError::Usage(format!("{name}, line {number}: {error}; `dlq plan` writes such files"))
        };
        if read.map_err(|error| wrong(error.to_string()))? == 0 {
            break;
        }
        match &head {
            None => head = Some(serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?),
            Some(_) => letters.push(serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?),
        }
    }
    let head = head.ok_or_else(|| CommandError::Usage(format!("{name} is empty")))?;
    if head.plan != VERSION || head.system != app.system.name() {
        let (version, system) = (head.plan, excerpt(&head.system, 100));
        let own = app.system.name();
        return Err(CommandError::Usage(format!(
            "{name} is a plan of {system} in version {version} of the format, and not of {own} in version {VERSION}"
        )));
    }
    Ok((head, letters))
}
