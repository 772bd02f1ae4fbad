//! Tapes: the choices of a run that failed, in a file that plays it again.

use super::{build::identity, faults, report::show};
use crate::{error::CommandError, print::line};
use quadrille::{
    excerpt,
    sim::{Choice, ChoiceError, Options, Simulator, Tape},
};
use serde_json::{Value, json};
use std::{
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
};

/// What a tape begins with.
const HEADER: &str = "quadrille tape 1";

/// The most bytes of a tape that are read: some million choices.
const TAPE_MAX: u64 = 256 << 20;

/// Writes a tape beside where the command runs.
pub fn write(
    system: &str,
    seed: u64,
    options: &Options,
    choices: &[Choice],
) -> Result<PathBuf, CommandError> {
    let path = PathBuf::from(format!("{system}-{seed}.tape"));
    let faults: Vec<&str> = options.faults.iter().map(|fault| fault.as_str()).collect();
    let header = json!({
        "system": system, "seed": seed, "build": identity(), "orders": options.orders, "minutes": options.minutes,
        "faults": faults, "strikes_max": options.strikes_max, "in_order": options.is_in_order,
    });
    let mut text = format!("{HEADER}\n{header}\n");
    for choice in choices {
        // A string takes it.
        let _ = writeln!(text, "{choice}");
    }
    fs::write(&path, text).map_err(CommandError::io(path.display().to_string()))?;
    Ok(path)
}

/// Reads a tape, with the options of the run that it is of.
pub fn read(system: &str, path: &Path) -> Result<(Vec<Choice>, Options), CommandError> {
    let file = fs::File::open(path).map_err(CommandError::io(path.display().to_string()))?;
    let wrong = |what: &str| CommandError::Usage(format!("{} is no tape: {what}", path.display()));
    let mut lines = BufReader::new(file.take(TAPE_MAX)).lines();
    let mut next = || lines.next().transpose().map_err(CommandError::io(path.display().to_string()));
    if next()?.as_deref() != Some(HEADER) {
        return Err(wrong("it does not begin as one"));
    }
    let header: Value =
        serde_json::from_str(&next()?.unwrap_or_default()).map_err(|error| wrong(&error.to_string()))?;
    if header["system"] != system {
        let of = excerpt(header["system"].as_str().unwrap_or_default(), 100);
        let text = format!(
            "{} is a tape of the system {of:?}, and not of {system}: name it behind `sim`",
            path.display()
        );
        return Err(CommandError::Usage(text));
    }
    let number = |name: &str| header[name].as_u64().ok_or_else(|| wrong(&format!("it does not tell {name}")));
    let names = header["faults"].as_array().ok_or_else(|| wrong("it does not tell faults"))?;
    let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
    let options = Options {
        orders: number("orders")?,
        minutes: number("minutes")?,
        faults: faults(if names.is_empty() { "none".to_owned() } else { names.join(",") }.as_str())?,
        strikes_max: number("strikes_max")?,
        is_in_order: header["in_order"].as_bool().unwrap_or_default(),
        is_kept: true,
    };
    let mut choices: Vec<Choice> = Vec::new();
    while let Some(line) = next()? {
        choices.push(line.parse().map_err(|error: ChoiceError| wrong(&error.to_string()))?);
    }
    let (tape, here) = (&header["build"], identity());
    if *tape != here {
        let made = excerpt(&tape.to_string(), 300);
        line(format_args!("The tape was made by another build, which may have gone another way: {made}"));
    }
    Ok((choices, options))
}

/// Plays a tape again.
pub fn replay(
    system: &str,
    simulator: &Simulator<'_>,
    path: &Path,
    is_whole: bool,
) -> Result<(), CommandError> {
    let (choices, options) = read(system, path)?;
    let run = simulator.run(&Tape::of_choices(choices), &options);
    if is_whole {
        run.trace.iter().flat_map(|trace| trace.lines()).for_each(|text| line(excerpt(text, 2_000)));
    }
    match run.violation {
        None => {
            line("All properties hold.");
            Ok(())
        }
        Some(_) => {
            show(&run);
            Err(CommandError::Incomplete("the tape still fails".into()))
        }
    }
}
