//! The steps of the orders.

pub mod create_order;
pub mod get_order;
pub mod process_order;
