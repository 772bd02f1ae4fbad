use messages::*;
use quadrille::*;

pub async fn brew(pot: Stored<Pot>, event: TeaTime, _: Context<(ShopOpened,)>) -> Outcome<(ShopOpened,)> {
    Ok(pot.commit("steeping").emit(Steeped { day: event.day }).into())
}

fn main() {}
