//! `sim`: runs of the system in virtual time, under the faults that AWS allows.

mod build;
mod console;
mod report;
mod tape;

use crate::{
    App, args,
    error::CommandError,
    print::{Progress, line},
    settings,
};
use clap::ArgMatches;
use quadrille::sim::{Explored, Fault, FaultError, Options, Simulator, Tape, defaults, explore, shrink};
use std::{
    collections::{BTreeMap, BTreeSet},
    panic,
    sync::{
        Mutex, Once, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Seeds that a thread takes at once. The hash of all traces depends on it, and on nothing else of how the work was shared.
const CHUNK: u64 = 32;

/// In so many runs under all faults, all that has to be so sometimes has to be seen.
const SEEDS_ENOUGH: u64 = 200;

/// How long a smaller run is looked for that fails in the same way.
const SHRINKS_FOR: Duration = Duration::from_secs(20);

/// Lets the first panic of a handler be told where it was, and no other: each is a failure of its run, and there may be thousands.
fn tell_one_panic() {
    static FIRST: Once = Once::new();
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |panicked| FIRST.call_once(|| tell(panicked))));
}

/// Runs it, and says what it found.
pub fn sim(app: &App<'_>, args: &args::Sim, matches: &ArgMatches) -> Result<(), CommandError> {
    let model = app.choreography.model();
    let defaults = defaults(app.system, model);
    let others = defaults.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    let settings = settings::values(model, matches, &others)?;
    let simulator = Simulator::new(app.system, app.choreography.clone(), settings);
    let simulator = simulator.map_err(|error| CommandError::Usage(error.to_string()))?;
    tell_one_panic();
    if let Some(path) = args.tape.as_ref().filter(|_| !args.console) {
        return tape::replay(app.system.name(), &simulator, path, args.trace);
    }
    let options = Options {
        orders: args.orders,
        minutes: args.minutes,
        faults: faults(&args.faults)?,
        ..Options::default()
    };
    if args.console {
        let Some(path) = &args.tape else {
            return console::serve(app, &simulator, || Tape::of_seed(args.from), &options, args.port);
        };
        let (choices, options) = tape::read(app.system.name(), path)?;
        return console::serve(app, &simulator, || Tape::of_choices(choices.clone()), &options, args.port);
    }
    let began = Instant::now();
    let explored = explored(&simulator, args, &options);
    let seconds = began.elapsed().as_secs_f64();
    let never = explored.never(&simulator);
    let are_enough = args.seeds >= SEEDS_ENOUGH && options.faults == Options::default().faults;
    if !args.json {
        report::report(&explored, seconds);
        report::tell_failures(&explored.failed);
    }
    let mut tape = None;
    if let Some(first) = explored.failed.first() {
        let began = Instant::now();
        let smallest = shrink(&simulator, first, &options, || began.elapsed() < SHRINKS_FOR);
        let smallest = Options { is_kept: true, ..smallest };
        let run = simulator.run(&Tape::of_seed(first.seed), &smallest);
        let path = tape::write(app.system.name(), first.seed, &smallest, &run.choices)?;
        if !args.json {
            report::tell_smallest(app, &run, first, &smallest, &path);
        }
        tape = Some(path);
    }
    if args.json {
        line(report::summary(app, &explored, seconds, &never, tape.as_deref()));
    }
    match (explored.failed.len(), &never[..]) {
        (0, []) => Ok(()),
        (0, never) if !are_enough => {
            if !args.json {
                line(format_args!("Not seen in so few runs, or without all faults: {}", never.join("; ")));
            }
            Ok(())
        }
        (0, never) => Err(CommandError::Incomplete(format!(
            "never seen in any run: {}. More seeds or more orders may show it; else the simulation is too tame",
            never.join("; ")
        ))),
        (failed, _) => Err(CommandError::Incomplete(format!("{failed} of {} runs failed", explored.seeds))),
    }
}

/// The faults that a list names.
fn faults(list: &str) -> Result<BTreeSet<Fault>, CommandError> {
    let mut faults = BTreeSet::new();
    for name in list.split(',').map(str::trim) {
        match name {
            "all" => faults.extend(Fault::ALL.iter().filter(|fault| fault.is_withstood())),
            "none" => {}
            name => {
                let fault = name.parse();
                faults.insert(fault.map_err(|error: FaultError| CommandError::Usage(error.to_string()))?);
            }
        }
    }
    Ok(faults)
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
