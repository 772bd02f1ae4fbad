//! `systems`: which systems there are.

use crate::{App, args, error::CommandError, print::line};
use quadrille::infrastructure::Infrastructure;
use serde_json::json;

pub fn systems(app: &App<'_>, args: &args::Systems) -> Result<(), CommandError> {
    let mut rows = Vec::with_capacity(app.systems.len());
    for (at, system) in app.systems.iter().enumerate() {
        let choreography = system.define().build()?;
        let functions = Infrastructure::functions(choreography.model());
        let row = json!({
            "name": system.name(), "about": system.about(), "standard": at == 0, "functions": functions,
            "demo": system.demo().is_some(),
        });
        rows.push(row);
        if !args.json {
            line(format_args!("{:<12}  {}", system.name(), system.about()));
        }
    }
    if args.json {
        line(serde_json::Value::from(rows));
    }
    Ok(())
}
