//! The steps of the checkout.

pub mod create_order;
pub mod fail_order;
pub mod get_order;
pub mod get_product;
pub mod process_payment;
pub mod put_product;
pub mod receive_order;
pub mod return_stock;
mod stock;
pub mod validate_order;
pub mod void_payment;
