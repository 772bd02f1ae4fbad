//! Mistakes that can be planted in the systems, where a programmer would make them: a simulation has to find each.

/// All of them: the system, the name under which it is planted, and what is wrong then.
pub const PLANTED: &[(&str, &str, &str)] = &[
    (
        "auction",
        "object_key_from_clock",
        "The key of a result has the time of its filing, and not of its decision.",
    ),
    (
        "auction",
        "run_id_from_clock",
        "A run is named after the time of its first round, and not of its kickoff.",
    ),
    ("auction", "orders_before_page", "A run takes its orders before it writes down which."),
    (
        "auction",
        "stale_page_believed",
        "An order that the index lists as open is taken, though another run has it.",
    ),
    (
        "auction",
        "wrong_ttl",
        "An order expires at the deadline of the run that has it, before another can take it over.",
    ),
    ("auction", "page_cursor_lost", "Of a platform's answer only the first page is read."),
    ("auction", "decision_overwritten", "A decision is written over an earlier one."),
    ("auction", "object_from_clock", "A result tells the time of its filing, and not of its decision."),
    (
        "auction",
        "withdrawn_order_taken",
        "An order that was withdrawn is taken by a run that had it on its list.",
    ),
    ("snacks", "cancelled_order_processed", "An order is made though it is cancelled."),
    ("orders", "processed_again", "An order that is told of twice is processed twice."),
    ("orders", "panics_when_redelivered", "A handler panics on an order that comes again."),
    ("checkout", "payment_without_key", "Each attempt at a payment has a key of its own."),
    (
        "checkout",
        "hold_without_check",
        "After a lost race, stock is held without another look at what is left.",
    ),
    ("checkout", "compensation_forgotten_on_crash", "Stock is not given back where a process died."),
    ("checkout", "refund_forgotten", "A payment that nobody knows of is not undone."),
];
