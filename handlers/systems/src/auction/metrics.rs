//! What the auction counts and measures. What each means stands in `docs/metrics.md` too, which a test holds to this list.

use quadrille::metrics::Metric;

/// Orders stored for the first time.
pub const ORDERS_RECEIVED: Metric = Metric::count("OrdersReceived");
/// Orders withdrawn before a run took them.
pub const ORDERS_WITHDRAWN: Metric = Metric::count("OrdersWithdrawn");
/// Orders decided as accepted.
pub const ORDERS_ACCEPTED: Metric = Metric::count("OrdersAccepted");
/// Orders decided as rejected.
pub const ORDERS_REJECTED: Metric = Metric::count("OrdersRejected");
/// Orders whose decision is missing or of an unknown status.
pub const ORDERS_UNDECIDABLE: Metric = Metric::count("OrdersUndecidable");
/// Orders filed in the bucket.
pub const ORDERS_STORED: Metric = Metric::count("OrdersStored");
/// Asks whether the platform has decided, those it answered among them.
pub const POLLS: Metric = Metric::count("Polls");
/// Asks that were answered "not ready".
pub const POLLS_NOT_READY: Metric = Metric::count("PollsNotReady");
/// From an order's arrival to its decision.
pub const RECEIVED_TO_DECIDED: Metric = Metric::milliseconds("ReceivedToDecided");
/// From an order's arrival to its result being filed.
pub const RECEIVED_TO_STORED: Metric = Metric::milliseconds("ReceivedToStored");

/// All of them.
pub const ALL: [Metric; 10] = [
    ORDERS_RECEIVED,
    ORDERS_WITHDRAWN,
    ORDERS_ACCEPTED,
    ORDERS_REJECTED,
    ORDERS_UNDECIDABLE,
    ORDERS_STORED,
    POLLS,
    POLLS_NOT_READY,
    RECEIVED_TO_DECIDED,
    RECEIVED_TO_STORED,
];
