//! The steps of the snacks.

pub mod cancel_order;
pub mod get_order;
pub mod order_creator;
pub mod order_processor;
