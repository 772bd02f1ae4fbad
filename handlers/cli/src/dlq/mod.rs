//! `dlq`: dead letters are listed, shown, planned, sent back, deleted.

mod list;
mod plan;
mod planned;

use crate::{
    App,
    access::Access,
    args::{Dlq, DlqMove, DlqOptions, DlqPurge, DlqRedrive, DlqShow},
    client::{Client, encoded},
    confirm::is_wanted,
    error::CommandError,
    print::{Progress, Shown, line, readable, shown},
};
use quadrille::{
    excerpt,
    operator::{DeadLetterPage, Filter, GiveBack, Listed, Moved, Walk},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};
use tokio::sync::watch;

/// Dead letters moved by one request.
const WALK_PAGE: u64 = 100;

/// Dead letters that one request shows again.
const GIVEN_BACK_AT_ONCE: usize = 1_000;

/// Reasons that are told of letters that could not be sent back.
const REASONS_SHOWN: usize = 3;

/// Dead letters that a listing hides at most, where it has to receive them.
const HELD_MAX: usize = 10_000;

pub async fn dlq(app: &App<'_>, args: Dlq) -> Result<(), CommandError> {
    match args {
        Dlq::List(options) => list::list(app, options).await,
        Dlq::Plan(args) => plan::plan(app, args).await,
        Dlq::Show(show) => self::show(app, show).await,
        Dlq::Redrive(mut args) if args.plan.is_some() => {
            let file = args.plan.take().unwrap_or_default();
            planned::redrive(app, args, file).await
        }
        Dlq::Redrive(DlqRedrive { walk, with_ends, .. }) => {
            // Asked for by its reason, an end is meant.
            let leaves_ends = !with_ends && walk.options.reason.is_none();
            self::walk(app, walk, Acting { act: "redrive", done: "redriven", leaves_ends }).await
        }
        Dlq::Purge(DlqPurge { walk, yes }) => {
            let acting = Acting { act: "purge", done: "purged", leaves_ends: false };
            if !yes && !walk.dry_run {
                is_confirmed(app, &walk, acting).await?;
            }
            self::walk(app, walk, acting).await
        }
    }
}

/// What a walk does.
#[derive(Clone, Copy)]
struct Acting {
    act: &'static str,
    /// What is said of a letter afterwards.
    done: &'static str,
    /// Letters that are an end of business are left.
    leaves_ends: bool,
}

/// The dead-letter queue that is meant.
fn queue(app: &App<'_>, options: &DlqOptions) -> Result<String, CommandError> {
    if let Some(queue) = &options.queue {
        return Ok(queue.clone());
    }
    if let Some(standard) = app.system.dead_letter_queue() {
        return Ok(standard.to_owned());
    }
    let all: Vec<&str> = app.choreography.model().dead_letter_queues().collect();
    match all[..] {
        [] => Err(CommandError::NotFound(format!("{} has no dead-letter queue", app.system.name()))),
        [alone] => Ok(alone.to_owned()),
        _ => Err(CommandError::Usage(format!("say which with --queue: {}", all.join(", ")))),
    }
}

/// The dead-letter queues that are meant: all of them where none is named.
fn queues(app: &App<'_>, options: &DlqOptions) -> Result<Vec<String>, CommandError> {
    match &options.queue {
        Some(queue) => Ok(vec![queue.clone()]),
        None => {
            let all: Vec<String> = app.choreography.model().dead_letter_queues().map(str::to_owned).collect();
            if all.is_empty() {
                return Err(CommandError::NotFound(format!(
                    "{} has no dead-letter queue",
                    app.system.name()
                )));
            }
            Ok(all)
        }
    }
}

