//! A command of two small systems, which the tests of this crate start.

use quadrille::{
    Choreography, Consumer, Context, Definition, Entity, Failure, Handled, Outcome, Route, Setting, Stored,
    System, Table, Uses,
    http::{Request, Response},
    system::{FieldKind, FormField, Meaning, Word},
};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, process::ExitCode, time::Duration};

#[derive(Serialize, Deserialize)]
struct Pot {
    id: String,
    is_steeped: bool,
}

impl Entity for Pot {
    const KIND: &'static str = "pot";

    fn id(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.id)
    }

    fn status(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(if self.is_steeped { "steeped" } else { "ordered" }))
    }

    fn is_ended(&self) -> bool {
        self.is_steeped
    }
}

#[derive(Serialize, Deserialize)]
struct Tasting {
    day: String,
}
quadrille::entity!(Tasting: "tasting", by day);

#[derive(Serialize, Deserialize)]
struct Ordered {
    id: String,
}
quadrille::event!(Ordered: "pot.ordered", to Pot by id);

#[derive(Serialize, Deserialize)]
struct Steeped {
    id: String,
}
quadrille::event!(Steeped: "pot.steeped", to Pot by id);

#[derive(Serialize, Deserialize)]
struct TeaTime {
    day: String,
}
quadrille::event!(TeaTime: "tea.time", to Tasting by day);

async fn order(request: Request, cx: Context<(Ordered,)>) -> Result<Response, Failure> {
    let Ok(Ordered { id }) = serde_json::from_slice(&request.body) else {
        return Ok(quadrille::http::Problem::new(400, "no_order", "send {\"id\": …}").into());
    };
    let kettle: String = cx.setting("kettle")?;
    let pot = Stored::new(Pot { id: id.clone(), is_steeped: false });
    cx.commit_all(vec![pot.commit(format!("ordered, by {kettle}")).emit(Ordered { id: id.clone() })]).await?;
    Ok(Response::json(201, &Ordered { id }))
}

async fn steep(mut pot: Stored<Pot>, event: Ordered, cx: Context<(Steeped,)>) -> Outcome<(Steeped,)> {
    if pot.id.starts_with("cracked") {
        return Err(Failure::permanent("cracked", "a cracked pot holds no tea"));
    }
    pot.is_steeped = true;
    let strength: u64 = cx.setting("strength")?;
    let steeped = Steeped { id: event.id };
    Ok(pot.commit(format!("steeped, strength {strength}")).emit(steeped).into())
}

async fn taste(tasting: Option<Stored<Tasting>>, event: TeaTime, _: Context<()>) -> Outcome<()> {
    if tasting.is_some() {
        return Ok(Handled::already("tasted"));
    }
    Ok(Stored::new(Tasting { day: event.day }).commit("tasted").into())
}

struct TeaShop;

impl System for TeaShop {
    fn name(&self) -> &'static str {
        "tea-shop"
    }

    fn about(&self) -> &'static str {
        "Takes orders of tea, and lets it steep."
    }

    fn define(&self) -> Definition {
        Choreography::define("tea-shop")
            .table(Table::new("pots").holds::<Pot>().holds::<Tasting>().keeps_details())
            .setting(Setting::url("kettle").or_word("gas").help("Where the water is boiled."))
            .setting(Setting::integer("strength").within(1..=9).default("5").help("How strong the tea is."))
            .setting(Setting::text("recipe").optional().secret().help("The recipe."))
            .route(
                Route::post("/pots", "order", order)
                    .uses(Uses::new().commits::<Pot>().setting("kettle").setting("recipe")),
            )
            .schedule("tea-time", Duration::from_secs(86_400), |at| TeaTime { day: at.to_string() })
            .on(Consumer::new("steep", steep).uses(Uses::new().setting("strength")))
            .on(Consumer::new("taste", taste))
            .topic("guests")
            .publish::<Steeped>("guests")
    }

    fn words(&self) -> Vec<Word> {
        vec![Word {
            name: "echo",
            about: "Says what it is told.",
            example: "echo hello",
            means: Meaning::Call(|arguments| {
                Box::pin(async move {
                    let words: Vec<String> =
                        arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect();
                    println!("{}", words.join(" "));
                    if words.is_empty() { Err("nothing to say".into()) } else { Ok(()) }
                })
            }),
        }]
    }
}

#[derive(Serialize, Deserialize)]
struct Shirt {
    id: String,
}
quadrille::entity!(Shirt: "shirt", by id);

async fn take_in(request: Request, cx: Context<()>) -> Result<Response, Failure> {
    let shirt = Shirt { id: String::from_utf8_lossy(&request.body).into_owned() };
    cx.commit_all(vec![Stored::new(shirt).commit("taken in")]).await?;
    Ok(Response::json(201, &()))
}

struct Laundry;

impl System for Laundry {
    fn name(&self) -> &'static str {
        "laundry"
    }

    fn about(&self) -> &'static str {
        "Takes shirts in."
    }

    fn define(&self) -> Definition {
        Choreography::define("laundry")
            .table(Table::new("shirts").holds::<Shirt>())
            .route(Route::post("/shirts", "take_in", take_in).uses(Uses::new().commits::<Shirt>()))
    }

    fn words(&self) -> Vec<Word> {
        const WASHED: &[FormField] = &[
            FormField { name: "colour", help: "colour", kind: FieldKind::Text },
            FormField { name: "count", help: "how many", kind: FieldKind::Number },
        ];
        const FIELDS: &[FormField] = &[
            FormField { name: "tag", help: "the tag", kind: FieldKind::Key },
            FormField { name: "owner_name", help: "whose they are", kind: FieldKind::Text },
            FormField { name: "weight", help: "what they weigh", kind: FieldKind::Number },
            FormField { name: "shirts", help: "the shirts", kind: FieldKind::Rows(WASHED) },
        ];
        vec![Word {
            name: "hand-in",
            about: "Hands shirts in.",
            example: "hand-in --owner-name Anna",
            means: Meaning::Form { step: "take_in", fields: FIELDS },
        }]
    }
}

fn main() -> ExitCode {
    quadrille_cli::main(&[&TeaShop, &Laundry])
}
