//! Orders: an order is taken, processed straight from the table's stream, and a topic tells of it.

mod create;
mod demo;
mod infrastructure;
pub mod metrics;
mod process;
#[cfg(feature = "sim")]
mod properties;

pub use create::{OrderCreated, create_order, get_order};
pub use process::{OrderProcessed, process_order};

use async_trait::async_trait;
use quadrille::{
    Backlog, Backoff, Choreography, Consumer, Definition, Route, Setting, System, Table, Uses, Workload,
    choreography::Topic,
    domain::orders::{Order, OrderStatus},
    infrastructure::Infrastructure,
    system::{Demo, FieldKind, FormField, Meaning, Word},
};
use std::time::Duration;

/// The topic that tells of processed orders.
pub const NOTIFICATIONS: &str = "order-notifications";

/// The dead-letter queue of the orders that can't be processed.
pub const DEAD_LETTERS: &str = "orders-dlq";

/// The setting of how many days an order is kept.
pub const TTL_DAYS: &str = "ttl_days";

/// The topic that alarms go to.
pub const ALERTS: &str = "alerts";

/// Memory of a function, in MB: as its users know it.
const MEMORY: u32 = 256;

/// The system of orders.
#[derive(Clone, Copy, Debug)]
pub struct Orders;

#[async_trait]
impl System for Orders {
    fn name(&self) -> &'static str {
        "orders"
    }

    fn about(&self) -> &'static str {
        "Orders are taken, processed straight from the table's stream, and told of by a topic."
    }

    fn define(&self) -> Definition {
        define()
    }

    fn infrastructure<'a>(&self, infrastructure: Infrastructure<'a>) -> Infrastructure<'a> {
        infrastructure::infrastructure(infrastructure)
    }

    fn dead_letter_queue(&self) -> Option<&'static str> {
        Some(DEAD_LETTERS)
    }

    fn words(&self) -> Vec<Word> {
        words()
    }

    fn demo(&self) -> Option<Box<dyn Demo>> {
        Some(Box::new(demo::OrdersDemo::default()))
    }

    #[cfg(feature = "sim")]
    fn properties(&self) -> Vec<quadrille::sim::Property> {
        properties::properties()
    }
}

fn define() -> Definition {
    let table = Table::new("orders")
        .holds::<Order>()
        .physical_name("techtest-orders")
        .key_attribute("order_id")
        .bare_keys()
        .shows(["status", "customer", "email", "items", "amount", "created_at", "processed_at"])
        .variable("TABLE_NAME");
    let days = Setting::integer(TTL_DAYS).within(1..=3_650).default("7").variable("TTL_DAYS");
    Choreography::define("orders")
        .table(table)
        .setting(days.help("For how many days an order is kept."))
        .topic(Topic::new(NOTIFICATIONS).physical_name("techtest-order-notifications").variable("TOPIC_ARN"))
        .route(
            Route::post("/orders", "create_order", create_order)
                .physical_name("techtest-create-order")
                .timeout(Duration::from_secs(30))
                .memory(MEMORY)
                .backlog(Backlog::new())
                .uses(Uses::new().gets_one::<Order>().commits_one::<Order>().setting(TTL_DAYS))
                .workload(Workload::new().reads(0).time(Duration::from_millis(20))),
        )
        .route(
            Route::get("/orders/{order_id}", "get_order", get_order)
                .physical_name("techtest-get-order")
                .memory(MEMORY)
                .uses(Uses::new().gets_one::<Order>()),
        )
        .on(Consumer::new("process_order", process_order)
            .physical_name("techtest-process-order")
            .from_stream("orders")
            .queue("orders-process")
            .queue_physical_name("techtest-orders-process")
            .dead_letter_queue(DEAD_LETTERS)
            .dead_letter_queue_physical_name("techtest-orders-dlq")
            .batch(10, Duration::ZERO)
            .attempts(4, Backoff::default())
            .workers(4)
            .timeout(Duration::from_secs(60))
            .memory(MEMORY)
            .workload(Workload::new().time(Duration::from_millis(100))))
        .publish::<OrderProcessed>(NOTIFICATIONS)
        .notify_by(ALERTS)
}

/// What `orders --status` takes.
const STATUSES: [&str; 2] = [OrderStatus::New.as_str(), OrderStatus::Processed.as_str()];

/// What `create` asks for.
const FIELDS: [FormField; 5] = [
    FormField { name: "idempotency_key", help: "your own name for this order", kind: FieldKind::Key },
    FormField { name: "customer", help: "the customer's name", kind: FieldKind::Text },
    FormField { name: "email", help: "the customer's e-mail address", kind: FieldKind::Text },
    FormField { name: "items", help: "what is ordered", kind: FieldKind::Rows(&ITEM) },
    FormField { name: "amount", help: "what it comes to", kind: FieldKind::Number },
];

const ITEM: [FormField; 3] = [
    FormField { name: "product", help: "product", kind: FieldKind::Text },
    FormField { name: "quantity", help: "quantity", kind: FieldKind::Number },
    FormField { name: "price", help: "price of one", kind: FieldKind::Number },
];

fn words() -> Vec<Word> {
    let fields = &["order_id", "status", "amount", "created_at", "processed_at"];
    vec![
        Word {
            name: "create",
            about: "Creates an order: asks field by field, or takes what the options say",
            example: "create --customer Anna --email anna@example.org --items tea,2,1.50 --amount 3",
            means: Meaning::Form { step: "create_order", fields: &FIELDS },
        },
        Word {
            name: "orders",
            about: "Lists orders, without their customers; with --watch, goes on showing those that change",
            example: "orders --watch",
            means: Meaning::List { kind: "order", statuses: &STATUSES, fields },
        },
        Word {
            name: "notifications",
            about: "Shows what the topic told of processed orders; with --watch, goes on",
            example: "notifications --watch",
            means: Meaning::Published { outlet: NOTIFICATIONS },
        },
    ]
}
