use crate::tea::*;

async fn brew(_: TeaTime) -> Outcome<()> {
    Ok(Handled::Done)
}

pub fn consumer() -> Consumer {
    Consumer::new("brew", brew)
    //~ is not a handler of events
    //~ a handler has three arguments: `async fn brew(pot: Stored<Pot>, event: TeaTime, cx: Context<(Steeped,)>)
    //~ or two, where no entity is loaded
}
