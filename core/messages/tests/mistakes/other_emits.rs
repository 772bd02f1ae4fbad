use messages::*;
use quadrille::*;

async fn brew(_: Stored<Pot>, _: TeaTime, _: Context<()>) -> Outcome<(Steeped,)> {
    Ok(Handled::Done)
}

pub fn consumer() -> Consumer {
    Consumer::new("brew", brew)
}

fn main() {}
