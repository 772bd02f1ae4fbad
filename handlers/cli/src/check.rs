//! `check`: whether what has to hold of the system holds of what is in a data folder, or in an export.

use crate::{
    App, args,
    error::CommandError,
    node::Node,
    print::{Shown, line, shown},
    table::{Cell, Format, Table},
};
use quadrille::{
    excerpt,
    operator::{ExportHead, ExportedItem},
    sim::{Checked, Snapshot},
};
use serde_json::{Value, json};
use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
};

/// Bytes of a line of an export at most: an item of DynamoDB has 400 KB at most, and may have escapes.
const LINE_BYTES_MAX: u64 = 4 << 20;

async fn in_folder(app: &App<'_>, args: &args::Check) -> Result<Snapshot, CommandError> {
    if !args.data.is_dir() {
        return Err(CommandError::NotFound(format!("there is no data folder {}", args.data.display())));
    }
    let node = Node::to_look(&args.data, &app.choreography)?;
    Ok(Snapshot::of(&app.choreography, node.pipeline().ports()).await?)
}

/// Reads what `export` has written.
fn exported(app: &App<'_>, file: &Path) -> Result<Snapshot, CommandError> {
    let name = file.display();
    let open = File::open(file).map_err(CommandError::io(name.to_string()))?;
    let mut reader = BufReader::new(open);
    let mut number = 0_u64;
    let mut next = || {
        number += 1;
        let mut text = String::new();
        let read = reader.by_ref().take(LINE_BYTES_MAX).read_line(&mut text);
        let read = read.map_err(|error| CommandError::Usage(format!("{name}, line {number}: {error}")))?;
        Ok::<_, CommandError>((read > 0).then_some((number, text)))
    };
    let wrong = |number: u64, error: serde_json::Error| {
        CommandError::Usage(format!("{name}, line {number}: {error}; `export` writes such files"))
    };
    let (number, head) = next()?.ok_or_else(|| CommandError::Usage(format!("{name} is empty")))?;
    let head: ExportHead = serde_json::from_str(&head).map_err(|error| wrong(number, error))?;
    if head.system != app.system.name() {
        let (of, own) = (excerpt(&head.system, 100), app.system.name());
        return Err(CommandError::Usage(format!("{name} is of {of}, and not of {own}")));
    }
    let mut items = Vec::new();
    while let Some((number, text)) = next()? {
        items.push(serde_json::from_str::<ExportedItem>(&text).map_err(|error| wrong(number, error))?);
    }
    Ok(Snapshot::of_export(items, head.at))
}

/// Reads the folder or the export, and tells of each property whether it holds.
pub async fn check(app: &App<'_>, args: args::Check) -> Result<(), CommandError> {
    let snapshot = match &args.trails {
        Some(file) => exported(app, file)?,
        None => in_folder(app, &args).await?,
    };
    let is_quiet = args.ended || snapshot.is_quiet(&app.choreography);
    let checked = snapshot.check(app.system, &app.choreography, is_quiet);
    let broken = checked.iter().filter(|one| one.broken.is_some()).count();
    match args.output.format(args.json) {
        Format::Json => {
            let told: Vec<Value> = checked
                .iter()
                .map(|one| json!({ "property": one.property, "holds": one.broken.is_none(), "detail": one.broken }))
                .collect();
            line(json!({ "system": app.system.name(), "entities": snapshot.entities(), "quiet": is_quiet,
                "broken": broken, "properties": told }));
        }
        Format::Csv => table(&checked).print_csv()?,
        Format::Table => {
            for one in &checked {
                match &one.broken {
                    None => line(format_args!("{}  {}", shown("holds ", Shown::Good), one.property)),
                    Some(detail) => {
                        let detail = excerpt(detail, 1_000);
                        line(format_args!("{}  {}: {detail}", shown("BROKEN", Shown::Bad), one.property));
                    }
                }
            }
            line(format_args!("{} entities", snapshot.entities()));
            if !is_quiet {
                line(match args.trails {
                    Some(_) => "What has to hold only in the end was not looked at: with --ended it is.",
                    None => {
                        "Messages wait in queues of steps: what has to hold only in the end was not looked at."
                    }
                });
            }
        }
    }
    match broken {
        0 => Ok(()),
        broken => {
            Err(CommandError::Incomplete(format!("{broken} of {} properties don't hold", checked.len())))
        }
    }
}

/// The properties as rows.
fn table(checked: &[Checked]) -> Table {
    let mut table = Table::new(["property", "holds", "detail"]);
    for Checked { property, broken } in checked {
        let holds = broken.is_none().to_string();
        table.row([property, &holds, broken.as_deref().unwrap_or_default()].map(Cell::text));
    }
    table
}
