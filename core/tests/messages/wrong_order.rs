use crate::tea::*;

async fn brew(_: TeaTime, _: Stored<Pot>, _: Context<()>) -> Outcome<()> {
    Ok(Handled::Done)
}

pub fn consumer() -> Consumer {
    Consumer::new("brew", brew)
    //~ Stored<Pot>` is not an event
    //~ a handler's arguments are the entity where it is loaded, the event, and the context, in this order
    //~ `TeaTime` is not the entity that the handler's event is told to
}
