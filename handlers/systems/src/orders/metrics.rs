//! What the system of orders counts and measures. What each means stands in `docs/metrics.md` too, which a test holds to this
//! list.

use quadrille::metrics::Metric;

/// Orders stored for the first time.
pub const ORDERS_CREATED: Metric = Metric::count("OrdersCreated");
/// Orders processed.
pub const ORDERS_PROCESSED: Metric = Metric::count("OrdersProcessed");
/// From an order's creation to its processing.
pub const CREATED_TO_PROCESSED: Metric = Metric::milliseconds("CreatedToProcessed");

/// All of them.
pub const ALL: [Metric; 3] = [ORDERS_CREATED, ORDERS_PROCESSED, CREATED_TO_PROCESSED];
