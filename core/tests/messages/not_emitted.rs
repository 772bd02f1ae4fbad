use crate::tea::*;

pub async fn brew(pot: Stored<Pot>, event: TeaTime, _: Context<(ShopOpened,)>) -> Outcome<(ShopOpened,)> {
    Ok(pot.commit("steeping").emit(Steeped { day: event.day }).into())
    //~ a handler with `Context<(ShopOpened,)>` does not emit `Steeped`
    //~ name each event that a handler emits, once, in the tuple
}
