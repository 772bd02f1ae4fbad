//! The checkout: an order is validated, its stock reserved, and paid. Then it is completed; or it has failed, and what was done
//! for it is undone.

mod demo;
pub mod events;
pub mod fail;
pub mod gateway;
mod infrastructure;
pub mod intake;
pub mod metrics;
pub mod pay;
pub mod products;
#[cfg(feature = "sim")]
mod properties;
pub mod stock;
pub mod validate;

use events::{OrderEnded, PaymentDue};
use gateway::PaymentGateway;
use quadrille::{
    Backlog, Backoff, Budget, Choreography, Consumer, Definition, Route, System, Table, Uses, Workload,
    domain::checkout::{OUT_OF_STOCK, Order, OrderStatus, Product, StockPart},
    infrastructure::Infrastructure,
    system::{Demo, Meaning, Word},
};
use std::time::Duration;

/// The topic that alarms go to.
pub const ALERTS: &str = "alerts";

/// The topic that is told of every order that has ended.
pub const NOTIFICATIONS: &str = "order-notifications";

/// The queue that others write orders to.
pub const ORDERS: &str = "orders";

/// The fields of an order that its users see as attributes of its item.
const SHOWN_OF_AN_ORDER: [&str; 9] = [
    "orderStatus",
    "validationResult",
    "paymentResult",
    "paymentTransactionId",
    "errorReason",
    "errorCause",
    "userId",
    "createdAt",
    "updatedAt",
];

/// Attempts of a step that has to get through. With the waits between them they outlast an outage of an hour and a half.
const LASTING: u32 = 24;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

/// Validation is tried again three times where a service fails, after these waits.
const VALIDATION_WAITS: [Duration; 3] =
    [Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(8)];

/// Payment is tried again twice.
const PAYMENT_WAITS: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(4)];

/// The checkout as a system.
#[derive(Clone, Copy, Debug)]
pub struct Checkout;

impl System for Checkout {
    fn name(&self) -> &'static str {
        "checkout"
    }

    fn about(&self) -> &'static str {
        "An order is validated, its stock reserved, and paid: it is completed, or fails and leaves nothing behind."
    }

    fn define(&self) -> Definition {
        let definition = Choreography::define(self.name())
            .table(orders())
            .table(Table::new("products").holds::<Product>().holds::<StockPart>())
            .bucket(gateway::PAYMENTS_BUCKET)
            .service(gateway::service());
        let definition = gateway::settings().into_iter().fold(definition, Definition::setting);
        let definition = failing(paying(validating(routes(definition))));
        definition.topic(NOTIFICATIONS).publish::<OrderEnded>(NOTIFICATIONS).notify_by(ALERTS)
    }

    fn infrastructure<'a>(&self, infrastructure: Infrastructure<'a>) -> Infrastructure<'a> {
        infrastructure::infrastructure(infrastructure)
    }

    fn dead_letter_queue(&self) -> Option<&'static str> {
        Some("process-payment-dlq")
    }

    fn words(&self) -> Vec<Word> {
        words()
    }

    fn demo(&self) -> Option<Box<dyn Demo>> {
        Some(Box::new(demo::CheckoutDemo))
    }

    #[cfg(feature = "sim")]
    fn properties(&self) -> Vec<quadrille::sim::Property> {
        properties::properties()
    }
}

/// The table of orders. A trail tells what each step was given and what came of it: the picture of an execution.
fn orders() -> Table {
    let table = Table::new("orders").holds::<Order>().key_attribute("orderId").bare_keys();
    table.shows(SHOWN_OF_AN_ORDER).keeps_details()
}

fn routes(definition: Definition) -> Definition {
    definition
        .route(
            Route::post("/orders", "create_order", intake::create_order)
                .backlog(Backlog::new())
                .uses(Uses::new().gets_one::<Order>().commits_one::<Order>())
                .workload(Workload::new().reads(0).time(Duration::from_millis(20))),
        )
        .route(
            Route::get("/orders/{orderId}", "get_order", intake::get_order)
                .uses(Uses::new().gets_one::<Order>()),
        )
        .route(
            Route::put("/products/{productId}", "put_product", products::put_product)
                .uses(Uses::new().gets_one::<Product>().commits_one::<Product>()),
        )
        .route(
            Route::get("/products/{productId}", "get_product", products::get_product)
                .uses(Uses::new().gets_one::<Product>().gets::<StockPart>()),
        )
}

