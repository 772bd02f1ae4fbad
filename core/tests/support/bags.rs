//! Bags at a gate, an open entity that waits for somebody who looks for it by an index.

use quadrille::{
    Backlog, Context, Emits, Entity, Failure, Route, Stored, Uses,
    http::{Request, Response},
    port::IndexEntry,
};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// What lies at the gate until a cart takes it, or it is gone.
#[derive(Clone, Serialize, Deserialize)]
pub struct Bag {
    pub id: String,
    pub cart: Option<String>,
    pub is_gone: bool,
}

impl Entity for Bag {
    const KIND: &'static str = "bag";

    fn id(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.id)
    }

    fn index(&self) -> Option<IndexEntry> {
        let entry = IndexEntry { partition: "gate".to_owned(), sort: self.id.clone() };
        (self.cart.is_none() && !self.is_gone).then_some(entry)
    }

    fn is_ended(&self) -> bool {
        self.is_gone
    }

    fn related(&self) -> Vec<(String, String)> {
        self.cart.iter().map(|cart| ("cart".to_owned(), cart.clone())).collect()
    }
}

async fn leave<Em: Emits>(request: Request, cx: Context<Em>) -> Result<Response, Failure> {
    let bag = Bag { id: request.parameters["id"].clone(), cart: None, is_gone: false };
    cx.commit(Stored::new(bag).commit("left at the gate")).await?;
    Ok(Response::json(202, &()))
}

/// `POST /bags/{id}`, which leaves one at the gate and claims to emit all of `Em`. Those that lie there are its backlog.
pub fn gate<Em: Emits>() -> Route {
    Route::post("/bags/{id}", "leave", leave::<Em>)
        .backlog(Backlog::new().open::<Bag>(["gate".to_owned()]))
        .uses(Uses::new().commits_one::<Bag>())
}
