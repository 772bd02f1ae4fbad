use messages::*;
use quadrille::*;

async fn brew(_: Context<()>, _: Stored<Pot>, _: TeaTime) -> Outcome<()> {
    Ok(Handled::Done)
}

pub fn consumer() -> Consumer {
    Consumer::new("brew", brew)
}

fn main() {}
