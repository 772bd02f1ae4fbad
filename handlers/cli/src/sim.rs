//! `sim`: runs of the system in virtual time, under the faults that AWS allows.

use crate::{
    App, args,
    error::CommandError,
    print::{Progress, Shown, line, shown},
    settings,
};
use clap::ArgMatches;
use quadrille::sim::{Choice, Explored, Failed, Fault, Options, Run, Simulator, Tape, explore, shrink};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Seeds that a thread takes at once. The hash of all traces depends on it, and on nothing else of how the work was shared.
const CHUNK: u64 = 32;

/// How long a smaller run is looked for that fails in the same way.
const SHRINKS_FOR: Duration = Duration::from_secs(20);

/// The last lines that are shown of what happened in a run that failed.
const LINES_SHOWN: usize = 40;

/// Failures that are told one by one.
const FAILURES_SHOWN: usize = 5;

/// What a tape begins with.
const HEADER: &str = "quadrille tape 1";

/// Runs it, and says what it found.
pub fn sim(app: &App<'_>, args: &args::Sim, matches: &ArgMatches) -> Result<(), CommandError> {
    let demo = app.system.demo();
    let others = demo.as_ref().map(|demo| demo.settings()).unwrap_or_default();
    let values = settings::values(app.choreography.model(), matches, &others)?;
    let simulator = Simulator::new(app.system, app.choreography.clone(), values);
    if let Some(path) = &args.tape {
        return replay(&simulator, path);
    }
    let options = Options {
        orders: args.orders,
        minutes: args.minutes,
        faults: faults(&args.faults)?,
        ..Options::default()
    };
    let began = Instant::now();
    let explored = explored(&simulator, args, &options);
    let seconds = began.elapsed().as_secs_f64();
    let never = explored.never(&simulator);
    if !args.json {
        report(&explored, seconds);
    }
    let mut failures = explored.failed.iter();
    if let Some(first) = explored.failed.first() {
        tell_failures(failures.by_ref(), args.json);
        let began = Instant::now();
        let smallest = shrink(&simulator, first, &options, || began.elapsed() < SHRINKS_FOR);
        tell_smallest(app, &simulator, first, smallest, args.json)?;
    }
    if args.json {
        line(summary(app, &explored, seconds, &never));
    }
    match (explored.failed.len(), &never[..]) {
        (0, []) => Ok(()),
        (0, never) => Err(CommandError::Incomplete(format!(
            "never seen in any run: {}. More seeds or more orders may show it; else the simulation is too tame",
            never.join("; ")
        ))),
        (failed, _) => Err(CommandError::Incomplete(format!("{failed} of {} runs failed", explored.seeds))),
    }
}

/// The faults that a list names.
fn faults(list: &str) -> Result<BTreeSet<Fault>, CommandError> {
    match list {
        "all" => Ok(Fault::ALL.iter().copied().collect()),
        "none" => Ok(BTreeSet::new()),
        list => {
            let faults: Result<_, _> = list.split(',').map(|name| name.trim().parse()).collect();
            faults.map_err(|error: quadrille::sim::FaultError| CommandError::Usage(error.to_string()))
        }
    }
}

