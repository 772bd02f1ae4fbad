use crate::tea::*;

async fn brew(_: Stored<Pot>, _: String, _: Context<()>) -> Outcome<()> {
    Ok(Handled::Done)
}

pub fn consumer() -> Consumer {
    Consumer::new("brew", brew)
    //~ String` is not an event
    //~ an event implements `Event`: `quadrille::event!(Steeped: "tea.steeped", to Pot by day);`
}
