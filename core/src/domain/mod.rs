//! The order and result types that the parts of a system share, a module a system. Only types and how they are read:
//! the handlers live in `handlers/systems`, and nothing else in the library knows them. Feature `domain`.

pub mod auction;
pub mod checkout;
pub mod orders;
pub mod snacks;
