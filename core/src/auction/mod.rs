//! The shared order and result types of the auction. The only module of the library that knows it; its handlers
//! live in `handlers/systems`.

mod batch;
mod number;
mod order;

pub use batch::{
    BODY_BYTES_MAX, FAULTS_MAX, Fault, FaultCode, NewOrder, ORDERS_PER_REQUEST_MAX, PARAMETER_1_BYTES_MAX,
    RECORD_ID_BYTES_MAX, parse_orders,
};
pub use number::{
    NUMBER_BYTES_MAX, NUMBER_DIGITS_MAX, NUMBER_EXPONENT_MAX, NUMBER_EXPONENT_MIN, Number, NumberError,
};
pub use order::{OPEN_SHARDS, Order, OrderResult, OrderStatus, open_partition, result_key};
