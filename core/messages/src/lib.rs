//! What the mistakes are made with. Handlers as they are to be, which must compile, are here too.

use quadrille::{
    Consumer, Context, Failure, Handled, OrFailure, Outcome, Route, Stored,
    http::{Request, Response},
};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
pub struct Pot {
    pub day: String,
}
quadrille::entity!(Pot: "pot", by day);

#[derive(Serialize, Deserialize)]
pub struct Cup {
    pub guest: String,
}
quadrille::entity!(Cup: "cup", by guest);

#[derive(Serialize, Deserialize)]
pub struct TeaTime {
    pub day: String,
}
quadrille::event!(TeaTime: "tea.time", to Pot by day);

#[derive(Serialize, Deserialize)]
pub struct Steeped {
    pub day: String,
}
quadrille::event!(Steeped: "tea.steeped", to crate::Pot by day);

#[derive(Serialize, Deserialize)]
pub struct ShopOpened {}
quadrille::event!(ShopOpened: "shop.opened", to nobody);

async fn brew(_: Option<Stored<Pot>>, _: TeaTime, _: Context<(Steeped,)>) -> Outcome<(Steeped,)> {
    Ok(Handled::Done)
}

async fn serve(_: Stored<Pot>, _: Steeped, _: Context<()>) -> Outcome<()> {
    Ok(Handled::already("served"))
}

async fn open(_: ShopOpened, _: Context<()>) -> Outcome<()> {
    Ok(Handled::Done)
}

async fn order(_: Request, _: Context<(TeaTime,)>) -> Result<Response, Failure> {
    Err(Failure::transient("closed", "the shop is closed"))
}

pub fn consumers() -> [Consumer; 4] {
    [
        Consumer::new("brew", brew),
        Consumer::new("serve", serve),
        Consumer::new("open", open),
        // The types of what a closure returns are inferred.
        Consumer::new("close", |_: ShopOpened, _: Context<()>| async {
            "2".parse::<u32>().permanent("malformed")?;
            Ok(Handled::Done)
        }),
    ]
}

pub fn route() -> Route {
    Route::post("/tea", "order", order)
}
