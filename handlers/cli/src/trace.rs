//! `trace`: the story of an entity, told with that of the entities it is related to.

use crate::{
    App, access::Access, args, client::Client, error::CommandError, print::line, story::Story, table::Format,
    watch::Watch,
};
use quadrille::system::Meaning;

/// `trace [KIND] ID`; `kind` is the plain one of a word of the system's own, and `fields` those that its story begins with.
pub async fn trace(
    app: &App<'_>,
    args: args::Trace,
    kind: Option<&str>,
    fields: Option<&[&str]>,
) -> Result<(), CommandError> {
    let (kind, id) = named(app, &args.entity, kind)?;
    let format = args.output.format_of(args.target.json, args.follow)?;
    let client = Client::open(app, &args.target, Access::Looks).await?;
    let mut watch = args.follow.then(|| Watch::by(&client, app)).transpose()?;
    let mut story = Story::of(&client, kind, id).await;
    // What was just set going may not be there yet.
    let is_known = app.choreography.model().table_of(kind).is_some();
    if story.is_err() && is_known && watch.is_some() {
        eprintln!("no {kind} of this id is there yet: it is waited for");
    }
    while let (Err(CommandError::NotFound(_)), Some(watch), true) = (&story, &mut watch, is_known)
        && watch.goes_on().await
    {
        story = Story::of(&client, kind, id).await;
    }
    let story = story?;
    match format {
        Format::Json => line(story.to_json(fields)),
        Format::Csv => story.table().print_csv()?,
        Format::Table => story.print(Some(app), fields, client.is_at_rest()),
    }
    match watch {
        Some(watch) => follow(app, watch, &client, story, fields, format).await,
        None => Ok(()),
    }
}

/// Tells what happens further, until the entity has ended.
async fn follow(
    app: &App<'_>,
    mut watch: Watch,
    client: &Client,
    mut told: Story,
    fields: Option<&[&str]>,
    format: Format,
) -> Result<(), CommandError> {
    // What follows an end at once, a dead letter for example, is told with it.
    let mut was_over = false;
    while !(told.is_over() && was_over) && watch.goes_on().await {
        was_over = told.is_over();
        let story = match Story::of(client, told.kind(), told.id()).await {
            // It has expired: there is nothing more to tell.
            Err(CommandError::NotFound(_)) => return Ok(()),
            story => story?,
        };
        match format {
            Format::Json if story.to_json(fields) != told.to_json(fields) => line(story.to_json(fields)),
            Format::Json => {}
            Format::Csv | Format::Table => story.print_since(app, &told),
        }
        told = story;
    }
    Ok(())
}

/// The entity that these words name; `kind` is the plain one.
pub fn named<'a>(
    app: &'a App<'_>,
    entity: &'a [String],
    kind: Option<&'a str>,
) -> Result<(&'a str, &'a str), CommandError> {
    match entity {
        [kind, id] => Ok((kind, id)),
        [id] => Ok((plain_kind(app, kind)?, id)),
        _ => Err(CommandError::Usage("say the kind and the id of one entity".into())),
    }
}

/// The kind that is meant where none is named: that of the system's own word, or the one that is alone.
fn plain_kind<'a>(app: &'a App<'_>, kind: Option<&'a str>) -> Result<&'a str, CommandError> {
    let words = app.system.words();
    let of_word = words.into_iter().find_map(|word| match word.means {
        Meaning::Trace { kind, .. } => Some(kind),
        _ => None,
    });
    let kind = kind.or(of_word);
    let kinds: Vec<&String> = app.choreography.model().tables.iter().flat_map(|table| &table.kinds).collect();
    match (kind, &kinds[..]) {
        (Some(kind), _) => Ok(kind),
        (None, [alone]) => Ok(alone),
        _ => {
            let kinds: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
            Err(CommandError::Usage(format!("say the kind before the id: {}", kinds.join(", "))))
        }
    }
}
