//! Snacks: an order is taken and told to an event bus, the kitchen makes it, and people are told.

mod demo;
mod infrastructure;
pub mod kitchen;
pub mod metrics;
pub mod orders;
pub mod processing;
#[cfg(feature = "sim")]
mod properties;

use async_trait::async_trait;
use kitchen::Kitchen;
use processing::{OrderProcessed, process_order};
use quadrille::{
    Backlog, Backoff, Choreography, Consumer, Definition, Route, System, Table, Uses, Workload,
    choreography::{Bus, Rule},
    domain::snacks::{Order, OrderStatus},
    infrastructure::Infrastructure,
    system::{Demo, Meaning, Word},
};
use std::time::Duration;

/// The event bus that orders are told to, by the name that its users know.
pub const ORDERS_BUS: &str = "serverless-snacks-orders";

/// The topic of those who are told that an order is processed.
pub const PROCESSED: &str = "order-processed";

/// The topic that alarms go to.
pub const ALERTS: &str = "alerts";

/// The queue behind the rule of the processor.
pub const PROCESSOR: &str = "order-processor";

/// Attempts at an order: the first, and two more.
pub const ATTEMPTS: u32 = 3;

/// What a person sees of an item beside its key, `orderId`.
const SHOWN: [&str; 8] = [
    "status",
    "customerName",
    "snackItems",
    "totalAmount",
    "createdAt",
    "updatedAt",
    "processedAt",
    "cancelledAt",
];

/// Snacks as a system.
#[derive(Clone, Copy, Debug)]
pub struct Snacks;

#[async_trait]
impl System for Snacks {
    fn name(&self) -> &'static str {
        "snacks"
    }

    fn about(&self) -> &'static str {
        "An order is told to an event bus, the kitchen makes it unless it is cancelled, and people are told."
    }

    fn define(&self) -> Definition {
        define()
    }

    fn infrastructure<'a>(&self, infrastructure: Infrastructure<'a>) -> Infrastructure<'a> {
        infrastructure::infrastructure(infrastructure)
    }

    fn dead_letter_queue(&self) -> Option<&'static str> {
        Some("order-processor-dlq")
    }

    fn words(&self) -> Vec<Word> {
        words()
    }

    fn demo(&self) -> Option<Box<dyn Demo>> {
        Some(Box::new(demo::SnacksDemo))
    }

    #[cfg(feature = "sim")]
    fn properties(&self) -> Vec<quadrille::sim::Property> {
        properties::properties()
    }
}

fn define() -> Definition {
    let table = Table::new("orders")
        .physical_name("Orders")
        .key_attribute("orderId")
        .bare_keys()
        .shows(SHOWN)
        .variable("ORDERS_TABLE_NAME")
        .holds::<Order>();
    let definition = Choreography::define("snacks")
        .table(table)
        .bus(Bus::new(ORDERS_BUS).physical_name(ORDERS_BUS).variable("EVENT_BUS_NAME"))
        .topic(PROCESSED)
        .service(kitchen::service());
    kitchen::settings()
        .into_iter()
        .fold(definition, Definition::setting)
        .route(
            Route::post("/orders", "order_creator", orders::create_order)
                .physical_name("order-creator")
                .backlog(Backlog::new())
                .uses(Uses::new().gets_one::<Order>().commits_one::<Order>())
                .workload(Workload::new().reads(0).time(Duration::from_millis(20))),
        )
        .route(
            Route::get("/orders/{orderId}", "get_order", orders::get_order)
                .uses(Uses::new().gets_one::<Order>()),
        )
        .route(
            Route::post("/orders/{orderId}/cancel", "cancel_order", orders::cancel_order)
                .uses(Uses::new().gets_one::<Order>().commits_one::<Order>())
                .cancels::<Order>(),
        )
        .on(Consumer::new("order_processor", process_order)
            .physical_name("order-processor")
            .queue(PROCESSOR)
            .from_bus(ORDERS_BUS, Rule::new())
            // While some wait for the disk, others work.
            .workers(8)
            .attempts(ATTEMPTS, Backoff::default())
            .uses(Uses::new().service::<dyn Kitchen>())
            .workload(Workload::new().time(Duration::from_millis(200))))
        .publish::<OrderProcessed>(PROCESSED)
        .notify_by(ALERTS)
}

/// What `orders --status` takes.
const STATUSES: [&str; 3] =
    [OrderStatus::New.as_str(), OrderStatus::Processed.as_str(), OrderStatus::Cancelled.as_str()];

fn words() -> Vec<Word> {
    vec![
        Word {
            name: "post",
            about: "Posts the order of a file, or of standard input (`-`); of a JSON array of any length each order by itself",
            example: "post orders.json",
            means: Meaning::Send {
                step: "order_creator",
                elements_max: None,
                outcomes: &["created", "unchanged", "conflict"],
                refused: Some("conflict"),
            },
        },
        Word {
            name: "orders",
            about: "Lists orders, without who ordered",
            example: "orders --status NEW --limit 20",
            means: Meaning::List {
                kind: "order",
                statuses: &STATUSES,
                fields: &["orderId", "status", "totalAmount", "createdAt", "processedAt", "cancelledAt"],
            },
        },
        Word {
            name: "trace",
            about: "Tells what happened to an order: what, when, which handler, which attempt, waiting for what until when",
            example: "trace 0190163d-8694-539c-aa5f-36b0ab2ee8ea",
            means: Meaning::Trace {
                kind: "order",
                fields: &["orderId", "status", "createdAt", "processedAt", "cancelledAt"],
            },
        },
    ]
}
