//! What the auction counts and measures. What each means stands in `docs/metrics.md` too, which a test holds to this list.

use quadrille::metrics::Metric;

/// Orders stored for the first time.
pub const ORDERS_RECEIVED: Metric = Metric::count("OrdersReceived");
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
pub const ALL: [Metric; 9] = [
    ORDERS_RECEIVED,
    ORDERS_ACCEPTED,
    ORDERS_REJECTED,
    ORDERS_UNDECIDABLE,
    ORDERS_STORED,
    POLLS,
    POLLS_NOT_READY,
    RECEIVED_TO_DECIDED,
    RECEIVED_TO_STORED,
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_documentation_names_every_metric_with_its_unit() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
        let text = std::fs::read_to_string(path).unwrap();
        let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
        let documented: BTreeMap<&str, &str> =
            rows.filter_map(|(name, rest)| Some((name, rest.split_once(" |")?.0))).collect();
        let declared: BTreeMap<&str, &str> = quadrille::metrics::ALL
            .into_iter()
            .chain(ALL)
            .map(|metric| (metric.name(), metric.unit().as_str()))
            .collect();
        assert_eq!(documented, declared);
        assert_eq!(declared.len(), quadrille::metrics::ALL.len() + ALL.len(), "a name used twice");
    }
}
