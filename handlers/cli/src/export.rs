//! `export`: all entities, with their trails, as lines of JSON.

use crate::{
    App,
    access::Access,
    args::Plain,
    client::{Client, encoded},
    error::CommandError,
    print::line,
};
use quadrille::{
    operator::{ExportHead, ExportPage},
    port::{Clock as _, SystemClock},
};

/// Writes the system's name and the time, and then an entity a line.
pub async fn export(app: &App<'_>, args: Plain) -> Result<(), CommandError> {
    let client = Client::open(app, &args.target, Access::Looks).await?;
    let head = ExportHead { system: app.system.name().to_owned(), at: SystemClock.now() };
    line(serde_json::to_string(&head)?);
    for table in &app.choreography.model().tables {
        let mut after = String::new();
        loop {
            let path = format!("/_quadrille/items/{}?limit=100{after}", encoded(&table.name));
            let page: ExportPage = client.get(&path).await?;
            for item in &page.items {
                line(serde_json::to_string(item)?);
            }
            match page.next {
                Some(next) => after = format!("&after={}", encoded(&next)),
                None => break,
            }
        }
    }
    Ok(())
}
