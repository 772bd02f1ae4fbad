use crate::tea::*;

async fn brew(_: Stored<Pot>, _: TeaTime, _: Context<()>) -> Result<(), Failure> {
    Ok(())
}

pub fn consumer() -> Consumer {
    Consumer::new("brew", brew)
    //~ a handler with `Context<()>` returns `Outcome<()>`
    //~ Output = Result<(),
}
