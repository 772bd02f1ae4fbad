//! `diagram`: the flow as a picture, with the path that an entity has taken where one is named.

use crate::{
    App,
    access::Access,
    args::{Diagram, Drawing},
    client::Client,
    error::CommandError,
    print::{Shown, line, shown},
    story::Story,
    trace::named,
};
use quadrille::choreography::Passage;
use std::io::IsTerminal as _;

/// `diagram [--of KIND ID]`.
pub async fn diagram(app: &App<'_>, args: Diagram) -> Result<(), CommandError> {
    let choreography = &app.choreography;
    let for_people = || if std::io::stdout().is_terminal() { Drawing::Text } else { Drawing::Mermaid };
    if args.of.is_empty() {
        match args.drawn.unwrap_or(Drawing::Mermaid) {
            Drawing::Mermaid => line(choreography.to_mermaid().trim_end()),
            Drawing::Text => line(choreography.to_text()),
        }
        return Ok(());
    }
    let (kind, id) = named(app, &args.of, None)?;
    let client = Client::open(app, &args.target, Access::Looks).await?;
    let path = Story::of(&client, kind, id).await?.path();
    match args.drawn.unwrap_or_else(for_people) {
        Drawing::Mermaid => line(choreography.to_mermaid_of(&path).trim_end()),
        Drawing::Text => {
            for (text, passage) in choreography.to_lines_of(&path) {
                let (mark, how) = match passage {
                    Some(Passage::Done) => ("✔", Shown::Good),
                    Some(Passage::Failed { .. }) => ("✘", Shown::Bad),
                    None => (" ", Shown::Dim),
                };
                line(shown(&format!("{mark} {text}"), how));
            }
        }
    }
    Ok(())
}
