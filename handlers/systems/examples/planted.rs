//! Plants one mistake after the other, and looks for each by simulation: the simulator's own test.
//!
//! ```sh
//! cargo run --profile simulation --package systems --features planted --example planted
//! ```
//!
//! It prints the table of `docs/simulation.md`, and fails where a mistake is not found. `--write FILE` puts the table between the
//! marks of that file; words name mistakes, where not all of them are to be looked for. `--none SEEDS ORDERS` plants nothing, runs so
//! many seeds of each system with so many orders instead, and fails where one does.
#![allow(clippy::print_stdout, clippy::print_stderr)] // It is a command.

use quadrille::{
    Settings, System,
    planted::{MISTAKES, plant},
    setting::Place,
    sim::{Explored, Failed, Options, Simulator, defaults, explore},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    error::Error,
    fs,
    num::NonZero,
    ops::RangeInclusive,
    panic,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};
use systems::{auction::Auction, checkout::Checkout, orders::Orders, planted::PLANTED, snacks::Snacks};

/// Seeds in which each mistake has to be found.
const SEEDS: u64 = 1_000;

/// What shows only where there is more of it than fits a page is looked for with so many orders, in so many seeds.
const MANY_ORDERS: u64 = 6_000;
const SEEDS_OF_MANY: u64 = 32;

/// Seeds tried before it is seen whether one of them failed.
const AT_ONCE: u64 = 32;

/// Seeds that a thread takes at once.
const CHUNK: u64 = 16;

/// Failures that are told one by one.
const FAILURES_SHOWN: usize = 10;

/// Where the table stands in a document.
const BEGINS: &str = "<!-- planted: begin -->\n";
const ENDS: &str = "<!-- planted: end -->";

fn main() -> ExitCode {
    // A handler that panics is a failure like any other, and is told by its property.
    panic::set_hook(Box::new(|_| {}));
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool, Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (mut wanted, mut file) = (BTreeSet::new(), None);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--none" => {
                let mut number = || arguments.next().ok_or("--none wants the number of seeds, and of orders");
                return are_sound(number()?.parse()?, number()?.parse()?);
            }
            "--write" => file = Some(arguments.next().ok_or("--write wants a file")?),
            name => _ = wanted.insert(name.to_owned()),
        }
    }
    let general = MISTAKES.iter().map(|(name, about)| (None, *name, *about));
    let own = PLANTED.iter().map(|(system, name, about)| (Some(*system), *name, *about));
    let mut table = String::from(
        "| mistake | found in | orders | seeds | by the property |\n| --- | --- | --- | --- | --- |\n",
    );
    let mut are_found = true;
    for (system, name, about) in general.chain(own) {
        if !wanted.is_empty() && !wanted.contains(name) {
            continue;
        }
        plant(Some(name));
        let found = found(system)?;
        plant(None);
        are_found &= found.is_some();
        let (at, orders, seeds, property) = found.map_or_else(
            || ("nowhere".to_owned(), MANY_ORDERS, format!("over {SEEDS}"), "none".to_owned()),
            |(at, orders, failed)| {
                (at.to_owned(), orders, failed.seed.to_string(), failed.violation.property)
            },
        );
        let row = format!("| {about} `{name}` | {at} | {orders} | {seeds} | {property} |");
        println!("{row}");
        table.push_str(&row);
        table.push('\n');
    }
    if let Some(file) = file {
        let text = fs::read_to_string(&file)?;
        let parts =
            text.split_once(BEGINS).and_then(|(before, rest)| Some((before, rest.split_once(ENDS)?.1)));
        let (before, after) = parts.ok_or("the file has no marks for the table")?;
        fs::write(&file, format!("{before}{BEGINS}{table}{ENDS}{after}"))?;
    }
    Ok(are_found)
}

/// Whether no run fails where nothing is planted, and whether all is seen that has to be seen sometimes.
fn are_sound(seeds: u64, orders: u64) -> Result<bool, Box<dyn Error>> {
    let mut are_sound = true;
    let options = Options { orders, ..Options::default() };
    for (name, simulator) in simulators(None)? {
        let began = Instant::now();
        let explored = explored(&simulator, 1..=seeds, &options);
        let never = explored.never(&simulator);
        println!(
            "{name}: {} runs of {} orders in {:.1} s, {} failed, trace hash {:016x}",
            explored.seeds,
            orders,
            began.elapsed().as_secs_f64(),
            explored.failed.len(),
            explored.trace_hash
        );
        for Failed { seed, violation } in explored.failed.iter().take(FAILURES_SHOWN) {
            println!("  seed {seed}: {}: {}", violation.property, violation.detail);
        }
        never.iter().for_each(|name| println!("  never seen: {name}"));
        are_sound &= explored.failed.is_empty() && never.is_empty();
    }
    Ok(are_sound)
}

/// Where a mistake was found: in which system, with how many orders, and how.
type Found = (&'static str, u64, Failed);

/// The system in which what is planted is found with the fewest seeds, of all where none is named.
fn found(named: Option<&str>) -> Result<Option<Found>, Box<dyn Error>> {
    let simulators = simulators(named)?;
    let many = Options { orders: MANY_ORDERS, ..Options::default() };
    for (options, seeds) in [(Options::default(), SEEDS), (many, SEEDS_OF_MANY)] {
        for from in (1..=seeds).step_by(AT_ONCE as usize) {
            for (name, simulator) in &simulators {
                let explored = explored(simulator, from..=(from + AT_ONCE - 1).min(seeds), &options);
                if let Some(failed) = explored.failed.into_iter().min_by_key(|failed| failed.seed) {
                    return Ok(Some((name, options.orders, failed)));
                }
            }
        }
    }
    Ok(None)
}

type Named = (&'static str, Simulator<'static>);

/// The simulator of the system that is named, or of each.
fn simulators(named: Option<&str>) -> Result<Vec<Named>, Box<dyn Error>> {
    static SYSTEMS: [&dyn System; 4] = [&Orders, &Snacks, &Checkout, &Auction];
    let mut simulators = Vec::new();
    for system in SYSTEMS.into_iter().filter(|system| named.is_none_or(|named| named == system.name())) {
        let choreography = system.define().build()?;
        let (model, values) = (choreography.model(), defaults(system, choreography.model()));
        let settings =
            Settings::read(Place::Command, &model.settings, |setting| values.get(&setting.name).cloned());
        simulators.push((system.name(), Simulator::new(system, choreography.clone(), settings?)?));
    }
    Ok(simulators)
}

/// What runs find, on as many threads as there are processors.
fn explored(simulator: &Simulator<'_>, seeds: RangeInclusive<u64>, options: &Options) -> Explored {
    let (next, all) = (AtomicU64::new(*seeds.start()), Mutex::new(BTreeMap::new()));
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let from = next.fetch_add(CHUNK, Ordering::Relaxed);
                    if from > *seeds.end() {
                        return;
                    }
                    let to = (from + CHUNK).min(seeds.end() + 1);
                    let found = explore(simulator, from..to, options);
                    all.lock().unwrap_or_else(PoisonError::into_inner).insert(from, found);
                }
            });
        }
    });
    let all = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    all.into_values().fold(Explored::default(), |mut all, found| {
        all.add(found);
        all
    })
}
