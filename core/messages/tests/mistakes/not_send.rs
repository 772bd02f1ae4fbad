use messages::*;
use quadrille::*;
use std::{future::ready, rc::Rc};

async fn brew(_: Stored<Pot>, _: TeaTime, _: Context<()>) -> Outcome<()> {
    let leaves = Rc::new(3);
    ready(()).await;
    drop(leaves);
    Ok(Handled::Done)
}

pub fn consumer() -> Consumer {
    // The compiler's own words: they show the value and the await.
    Consumer::new("brew", brew)
}

fn main() {}
