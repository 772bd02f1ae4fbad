use crate::tea::*;

pub struct Menu;

pub fn table() -> quadrille::Table {
    quadrille::Table::new("menus").holds::<Menu>()
    //~ `Menu` is not an entity
    //~ an entity implements `Entity`: `quadrille::entity!(Pot: "pot", by day);`
}

pub fn pot() -> Stored<Pot> {
    Stored::new(Pot { day: "monday".to_owned() })
}
