use crate::tea::*;

async fn brew(_: Stored<Pot>, _: TeaTime, _: Context<()>) -> Outcome<(Steeped,)> {
    Ok(Handled::Done)
}

pub fn consumer() -> Consumer {
    Consumer::new("brew", brew)
    //~ a handler with `Context<()>` returns `Outcome<()>`
    //~ Output = Result<Handled<(Steeped,)>,
    //~ the tuple of events is the same in `Context<…>` and in `Outcome<…>`
}
