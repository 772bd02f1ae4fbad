//! `systems`: which systems there are.

use crate::{
    App, args,
    error::CommandError,
    print::line,
    table::{Cell, Format, Table},
};
use quadrille::infrastructure::Infrastructure;
use serde_json::json;

pub fn systems(app: &App<'_>, args: &args::Systems) -> Result<(), CommandError> {
    let mut rows = Vec::with_capacity(app.systems.len());
    let mut table = Table::new(["system", "standard", "demo", "functions", "about"]);
    for (at, system) in app.systems.iter().enumerate() {
        let choreography = system.define().build()?;
        let functions = Infrastructure::functions(choreography.model());
        let (name, about, standard, demo) = (system.name(), system.about(), at == 0, system.demo().is_some());
        let told = [name, &standard.to_string(), &demo.to_string()].map(Cell::text);
        table.row(told.into_iter().chain([Cell::number(functions.len()), Cell::text(about)]));
        rows.push(json!({ "name": name, "about": about, "standard": standard, "functions": functions, "demo": demo }));
    }
    match args.output.format(args.json) {
        Format::Json => line(serde_json::Value::from(rows)),
        Format::Csv => table.print_csv()?,
        Format::Table => table.print(),
    }
    Ok(())
}