/// Asks a person whether the letters are to be deleted that would be.
async fn is_confirmed(app: &App<'_>, walk: &DlqMove, acting: Acting) -> Result<(), CommandError> {
    let queue = queue(app, &walk.options)?;
    let client = Client::open(app, &walk.options.target, Access::Looks).await?;
    let mut count = 0_u64;
    letters(&client, &queue, &walk.options, |_| {
        count += 1;
        true
    })
    .await?;
    drop(client);
    let what = format!("{count} dead letter(s) of {queue} would be {} for good", acting.done);
    if is_wanted(&format!("{what}. Do it? [y/N] "))? {
        return Ok(());
    }
    Err(CommandError::Refused(format!("{what}: they stay as they are")))
}

/// Calls `each` with every dead letter that the options mean, until it says stop. What had to be received to be looked at
/// is given back at the end, however that comes.
async fn letters(
    client: &Client,
    queue: &str,
    options: &DlqOptions,
    each: impl FnMut(Listed) -> bool,
) -> Result<u64, CommandError> {
    let mut held = Vec::new();
    let looked = look(client, queue, options, &mut held, each).await;
    let given_back = give_back(client, queue, &held).await;
    let count = looked?;
    given_back?;
    Ok(count)
}

async fn look(
    client: &Client,
    queue: &str,
    options: &DlqOptions,
    held: &mut Vec<String>,
    mut each: impl FnMut(Listed) -> bool,
) -> Result<u64, CommandError> {
    let interrupted = interrupted()?;
    let (mut after, mut count) = (0, 0);
    // Where letters are received, one whose time is up is met again.
    let mut met: HashSet<String> = HashSet::new();
    let wanted = options.query();
    loop {
        let left = options.limit.map_or(500, |limit| limit.saturating_sub(count).min(500));
        if left == 0 {
            return Ok(count);
        }
        if *interrupted.borrow() {
            return Err(CommandError::Failed("interrupted".to_owned()));
        }
        let of = encoded(queue);
        let path = format!("/_quadrille/dead-letters?queue={of}&after={after}&limit={left}{wanted}");
        let page: DeadLetterPage = client.get(&path).await?;
        let is_received = !page.held.is_empty();
        held.extend(page.held);
        for letter in page.letters {
            if is_received && !met.insert(letter.id.clone()) {
                continue;
            }
            count += 1;
            if !each(letter) {
                return Ok(count);
            }
        }
        match page.next {
            Some(_) if held.len() >= HELD_MAX => {
                eprintln!("{} dead letters were looked at: there may be more", held.len());
                return Ok(count);
            }
            Some(next) => after = next,
            None => return Ok(count),
        }
    }
}

/// Shows dead letters again that were hidden to look at others.
async fn give_back(client: &Client, queue: &str, receipts: &[String]) -> Result<(), CommandError> {
    for receipts in receipts.chunks(GIVEN_BACK_AT_ONCE) {
        let ask = GiveBack { queue: queue.to_owned(), receipts: receipts.to_vec() };
        let _: Value = client.post("/_quadrille/give-back", &ask).await?;
    }
    Ok(())
}

/// Becomes true with ctrl-C or SIGTERM, so that a command can end in good order.
fn interrupted() -> Result<watch::Receiver<bool>, CommandError> {
    let ended = crate::signal::signal()?;
    let (tell, told) = watch::channel(false);
    tokio::spawn(async move {
        ended.await;
        tell.send_replace(true);
    });
    Ok(told)
}

/// One line about a dead letter.
pub fn print_letter(listed: &Listed) {
    let letter = &listed.letter;
    let subject = excerpt(letter.subject.as_deref().unwrap_or("-"), 300);
    let why = format!("{}: {}", excerpt(&letter.reason, 100), excerpt(&letter.detail, 300));
    let about = format!(
        "by {}, attempt {}, first seen {}",
        excerpt(&letter.handler, 100),
        letter.attempts,
        letter.first_seen
    );
    line(format_args!(
        "{:>6}  {subject}  {}  {}",
        listed.id,
        shown(&why, Shown::Bad),
        shown(&about, Shown::Dim)
    ));
}

