//! What the checkout counts and measures. What each means stands in `docs/metrics.md` too, which a test holds to this list.

use quadrille::metrics::Metric;

/// Orders taken in for the first time.
pub const ORDERS_TAKEN_IN: Metric = Metric::count("OrdersTakenIn");
/// Orders found invalid, those that are out of stock among them.
pub const ORDERS_INVALID: Metric = Metric::count("OrdersInvalid");
/// Orders paid and completed.
pub const ORDERS_COMPLETED: Metric = Metric::count("OrdersCompleted");
/// Orders failed, for whatever reason.
pub const ORDERS_FAILED: Metric = Metric::count("OrdersFailed");
/// Payments that the gateway declined.
pub const PAYMENTS_DECLINED: Metric = Metric::count("PaymentsDeclined");
/// Payments of failed orders that were paid back.
pub const PAYMENTS_REFUNDED: Metric = Metric::count("PaymentsRefunded");
/// Failed orders whose stock was given back.
pub const STOCK_RETURNED: Metric = Metric::count("StockReturned");
/// Races lost for a part of a stock: how hot a product is.
pub const STOCK_RACES_LOST: Metric = Metric::count("StockRacesLost");
/// From an order's arrival to its end.
pub const TAKEN_IN_TO_ENDED: Metric = Metric::milliseconds("TakenInToEnded");

/// All of them.
pub const ALL: [Metric; 9] = [
    ORDERS_TAKEN_IN,
    ORDERS_INVALID,
    ORDERS_COMPLETED,
    ORDERS_FAILED,
    PAYMENTS_DECLINED,
    PAYMENTS_REFUNDED,
    STOCK_RETURNED,
    STOCK_RACES_LOST,
    TAKEN_IN_TO_ENDED,
];
