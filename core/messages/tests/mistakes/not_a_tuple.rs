use messages::*;
use quadrille::*;

#[allow(unused_parens)]
async fn brew(_: Stored<Pot>, _: TeaTime, _: Context<(Steeped)>) -> Outcome<(Steeped)> {
    Ok(Handled::Done)
}

pub fn consumer() -> Consumer {
    Consumer::new("brew", brew)
}

fn main() {}
