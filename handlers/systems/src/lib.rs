//! The systems built on quadrille.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![warn(missing_debug_implementations)]

pub mod auction;
pub mod checkout;
pub mod orders;
pub mod planted;
pub mod snacks;

use quadrille::System;

/// All systems, the standard one first: the one place that lists them.
pub const ALL: &[&dyn System] = &[&auction::Auction, &snacks::Snacks, &orders::Orders, &checkout::Checkout];