async fn show(app: &App<'_>, show: DlqShow) -> Result<(), CommandError> {
    let queues = queues(app, &show.options)?;
    let client = Client::open(app, &show.options.target, Access::Looks).await?;
    let mut found = None;
    for queue in &queues {
        letters(&client, queue, &show.options, |listed| {
            if listed.id == show.id {
                found = Some((queue, listed));
            }
            found.is_none()
        })
        .await?;
        if found.is_some() {
            break;
        }
    }
    let (queue, listed) = found.ok_or_else(|| {
        CommandError::NotFound(format!(
            "there is no dead letter {} in {}: {} names them",
            excerpt(&show.id, 100),
            queues.join(", "),
            app.typed("dlq list")
        ))
    })?;
    if show.options.target.json {
        line(list::to_json(queue, &listed, list::now(&client).await?)?);
        return Ok(());
    }
    print_letter(&listed);
    // What can't be indented is no JSON, and shown as it is, its control characters escaped.
    let body: Result<Value, _> = serde_json::from_str(&listed.body);
    line(match body {
        Ok(body) => readable(serde_json::to_string_pretty(&body)?),
        Err(_) => excerpt(&listed.body, 100_000),
    });
    Ok(())
}

async fn walk(app: &App<'_>, args: DlqMove, acting: Acting) -> Result<(), CommandError> {
    let DlqMove { options, dry_run, rate } = args;
    let queue = queue(app, &options)?;
    let access = if dry_run { Access::Looks } else { Access::Changes };
    let client = Client::open(app, &options.target, access).await?;
    let done = acting.done;
    if dry_run {
        return rehearse(&client, &queue, &options, acting).await;
    }
    #[cfg(feature = "aws")]
    if let Client::Aws(aws) = &client
        && acting.act == "redrive"
        && options.takes_all()
        // A move task of SQS has no filter.
        && !(acting.leaves_ends && app.choreography.model().has_dead_lettered_ends(&queue))
    {
        return aws.redrive_all(&queue, rate, options.target.json).await;
    }
    let mut interrupted = interrupted()?;
    let mut all = Moved::default();
    let pages = Pages { client: &client, queue: &queue, acting, rate };
    let walked = pages.walk(&options, &mut interrupted, &mut all).await;
    let given_back = give_back(&client, &queue, &all.passed_over).await;
    walked.and(given_back)?;
    let Moved { moved, examined, ends_left, unreadable, failed, is_denied, hidden, .. } = all;
    let stay: u64 = failed.values().sum();
    if options.target.json {
        line(json!({
            "dry_run": false, done: moved, "examined": examined, "ends_left": ends_left, "unreadable": unreadable,
            "hidden": hidden, "failed": stay, "why": failed,
        }));
    } else {
        line(format_args!("{moved} dead letter(s) {done}, {examined} looked at"));
        tell_left(ends_left);
        if hidden > 0 {
            line(format_args!(
                "{hidden} are in other hands: what stays of them shows itself within half a minute"
            ));
        }
        if unreadable > 0 {
            line(format_args!("{unreadable} damaged dead letter(s) stay: nothing of them can be sent again"));
        }
    }
    if stay > 0 {
        return Err(not_sent(stay, &failed, is_denied));
    }
    if *interrupted.borrow() {
        return Err(CommandError::Failed("interrupted: the others are left for the next time".to_owned()));
    }
    Ok(())
}

/// The error of a redrive that could not send some letters back.
fn not_sent(stay: u64, failed: &BTreeMap<String, u64>, is_denied: bool) -> CommandError {
    let why = failed.iter().map(|(why, count)| format!("{count} time(s) {}", excerpt(why, 300)));
    let why = why.take(REASONS_SHOWN).collect::<Vec<_>>().join("; ");
    let text = format!("{stay} dead letter(s) could not be sent back, and stay where they are: {why}");
    if is_denied { CommandError::Refused(text) } else { CommandError::Failed(text) }
}

