use crate::tea::*;

fn brew(_: Stored<Pot>, _: TeaTime, _: Context<()>) -> Outcome<()> {
    Ok(Handled::Done)
}

pub fn consumer() -> Consumer {
    Consumer::new("brew", brew)
    //~ a handler is an `async fn`: this function returns `Result<Handled<()>,
    //~ this function is not `async`
    //~ write `async fn` instead of `fn`
}
