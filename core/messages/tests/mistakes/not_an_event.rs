use messages::*;
use quadrille::*;

async fn brew(_: Stored<Pot>, _: String, _: Context<()>) -> Outcome<()> {
    Ok(Handled::Done)
}

pub fn consumer() -> Consumer {
    Consumer::new("brew", brew)
}

fn main() {}
