use messages::*;
use quadrille::*;

type Seven = (TeaTime, Steeped, TeaTime, Steeped, TeaTime, Steeped, TeaTime);

async fn brew(_: Stored<Pot>, _: TeaTime, _: Context<Seven>) -> Outcome<Seven> {
    Ok(Handled::Done)
}

pub fn consumer() -> Consumer {
    Consumer::new("brew", brew)
}

fn main() {}