/// From the queue of others to an order that holds its stock.
fn validating(definition: Definition) -> Definition {
    definition
        .on(Consumer::new("receive_order", intake::receive_order)
            .queue(ORDERS)
            .from_outside(intake::decode)
            .batch(100, SECOND)
            .concurrency(100)
            .workers(2)
            // Nothing else can tell of an order that is not taken in: it waits for its table.
            .attempts(LASTING, lasting())
            .workload(Workload::new().time(Duration::from_millis(200))))
        .on(Consumer::new("validate_order", validate::validate_order)
            .queue("validate-order")
            .batch(100, SECOND)
            // No more orders at once than a hot product's stock has parts: they would only lose races.
            .concurrency(16)
            .workers(2)
            .attempts(4, VALIDATION_WAITS)
            .business_ends([validate::VALIDATION_FAILED, OUT_OF_STOCK])
            .on_given_up(fail::not_validated)
            .uses(Uses::new().gets::<Product>().gets::<StockPart>().commits::<StockPart>())
            .workload(Workload::new().time(Duration::from_millis(400))))
}

fn paying(definition: Definition) -> Definition {
    definition.on(Consumer::new("process_payment", pay::process_payment)
        .queue("process-payment")
        .batch(100, SECOND)
        .concurrency(100)
        .workers(4)
        .attempts(3, PAYMENT_WAITS)
        .gives_up_early()
        .business_ends([pay::PAYMENT_DECLINED])
        .on_given_up(fail::not_paid)
        // A payment that is pending is asked for again.
        .budget(Budget { deadline: HOUR, hops: 1_000 })
        .uses(Uses::new().service::<dyn PaymentGateway>().emits_later::<PaymentDue>())
        .workload(Workload::new().time(Duration::from_millis(800))))
}

/// The way of an order that was given up: decided first, then undone.
fn failing(definition: Definition) -> Definition {
    definition
        .on(Consumer::new("fail_order", fail::fail_order)
            .queue("fail-order")
            .batch(100, SECOND)
            .concurrency(100)
            .attempts(LASTING, lasting()))
        .on(Consumer::new("return_stock", stock::return_stock)
            .queue("return-stock")
            .batch(100, SECOND)
            .concurrency(16)
            .attempts(LASTING, lasting())
            .uses(Uses::new().gets::<StockPart>().changes::<StockPart>()))
        .on(Consumer::new("void_payment", pay::void_payment)
            .queue("void-payment")
            .batch(100, SECOND)
            .concurrency(100)
            .attempts(LASTING, lasting())
            .uses(Uses::new().service::<dyn PaymentGateway>()))
}

/// The waits of a step that has to get through: up to a quarter of an hour.
fn lasting() -> Backoff {
    Backoff { max: Duration::from_secs(900), ..Backoff::default() }
}

/// What `orders --status` takes.
const STATUSES: [&str; 4] = [
    OrderStatus::Pending.as_str(),
    OrderStatus::Validated.as_str(),
    OrderStatus::Completed.as_str(),
    OrderStatus::Failed.as_str(),
];

fn words() -> Vec<Word> {
    vec![
        Word {
            name: "post",
            about: "Posts an order from a file, or from standard input (`-`); of an array, each",
            example: "post checkout order.json",
            means: Meaning::Send {
                step: "create_order",
                elements_max: None,
                outcomes: &["stored", "unchanged", "conflict"],
                refused: Some("conflict"),
            },
        },
        Word {
            name: "orders",
            about: "Lists orders",
            example: "orders checkout --status FAILED --limit 20",
            means: Meaning::List {
                kind: "order",
                statuses: &STATUSES,
                fields: &["orderId", "orderStatus", "errorReason", "paymentTransactionId", "updatedAt"],
            },
        },
        Word {
            name: "product",
            about: "Tells of a product, and how many units of it are left",
            example: "product checkout lamp",
            means: Meaning::Ask { step: "get_product", parameter: "productId" },
        },
    ]
}
