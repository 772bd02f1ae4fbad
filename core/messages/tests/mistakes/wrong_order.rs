use messages::*;
use quadrille::*;

async fn brew(_: TeaTime, _: Stored<Pot>, _: Context<()>) -> Outcome<()> {
    Ok(Handled::Done)
}

pub fn consumer() -> Consumer {
    Consumer::new("brew", brew)
}

fn main() {}
