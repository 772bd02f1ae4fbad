//! A form: a word of a system's own that takes the fields of a body by options, or asks for them one by one.

pub mod options;

use crate::{
    App,
    args::{self, Plain},
    error::CommandError,
    send,
};
use clap::ArgMatches;
use quadrille::{
    decimal::Decimal,
    port::{Random as _, SystemRandom},
    system::{FieldKind, FormField},
};
use serde_json::value::{RawValue, to_raw_value};
use std::{
    collections::BTreeMap,
    io::{self, BufRead as _, Write as _},
};

/// The fields of a body, or of a row.
type Fields = BTreeMap<&'static str, Box<RawValue>>;

/// Takes the fields, and sends them to the handler `step`.
pub async fn form(
    app: &App<'_>,
    matches: &ArgMatches,
    step: &str,
    fields: &'static [FormField],
) -> Result<(), CommandError> {
    let plain: Plain = args::read(matches)?;
    let said = |field: &FormField| -> Vec<String> {
        matches.get_many::<String>(field.name).into_iter().flatten().cloned().collect()
    };
    // Who says a field knows them: the command asks for nothing that it can do without.
    let asks_for_all = fields.iter().all(|field| said(field).is_empty());
    let mut body = Fields::new();
    for field in fields {
        let said = said(field);
        let value = match (&said[..], field.kind) {
            ([], FieldKind::Key) if !asks_for_all => made()?,
            ([], _) => asked(field)?,
            (rows, FieldKind::Rows(of)) => {
                let rows = rows.iter().map(|row| row_of(row, field, of));
                to_raw_value(&rows.collect::<Result<Vec<_>, _>>()?)?
            }
            ([text, ..], kind) => value_of(text, kind)
                .map_err(|why| CommandError::Usage(format!("--{}: {why}", field.name.replace('_', "-"))))?,
        };
        body.insert(field.name, value);
    }
    send::body(app, &plain.target, step, serde_json::to_vec(&body)?).await
}

/// A key that no other has.
fn made() -> Result<Box<RawValue>, CommandError> {
    Ok(to_raw_value(&SystemRandom.id())?)
}

/// The value of a text; `Err` says what is wrong with it.
fn value_of(text: &str, kind: FieldKind) -> Result<Box<RawValue>, String> {
    match kind {
        FieldKind::Number => {
            let number = Decimal::parse(text.trim()).map_err(|error| error.to_string())?;
            to_raw_value(&number).map_err(|error| error.to_string())
        }
        _ => to_raw_value(text).map_err(|error| error.to_string()),
    }
}

/// A row that was said as one text: its first field may hold commas.
fn row_of(text: &str, field: &FormField, of: &'static [FormField]) -> Result<Fields, CommandError> {
    let wrong =
        |why: &str| CommandError::Usage(format!("--{} {text:?}: {why}", field.name.replace('_', "-")));
    let mut parts: Vec<&str> = text.rsplitn(of.len(), ',').collect();
    parts.reverse();
    if parts.len() != of.len() {
        return Err(wrong(&format!("it has {} parts, and a row has {}", parts.len(), of.len())));
    }
    let part = |(field, part): (&FormField, &str)| {
        value_of(part, field.kind).map(|value| (field.name, value)).map_err(|why| wrong(&why))
    };
    of.iter().zip(parts).map(part).collect()
}

/// What a person answers. Rows are asked for until the first field of one is left empty.
fn asked(field: &FormField) -> Result<Box<RawValue>, CommandError> {
    let of = match field.kind {
        FieldKind::Rows(of) => of,
        FieldKind::Key => {
            let question = format!("{} (empty: one is made)", field.help);
            return answered(field, &question, field.kind, true)?.map_or_else(made, Ok);
        }
        kind => {
            let answered = answered(field, field.help, kind, false)?;
            return answered.ok_or_else(|| missing(field));
        }
    };
    let mut rows: Vec<Fields> = Vec::new();
    loop {
        let mut row = Fields::new();
        for (at, part) in of.iter().enumerate() {
            let may_end = at == 0 && !rows.is_empty();
            let end = if may_end { " (empty: that was all)" } else { "" };
            let question = format!("{} {}: {}{end}", field.name, rows.len() + 1, part.help);
            match answered(field, &question, part.kind, may_end)? {
                Some(value) => drop(row.insert(part.name, value)),
                None => return Ok(to_raw_value(&rows)?),
            }
        }
        rows.push(row);
    }
}

/// Asks until the answer is of the kind; `None` for one that is left empty where it may be.
fn answered(
    field: &FormField,
    question: &str,
    kind: FieldKind,
    may_be_empty: bool,
) -> Result<Option<Box<RawValue>>, CommandError> {
    loop {
        let text = answer(field, question)?;
        if text.is_empty() {
            match may_be_empty {
                true => return Ok(None),
                false => continue,
            }
        }
        match value_of(&text, kind) {
            Ok(value) => return Ok(Some(value)),
            Err(why) => eprintln!("{why}"),
        }
    }
}

/// Asks on standard error, and reads a line.
fn answer(field: &FormField, question: &str) -> Result<String, CommandError> {
    eprint!("{question}: ");
    io::stderr().flush().map_err(CommandError::io("standard error"))?;
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line).map_err(CommandError::io("standard input"))?;
    if read == 0 {
        return Err(missing(field));
    }
    Ok(line.trim().to_owned())
}

fn missing(field: &FormField) -> CommandError {
    CommandError::Usage(format!("{} is missing: say --{}", field.name, field.name.replace('_', "-")))
}