/// Runs all seeds, on as many threads as there are processors.
fn explored(simulator: &Simulator<'_>, args: &args::Sim, options: &Options) -> Explored {
    let chunks = args.seeds.div_ceil(CHUNK);
    let (next, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let parts: Mutex<BTreeMap<u64, Explored>> = Mutex::default();
    let progress = Progress::new();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let work = || {
        loop {
            let chunk = next.fetch_add(1, Ordering::Relaxed);
            if chunk >= chunks {
                return;
            }
            let from = args.from.saturating_add(chunk * CHUNK);
            let to = from.saturating_add(CHUNK).min(args.from.saturating_add(args.seeds));
            let part = explore(simulator, from..to, options);
            let done = done.fetch_add(part.seeds, Ordering::Relaxed) + part.seeds;
            let mut parts = parts.lock().unwrap_or_else(PoisonError::into_inner);
            parts.insert(chunk, part);
            let failed: usize = parts.values().map(|part| part.failed.len()).sum();
            progress.show(format_args!("{done} of {} runs, {failed} failed", args.seeds));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    progress.clear();
    let parts = parts.into_inner().unwrap_or_else(PoisonError::into_inner);
    parts.into_values().fold(Explored::default(), |mut all, part| {
        all.add(part);
        all
    })
}

#[allow(clippy::cast_precision_loss)] // Figures for people.
fn rate(explored: &Explored, seconds: f64) -> f64 {
    explored.seeds as f64 / seconds.max(0.001)
}

/// For people: how much was tried, and which fault struck how often at which step.
fn report(explored: &Explored, seconds: f64) {
    let rate = rate(explored, seconds);
    let hours = explored.time.as_secs_f64() / 3_600.0;
    line(format_args!(
        "{} runs in {seconds:.1} s ({rate:.0}/s), {hours:.0} hours of simulated time, {} turns of tasks; {} posted were taken, \
         {} refused",
        explored.seeds, explored.turns, explored.taken, explored.refused
    ));
    line("");
    line(shown("Faults by step", Shown::Bold));
    let mut steps: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for ((fault, step), count) in &explored.faults {
        steps.entry(step).or_default().push(format!("{fault} {count}"));
    }
    for (step, faults) in steps {
        line(format_args!("  {step}: {}", faults.join(", ")));
    }
    line("");
    line(shown("Properties", Shown::Bold));
    for (property, tried) in &explored.tried {
        line(format_args!("  {property}: tried {tried} times"));
    }
    line("");
}

fn tell_failures<'a>(failures: impl Iterator<Item = &'a Failed>, is_json: bool) {
    for failed in failures.take(if is_json { 0 } else { FAILURES_SHOWN }) {
        let Failed { seed, violation } = failed;
        line(format_args!(
            "{} seed {seed}: {}: {}",
            shown("FAILED", Shown::Bad),
            violation.property,
            violation.detail
        ));
    }
}

/// Tells the smallest run that fails in the same way, and writes its tape.
fn tell_smallest(
    app: &App<'_>,
    simulator: &Simulator<'_>,
    failed: &Failed,
    smallest: Options,
    is_json: bool,
) -> Result<(), CommandError> {
    let smallest = Options { is_kept: true, ..smallest };
    let run = simulator.run(&Tape::of_seed(failed.seed), &smallest);
    let path = PathBuf::from(format!("{}-{}.tape", app.system.name(), failed.seed));
    write_tape(&path, app.system.name(), failed.seed, &smallest, &run.choices)?;
    if is_json {
        return Ok(());
    }
    line("");
    let names: Vec<&str> = smallest.faults.iter().map(|fault| fault.as_str()).collect();
    line(format_args!(
        "The smallest run found: {} orders, {} strikes at most of {}",
        smallest.orders,
        smallest.strikes_max,
        if names.is_empty() { "no fault".to_owned() } else { names.join(", ") }
    ));
    show(&run);
    line("");
    line(format_args!("Again: {}", app.typed(&format!("sim --tape {}", path.display()))));
    Ok(())
}

/// The end of what happened, and what does not hold.
fn show(run: &Run) {
    let trace = run.trace.as_deref().unwrap_or_default();
    let lines: Vec<&str> = trace.lines().collect();
    let from = lines.len().saturating_sub(LINES_SHOWN);
    if from > 0 {
        line(format_args!("  … {from} lines before"));
    }
    for text in &lines[from..] {
        let is_fault = ["throttled", "lost", "dies", "starts again"].iter().any(|word| text.ends_with(word));
        line(format_args!("  {}", shown(text, if is_fault { Shown::Bad } else { Shown::Dim })));
    }
    if let Some(violation) = &run.violation {
        line(format_args!("{}: {}: {}", shown("FAILED", Shown::Bad), violation.property, violation.detail));
    }
}

fn write_tape(
    path: &Path,
    system: &str,
    seed: u64,
    options: &Options,
    choices: &[Choice],
) -> Result<(), CommandError> {
    let faults: Vec<&str> = options.faults.iter().map(|fault| fault.as_str()).collect();
    let header = json!({
        "system": system, "seed": seed, "version": env!("CARGO_PKG_VERSION"), "orders": options.orders,
        "minutes": options.minutes, "faults": faults, "strikes_max": options.strikes_max,
    });
    let mut text = format!("{HEADER}\n{header}\n");
    for choice in choices {
        // A string takes it.
        let _ = writeln!(text, "{choice}");
    }
    fs::write(path, text).map_err(CommandError::io(path.display().to_string()))
}

/// Plays a tape again.
fn replay(simulator: &Simulator<'_>, path: &Path) -> Result<(), CommandError> {
    let text = fs::read_to_string(path).map_err(CommandError::io(path.display().to_string()))?;
    let wrong = |what: &str| CommandError::Usage(format!("{} is no tape: {what}", path.display()));
    let mut lines = text.lines();
    if lines.next() != Some(HEADER) {
        return Err(wrong("it does not begin as one"));
    }
    let header: Value =
        serde_json::from_str(lines.next().unwrap_or_default()).map_err(|error| wrong(&error.to_string()))?;
    let number = |name: &str| header[name].as_u64().ok_or_else(|| wrong(&format!("it does not tell {name}")));
    let names = header["faults"].as_array().ok_or_else(|| wrong("it does not tell faults"))?;
    let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
    let options = Options {
        orders: number("orders")?,
        minutes: number("minutes")?,
        faults: faults(if names.is_empty() { "none" } else { "" }).or_else(|_| faults(&names.join(",")))?,
        strikes_max: number("strikes_max")?,
        is_kept: true,
    };
    let choices: Result<Vec<Choice>, _> = lines.map(str::parse).collect();
    let choices = choices.map_err(|error: quadrille::sim::ChoiceError| wrong(&error.to_string()))?;
    let run = simulator.run(&Tape::of_choices(choices), &options);
    show(&run);
    match run.violation {
        None => Ok(()),
        Some(_) => Err(CommandError::Incomplete("the tape still fails".into())),
    }
}

/// For scripts.
fn summary(app: &App<'_>, explored: &Explored, seconds: f64, never: &[&str]) -> Value {
    let mut faults: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for ((fault, step), count) in &explored.faults {
        faults.entry(fault.as_str()).or_default().insert(step.clone(), json!(count));
    }
    let failures: Vec<Value> = explored
        .failed
        .iter()
        .take(FAILURES_SHOWN)
        .map(|failed| json!({ "seed": failed.seed, "property": failed.violation.property, "detail": failed.violation.detail }))
        .collect();
    json!({
        "system": app.system.name(), "seeds": explored.seeds, "taken": explored.taken, "refused": explored.refused, "failed": explored.failed.len(),
        "seconds": (seconds * 1_000.0).round() / 1_000.0, "seeds_per_second": rate(explored, seconds).round(),
        "simulated_seconds": explored.time.as_secs(), "trace_hash": format!("{:016x}", explored.trace_hash),
        "faults": faults, "properties": explored.tried, "never": never, "failures": failures,
    })
}
