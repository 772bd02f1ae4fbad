use messages::*;
use quadrille::*;

pub struct Menu;

pub fn table() -> quadrille::Table {
    quadrille::Table::new("menus").holds::<Menu>()
}

pub fn pot() -> Stored<Pot> {
    Stored::new(Pot { day: "monday".to_owned() })
}

fn main() {}
