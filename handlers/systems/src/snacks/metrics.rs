//! What snacks count and measure. What each means stands in `docs/metrics.md` too, which a test holds to this list.

use quadrille::metrics::Metric;

/// Orders taken for the first time.
pub const ORDERS_CREATED: Metric = Metric::count("OrdersCreated");
/// Orders that the kitchen made.
pub const ORDERS_PROCESSED: Metric = Metric::count("OrdersProcessed");
/// Orders cancelled before they were made.
pub const ORDERS_CANCELLED: Metric = Metric::count("OrdersCancelled");
/// From an order's arrival to the end of its processing: from NEW to PROCESSED.
pub const CREATED_TO_PROCESSED: Metric = Metric::milliseconds("CreatedToProcessed");

/// All of them.
pub const ALL: [Metric; 4] = [ORDERS_CREATED, ORDERS_PROCESSED, ORDERS_CANCELLED, CREATED_TO_PROCESSED];
