//! Which limits of AWS a rate meets, and what to set for it.

use crate::{
    App, args,
    error::CommandError,
    print::{Shown, line, readable, shown},
    table::{Cell, Format, Table},
};
use quadrille::{
    infrastructure::{ConfigValue, Infrastructure},
    scale::{Answer, Question, Row, ScaleError, Verdict},
};
use std::collections::BTreeMap;

/// Runs `scale`.
pub fn scale(app: &App<'_>, args: args::Scale) -> Result<(), CommandError> {
    let question = Question {
        per_second: args.orders_per_second,
        enters: args.enters.clone(),
        times: args.time.iter().cloned().collect(),
        values: values(app, &args)?,
        hop: args.hop,
    };
    let answer =
        quadrille::scale::scale(app.choreography.model(), &question).map_err(|error| match error {
            ScaleError::NoSuchStep(_) => CommandError::NotFound(error.to_string()),
            ScaleError::NothingEnters | ScaleError::NoRate(_) => CommandError::Usage(error.to_string()),
        })?;
    match args.output.format(args.json) {
        Format::Json => {
            let text = serde_json::to_string(&answer);
            line(text.map_err(|error| CommandError::Failed(format!("the answer: {error}")))?);
        }
        Format::Csv => table(&answer).print_csv()?,
        Format::Table => tell(&answer),
    }
    let over: Vec<String> = answer.over().map(|row| format!("{}: {}", row.at, row.limit)).collect();
    if over.is_empty() {
        return Ok(());
    }
    let detail = format!("at {} a second nothing meets {}", number(answer.per_second), over.join("; "));
    Err(CommandError::Failed(detail))
}

/// What counts as set: by the stack, and by the options.
fn values(app: &App<'_>, args: &args::Scale) -> Result<BTreeMap<String, u64>, CommandError> {
    let infrastructure = app.system.infrastructure(Infrastructure::of(&app.choreography));
    let mut values = BTreeMap::new();
    if let Some(name) = &args.stack {
        let stack = infrastructure.stacks().iter().find(|stack| stack.name() == name);
        let stack = stack.ok_or_else(|| CommandError::NotFound(format!("there is no stack {name:?}")))?;
        let numbers = stack.values().filter_map(|(key, value)| match value {
            ConfigValue::Integer(number) => Some((key.to_owned(), u64::try_from(*number).ok()?)),
            _ => None,
        });
        values.extend(numbers);
    }
    for (key, value) in &args.set {
        if !infrastructure.has_key(key) {
            return Err(CommandError::NotFound(format!("the configuration has no key {key:?}")));
        }
        values.insert(key.clone(), *value);
    }
    Ok(values)
}

fn tell(answer: &Answer) {
    let (rate, enters) = (number(answer.per_second), readable(&answer.enters));
    line(format_args!(
        "{rate} a second enter by {enters}. Figures are a second unless they say otherwise.\n"
    ));
    let at = answer.rows.iter().map(|row| row.at.len()).max().unwrap_or_default();
    for row in &answer.rows {
        line(format_args!("{:at$}  {}", readable(&row.at), row.limit));
        let (needs, gives) = (number(row.needs), number(row.gives));
        let figures = format!("needs {needs}, has {gives} {}, carries {}", row.unit, number(row.carries));
        line(format_args!("{:at$}  {figures}: {}", "", todo(row)));
        let known = format!("{}; {}", row.assumes, row.source);
        line(format_args!("{:at$}  {}", "", shown(&readable(known), Shown::Dim)));
    }
    if let Some(row) = &answer.bottleneck {
        let carries = number(row.carries);
        line(format_args!("\nBottleneck, as things are set: {}, {}: {carries} a second.", row.at, row.limit));
    }
    if let Some(row) = &answer.slowest_step {
        let carries = number(row.carries);
        line(format_args!(
            "The slowest step, as things are set: {}, {}: {carries} a second.",
            row.at, row.limit
        ));
    }
    if let Some(row) = &answer.ceiling {
        let carries = number(row.carries_at_most.unwrap_or(row.carries));
        line(format_args!("Ceiling, whatever is set: {}, {}: {carries} a second.", row.at, row.limit));
    }
    let set = answer.set();
    if !set.is_empty() {
        let set: Vec<String> = set.iter().map(|(key, value)| format!("  {key}: {value}")).collect();
        line(format_args!("To be set, what is needed and a quarter more:\n{}", set.join("\n")));
    }
    if !answer.not_counted.is_empty() {
        line(format_args!("Not counted: {}.", answer.not_counted.join(", ")));
    }
}

/// The limits as rows.
fn table(answer: &Answer) -> Table {
    let head = ["at", "limit", "needs", "gives", "unit", "carries", "carries_at_most", "verdict", "to_set"];
    let mut table = Table::new(head.into_iter().chain(["can_be_raised", "assumes", "source"]));
    for row in &answer.rows {
        let to_set: Vec<String> = row.set.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let to_set = row.add.clone().unwrap_or_else(|| to_set.join(" "));
        let verdict = match row.verdict {
            Verdict::Fits => "fits",
            Verdict::Set => "set",
            Verdict::Raise => "raise",
            Verdict::Over => "over",
        };
        let at_most = row.carries_at_most.map(|carries| carries.to_string()).unwrap_or_default();
        let [needs, gives, carries] = [row.needs, row.gives, row.carries].map(|number| number.to_string());
        let cells = [&row.at, row.limit, &needs, &gives, row.unit, &carries, &at_most, verdict, &to_set];
        let known = [&row.can_be_raised.to_string(), row.assumes.as_str(), row.source];
        table.row(cells.into_iter().chain(known).map(Cell::text));
    }
    table
}

/// What is to be done about a limit.
fn todo(row: &Row) -> String {
    let set: Vec<String> = row.set.iter().map(|(key, value)| format!("{key}: {value}")).collect();
    match row.verdict {
        Verdict::Fits => shown("fits", Shown::Good),
        Verdict::Set => {
            let what =
                row.add.clone().map_or_else(|| set.join(", "), |add| format!("in the definition, {add}"));
            shown(&format!("set {what}"), Shown::Waiting)
        }
        Verdict::Raise => shown("ask AWS for more", Shown::Waiting),
        Verdict::Over => shown("can't be met", Shown::Bad),
    }
}

/// A number as people read it.
fn number(number: f64) -> String {
    if number >= 1e15 {
        return "any number".to_owned();
    }
    let whole = format!("{number:.0}");
    if number < 10.0 && number.fract() > 0.005 {
        return format!("{number:.2}");
    }
    let mut text = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