/// Tells of the letters that a redrive left for being an end of business.
fn tell_left(ends: u64) {
    if ends > 0 {
        line(format_args!("{ends} left as they are, an end of business: --with-ends sends them back too"));
    }
}

/// Tells what a walk would do.
async fn rehearse(
    client: &Client,
    queue: &str,
    options: &DlqOptions,
    acting: Acting,
) -> Result<(), CommandError> {
    let (json, done) = (options.target.json, acting.done);
    let most = options.limit.unwrap_or(u64::MAX);
    // A limit counts the letters that would be moved, whatever stands between them.
    let every = DlqOptions { limit: options.limit.filter(|_| !acting.leaves_ends), ..options.clone() };
    let (mut count, mut ends_left) = (0_u64, 0_u64);
    let looked = letters(client, queue, &every, |listed| {
        if acting.leaves_ends && listed.is_end {
            ends_left += 1;
            return true;
        }
        // A redrive leaves it.
        if acting.act == "redrive" && listed.letter.is_damaged() {
            return true;
        }
        if count == most {
            return false;
        }
        if !json {
            print_letter(&listed);
        }
        count += 1;
        true
    });
    looked.await?;
    if json {
        line(json!({ "dry_run": true, done: count, "ends_left": ends_left }));
    } else {
        line(format_args!("{count} dead letter(s) would be {done}; nothing was changed"));
        tell_left(ends_left);
    }
    Ok(())
}

/// A walk over a dead-letter queue, a page a request.
struct Pages<'a> {
    client: &'a Client,
    queue: &'a str,
    acting: Acting,
    rate: Option<u32>,
}

impl Pages<'_> {
    /// Adds to `all` what each page did: that it holds, however the walk ends.
    async fn walk(
        &self,
        options: &DlqOptions,
        interrupted: &mut watch::Receiver<bool>,
        all: &mut Moved,
    ) -> Result<(), CommandError> {
        let limit = options.limit.unwrap_or(u64::MAX);
        let leaves_ends = self.acting.leaves_ends;
        let mut filter = Filter { leaves_ends, ..options.filter() };
        // At most a fifth of a second's worth at once, so that the rate is even.
        let page = self.rate.map_or(WALK_PAGE, |rate| (u64::from(rate) / 5).clamp(1, WALK_PAGE));
        let progress = Progress::new();
        while all.moved < limit && !all.done && !*interrupted.borrow() {
            let began = std::time::Instant::now();
            let limit = usize::try_from(page.min(limit - all.moved)).unwrap_or(1);
            let (queue, filter_now) = (self.queue.to_owned(), filter.clone());
            let ask = Walk { queue, filter: filter_now, limit, after: all.next.unwrap_or_default() };
            let asked = self.client.post(&format!("/_quadrille/{}", self.acting.act), &ask).await;
            let step: Moved = asked.inspect_err(|_| progress.clear())?;
            // What fails again meanwhile is left for the next time: a redrive ends.
            filter.before = filter.before.into_iter().chain(step.at).min();
            all.moved += step.moved;
            all.examined += step.examined;
            all.ends_left += step.ends_left;
            all.is_denied |= step.is_denied;
            for (why, count) in step.failed {
                *all.failed.entry(why).or_default() += count;
            }
            all.unreadable += step.unreadable;
            all.passed_over.extend(step.passed_over);
            (all.done, all.next) = (step.done, step.next);
            all.hidden += step.hidden;
            progress.show(format_args!("{} {}, {} looked at", all.moved, self.acting.done, all.examined));
            if let Some(rate) = self.rate.filter(|_| !step.done) {
                let moved = f64::from(u32::try_from(step.moved).unwrap_or(u32::MAX));
                let due = Duration::from_secs_f64(moved / f64::from(rate));
                tokio::select! {
                    () = tokio::time::sleep(due.saturating_sub(began.elapsed())) => {}
                    _ = interrupted.wait_for(|is| *is) => {}
                }
            }
        }
        progress.clear();
        Ok(())
    }
}
