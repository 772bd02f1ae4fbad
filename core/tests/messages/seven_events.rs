use crate::tea::*;

type Seven = (TeaTime, Steeped, TeaTime, Steeped, TeaTime, Steeped, TeaTime);

async fn brew(_: Stored<Pot>, _: TeaTime, _: Context<Seven>) -> Outcome<Seven> {
    Ok(Handled::Done)
}

pub fn consumer() -> Consumer {
    Consumer::new("brew", brew)
    //~ is not a tuple of at most six events
    //~ a handler that emits more than six types of events
}
