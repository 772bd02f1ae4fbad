//! `published`: the latest of what left the system by a topic, a bus or a queue of others.

use crate::{
    App,
    access::Access,
    args::{OwnPublished, Published},
    client::{Client, encoded},
    error::CommandError,
    print::{Shown, line, shown},
    table::{Cell, Format, Table},
    watch::Watch,
};
use quadrille::{Envelope, excerpt, operator::Publication};
use serde_json::value::RawValue;
use std::collections::BTreeSet;

/// What is told in place of the type of an event that can't be read.
const UNREADABLE: &str = "unreadable";

/// `published [OUTLET]`.
pub async fn named(app: &App<'_>, args: Published) -> Result<(), CommandError> {
    let Published { outlet, own } = args;
    let outlets = &app.choreography.model().outlets;
    let names: BTreeSet<&str> = outlets.iter().map(|outlet| outlet.to.name()).collect();
    let names: Vec<&str> = names.into_iter().collect();
    match (&outlet, &names[..]) {
        (Some(outlet), _) => published(app, own, outlet).await,
        (None, [alone]) => published(app, own, alone).await,
        (None, []) => Err(CommandError::NotFound(format!("{} publishes nothing", app.system.name()))),
        (None, _) => Err(CommandError::Usage(format!("say which: {}", names.join(", ")))),
    }
}

/// Shows what was published to `outlet`.
pub async fn published(app: &App<'_>, args: OwnPublished, outlet: &str) -> Result<(), CommandError> {
    let format = args.output.format_of(args.target.json, args.watch)?;
    let client = Client::open(app, &args.target, Access::Looks).await?;
    let watching = args.watch.then(|| Watch::by(&client, app)).transpose()?;
    let path = format!("/_quadrille/publications/{}?limit={}", encoded(outlet), args.limit);
    let found: Vec<Publication> = client.get(&path).await?;
    let Some(mut watching) = watching else {
        match format {
            Format::Json => line(serde_json::to_value(found)?),
            Format::Csv => table(&found).print_csv()?,
            Format::Table => found.iter().for_each(print),
        }
        return Ok(());
    };
    let (mut last, mut found) = (0, found);
    loop {
        for publication in &found {
            last = publication.place;
            match format {
                Format::Json => line(serde_json::to_value(publication)?),
                Format::Csv | Format::Table => print(publication),
            }
        }
        if !watching.goes_on().await {
            return Ok(());
        }
        found = client.get(&format!("{path}&after={last}")).await?;
    }
}

/// The event of a publication, where it is one.
fn event(publication: &Publication) -> Option<Envelope<Box<RawValue>>> {
    serde_json::from_str(publication.event.get()).ok()
}

/// What was published, as rows.
fn table(found: &[Publication]) -> Table {
    let mut table = Table::new(["at", "type", "subject", "data"]);
    for publication in found {
        let event = event(publication);
        let (of_type, subject) = match &event {
            Some(event) => (&*event.event_type, &*event.subject),
            None => (UNREADABLE, ""),
        };
        let data = event.as_ref().map_or(publication.event.get(), |event| event.data.get());
        table.row([&publication.at.to_string(), of_type, subject, data].map(Cell::text));
    }
    table
}

fn print(publication: &Publication) {
    let event = event(publication);
    let (what, data) = match &event {
        Some(event) => {
            let subject = excerpt(&event.subject, 300);
            (format!("{}  {subject}", excerpt(&event.event_type, 100)), event.data.get())
        }
        None => (UNREADABLE.to_owned(), publication.event.get()),
    };
    let data = excerpt(&data.replace('\n', " "), 1_024);
    line(format_args!("{}  {what}  {}", publication.at, shown(&data, Shown::Dim)));
}
