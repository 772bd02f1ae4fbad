//! `check`: whether what has to hold of the system holds of what is in a data folder.

use crate::{
    App, args,
    error::CommandError,
    node::Node,
    print::{Shown, line, shown},
};
use quadrille::{excerpt, sim::Snapshot};
use serde_json::{Value, json};

/// Reads the folder, and tells of each property whether it holds.
pub async fn check(app: &App<'_>, args: args::Check) -> Result<(), CommandError> {
    if !args.data.is_dir() {
        return Err(CommandError::NotFound(format!("there is no data folder {}", args.data.display())));
    }
    let node = Node::to_look(&args.data, &app.choreography)?;
    let snapshot = Snapshot::of(&app.choreography, node.pipeline().ports()).await?;
    let (is_quiet, checked) =
        (snapshot.is_quiet(&app.choreography), snapshot.check(app.system, &app.choreography));
    let broken = checked.iter().filter(|one| one.broken.is_some()).count();
    if args.json {
        let told: Vec<Value> = checked
            .iter()
            .map(|one| json!({ "property": one.property, "holds": one.broken.is_none(), "detail": one.broken }))
            .collect();
        line(json!({ "system": app.system.name(), "entities": snapshot.entities(), "quiet": is_quiet,
            "broken": broken, "properties": told }));
    } else {
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
            line("Messages wait in queues of steps: what has to hold only in the end was not looked at.");
        }
    }
    match broken {
        0 => Ok(()),
        broken => {
            Err(CommandError::Incomplete(format!("{broken} of {} properties don't hold", checked.len())))
        }
    }
}
