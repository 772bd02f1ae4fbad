use messages::*;
use quadrille::*;

async fn brew(_: Stored<Cup>, _: TeaTime, _: Context<()>) -> Outcome<()> {
    Ok(Handled::Done)
}

pub fn consumer() -> Consumer {
    Consumer::new("brew", brew)
}

fn main() {}
