//! `queues`: how many messages each queue holds.

use crate::{
    App,
    access::Access,
    args,
    client::Client,
    error::CommandError,
    print::{Shown, line, shown},
};
use quadrille::operator::QueueStatus;

pub async fn queues(app: &App<'_>, args: args::Plain) -> Result<(), CommandError> {
    let client = Client::open(app, &args.target, Access::Looks).await?;
    let queues: Vec<QueueStatus> = client.get("/_quadrille/queues").await?;
    if args.target.json {
        line(&serde_json::to_value(queues)?);
        return Ok(());
    }
    line(format_args!("{:28} {:>9} {:>9} {:>9} {:>9}", "queue", "visible", "in flight", "delayed", "dead"));
    for queue in queues {
        let dead = format!("{:>9}", queue.dead);
        let dead = shown(&dead, if queue.dead > 0 { Shown::Bad } else { Shown::Plain });
        let depth = queue.depth;
        line(format_args!(
            "{:28} {:>9} {:>9} {:>9} {dead}",
            queue.name, depth.visible, depth.in_flight, depth.delayed
        ));
    }
    Ok(())
}
