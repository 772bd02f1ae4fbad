//! The tea shop of the crate's front page, on the embedded engine: the same handlers and the same definition, but tables
//! and queues in a folder, and the machine's clock. A pot that is meant for drinking steeps for four minutes; this one
//! does for two seconds.
//!
//! ```sh
//! cargo run -p quadrille --features local --example first
//! ```

use quadrille::{
    Choreography, Consumer, Context, Handled, LogFormat, LogLevel, Outcome, Stored, Table,
    choreography::DefinitionErrors,
    engine::trigger,
    init_logging,
    local::{AlarmPolicy, Local},
    port::{Clock as _, SystemClock, SystemRandom},
};
use serde::{Deserialize, Serialize};
use std::{error::Error, sync::Arc, time::Duration};

const STEEP: Duration = Duration::from_secs(2);
const DAY: Duration = Duration::from_secs(86_400);

#[derive(PartialEq, Serialize, Deserialize)]
enum State {
    Steeping,
    Served,
}

#[derive(Serialize, Deserialize)]
struct Pot {
    day: String,
    state: State,
}
quadrille::entity!(Pot: "pot", by day);

#[derive(Serialize, Deserialize)]
struct TeaTime {
    day: String,
}
quadrille::event!(TeaTime: "tea.time", to Pot by day);

#[derive(Serialize, Deserialize)]
struct Steeped {
    day: String,
}
quadrille::event!(Steeped: "tea.steeped", to Pot by day);

async fn brew(pot: Option<Stored<Pot>>, event: TeaTime, _: Context<(Steeped,)>) -> Outcome<(Steeped,)> {
    if pot.is_some() {
        return Ok(Handled::already("brewed"));
    }
    let pot = Stored::new(Pot { day: event.day.clone(), state: State::Steeping });
    Ok(pot.commit("steeping").emit_after(STEEP, Steeped { day: event.day }).into())
}

async fn serve(mut pot: Stored<Pot>, _: Steeped, _: Context<()>) -> Outcome<()> {
    if pot.state == State::Served {
        return Ok(Handled::already("served"));
    }
    pot.state = State::Served;
    Ok(pot.commit("served").into())
}

fn tea_shop() -> Result<Choreography, DefinitionErrors> {
    Choreography::define("tea-shop")
        .table(Table::new("pots").holds::<Pot>())
        .schedule("tea-time", DAY, |at| TeaTime { day: at.to_string() })
        .on(Consumer::new("brew", brew))
        .on(Consumer::new("serve", serve))
        .build()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let _logs = init_logging(LogLevel::WARN, LogFormat::Text, &["first"]);
    let tea_shop = tea_shop()?;
    println!("{}\n", tea_shop.to_text());

    let folder = tempfile::tempdir()?;
    let local = Local::open(folder.path(), tea_shop.model(), Arc::new(SystemClock), Arc::new(SystemRandom))?;
    let pipeline = local.pipeline(&tea_shop);
    let mut seen = pipeline.observe();
    let engine = local.start(&pipeline, AlarmPolicy::default());

    // It is tea time once a day; today it is now.
    let now = SystemClock.now();
    trigger(&pipeline, "tea-time", now).await?;
    loop {
        let observation = seen.recv().await?;
        println!("{}  {:<6} {}", observation.at, observation.step, observation.what);
        if observation.step == "serve" {
            break;
        }
    }
    engine.stop().await;

    // One read tells where the pot is, and why.
    let items = local.ports().table("pots")?.get(&[format!("pot/{now}")]).await?;
    let item = items.into_iter().flatten().next().ok_or("there is no pot")?;
    println!("\nthe trail of pot {now}:");
    for entry in &Stored::<Pot>::read(&item)?.trail().entries {
        println!("{}  {:<6} {}", entry.at, entry.handler, entry.what);
    }
    Ok(())
}
