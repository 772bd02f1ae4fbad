use crate::tea::*;

async fn brew(_: Stored<Cup>, _: TeaTime, _: Context<()>) -> Outcome<()> {
    Ok(Handled::Done)
}

pub fn consumer() -> Consumer {
    Consumer::new("brew", brew)
    //~ Stored<Cup>` is not the entity that the handler's event is told to
    //~ expected `Stored<Pot>`, or `Option<Stored<Pot>>` where it may be missing
}
