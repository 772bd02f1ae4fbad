//! The steps of the auction.

pub mod get_order;
pub mod poll_auction;
pub mod post_orders;
pub mod store_result;
pub mod withdraw_order;
