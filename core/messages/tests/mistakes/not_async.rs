use messages::*;
use quadrille::*;

fn brew(_: Stored<Pot>, _: TeaTime, _: Context<()>) -> Outcome<()> {
    Ok(Handled::Done)
}

pub fn consumer() -> Consumer {
    Consumer::new("brew", brew)
}

fn main() {}
