use crate::tea::*;

#[allow(unused_parens)]
async fn brew(_: Stored<Pot>, _: TeaTime, _: Context<(Steeped)>) -> Outcome<(Steeped)> {
    Ok(Handled::Done)
}

pub fn consumer() -> Consumer {
    Consumer::new("brew", brew)
    //~ `Steeped` is not a tuple of at most six events
    //~ a tuple of one event has a comma: `(Steeped,)`
}
