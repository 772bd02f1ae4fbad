//! The options of a form: one for each field.

use clap::{Arg, ArgAction, Command};
use quadrille::system::{FieldKind, FormField};

/// Adds an option for each field.
pub fn of(command: Command, fields: &'static [FormField]) -> Command {
    fields.iter().fold(command, |command, field| command.arg(option_of(field)))
}

fn option_of(field: &FormField) -> Arg {
    let arg = Arg::new(field.name)
        .long(field.name.replace('_', "-"))
        .allow_hyphen_values(true)
        .help_heading("Fields; those that are not said are asked for");
    match field.kind {
        FieldKind::Text => arg.value_name("TEXT").help(field.help),
        FieldKind::Number => arg.value_name("NUMBER").help(field.help),
        FieldKind::Key => arg.value_name("TEXT").help(format!("{}; without, one is made", field.help)),
        FieldKind::Rows(of) => arg
            .value_name(of.iter().map(|field| field.name.to_uppercase()).collect::<Vec<_>>().join(","))
            .action(ArgAction::Append)
            .help(format!("{}; can be said again", field.help)),
    }
}
