//! `queues`: how many messages each queue holds.

use crate::{
    App,
    access::Access,
    args,
    client::Client,
    error::CommandError,
    print::{Shown, line},
    table::{Cell, Format, Table},
};
use quadrille::operator::QueueStatus;

pub async fn queues(app: &App<'_>, args: args::Rows) -> Result<(), CommandError> {
    let client = Client::open(app, &args.target, Access::Looks).await?;
    let queues: Vec<QueueStatus> = client.get("/_quadrille/queues").await?;
    match args.output.format(args.target.json) {
        Format::Json => line(&serde_json::to_value(queues)?),
        Format::Csv => table(&queues).print_csv()?,
        Format::Table => table(&queues).print(),
    }
    Ok(())
}

/// The queues as rows.
pub fn table(queues: &[QueueStatus]) -> Table {
    let mut table = Table::new(["queue", "visible", "in flight", "delayed", "dead"]);
    for QueueStatus { name, depth, dead, .. } in queues {
        let how = if *dead > 0 { Shown::Bad } else { Shown::Plain };
        let numbers = [depth.visible, depth.in_flight, depth.delayed].map(Cell::number);
        table.row([Cell::text(name)].into_iter().chain(numbers).chain([Cell::number(dead).shown(how)]));
    }
    table
}
