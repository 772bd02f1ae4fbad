use messages::*;
use quadrille::*;

async fn brew(_: Stored<Pot>, _: TeaTime, _: Context<()>) -> Result<(), Failure> {
    Ok(())
}

pub fn consumer() -> Consumer {
    Consumer::new("brew", brew)
}

fn main() {}
