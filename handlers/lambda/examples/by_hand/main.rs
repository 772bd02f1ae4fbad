//! The steps of the four systems, written by hand: against the SDK of AWS and the runtime of Lambda, without this library.
//!
//! It is there to be read and counted. `docs/systems.md` shows the lines of each step beside those of the same step on the library,
//! and a test counts both. Nothing deploys it: no table, queue or role is defined for it. Lints compile it, and no ordinary test.
//!
//! A step is a module, and `shared` is what any of them needs. It is meant to be what a good engineer would write: whoever knows how
//! a step gets shorter and still keeps its promises, changes it here.
//!
//! It keeps the promises that the steps on the library keep: all faults of a request are told, a repeated request is the same order,
//! and every write is conditional. A message is written with its state and sent by a relay. In a batch each message has its own end.
//! It is tried again after a wait; or it is a dead letter with its reason, noted in its item's history, and followed. A panic fails one
//! message. No line of the log is about a person.
//!
//! It does less than the library in these ways, each of which would take further lines:
//!
//! - a history tells what happened, when and by which step, and neither its attempt nor what it was given and took;
//! - there are no correlation ids and no traces, and the relay's records that nobody can read wait for the mapping to give them up;
//! - a record of the stream that fails for a passing reason is not counted: after Lambda's own attempts it is in the mapping's
//!   dead-letter queue without a reason;
//! - a message that waits longer than 15 minutes comes after these;
//! - many items are one request each, not 25 in a request;
//! - secrets come from the environment, and nothing is there to run it on one machine, to list, trace or redrive.
//!
//! Both ways use the same pure types and rules, which are counted in neither: the orders of `quadrille::domain`, `Entity`, the reader
//! of requests in `quadrille::input`, `Decimal`, `Timestamp` and `Failure`, and the services of others (kitchen, gateway, platform).
// The compiler counts how deep the futures of the steps lie in each other.
#![recursion_limit = "256"]

mod auction;
mod checkout;
mod orders;
mod shared;
mod snacks;

use lambda_runtime::Error;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    match shared::variable("STEP")?.as_str() {
        "relay" => shared::relay::run().await,
        "auction/post_orders" => auction::post_orders::run().await,
        "auction/get_order" => auction::get_order::run().await,
        "auction/poll_auction" => auction::poll_auction::run().await,
        "auction/store_result" => auction::store_result::run().await,
        "auction/withdraw_order" => auction::withdraw_order::run().await,
        "snacks/order_creator" => snacks::order_creator::run().await,
        "snacks/order_processor" => snacks::order_processor::run().await,
        "snacks/get_order" => snacks::get_order::run().await,
        "snacks/cancel_order" => snacks::cancel_order::run().await,
        "orders/create_order" => orders::create_order::run().await,
        "orders/get_order" => orders::get_order::run().await,
        "orders/process_order" => orders::process_order::run().await,
        "checkout/create_order" => checkout::create_order::run().await,
        "checkout/fail_order" => checkout::fail_order::run().await,
        "checkout/get_order" => checkout::get_order::run().await,
        "checkout/get_product" => checkout::get_product::run().await,
        "checkout/process_payment" => checkout::process_payment::run().await,
        "checkout/put_product" => checkout::put_product::run().await,
        "checkout/receive_order" => checkout::receive_order::run().await,
        "checkout/return_stock" => checkout::return_stock::run().await,
        "checkout/validate_order" => checkout::validate_order::run().await,
        "checkout/void_payment" => checkout::void_payment::run().await,
        other => Err(format!("there is no step {other}").into()),
    }
}
