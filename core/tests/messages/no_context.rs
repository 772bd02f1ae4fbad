use crate::tea::*;

async fn brew(_: Stored<Pot>, _: TeaTime) -> Outcome<()> {
    Ok(Handled::Done)
}

pub fn consumer() -> Consumer {
    Consumer::new("brew", brew)
    //~ the last argument of a handler is its `Context`, not `TeaTime`
}
