use crate::tea::*;

quadrille::entity!(Pot, "pot", by day);
//~ expected an entity's type, its kind, and the field that is its id: `entity!(Pot: "pot", by day);`

quadrille::event!(TeaTime: "tea.time", by day);
//~ `event!(Steeped: "tea.steeped", to Pot by day);`, or `event!(ShopOpened: "shop.opened", to nobody);`
