//! Validation: whether an order can be sold, and its stock reserved.

use super::{
    events::{OrderReceived, PaymentDue},
    metrics::ORDERS_INVALID,
    stock::{Taken, take},
};
use quadrille::{
    Committed, Context, Failure, Handled, Outcome, Stored,
    domain::checkout::{
        OUT_OF_STOCK, Order, OrderStatus, Product, Reservation, ValidationError, ValidationResult,
    },
};
use std::collections::BTreeMap;

type Emits = (PaymentDue,);

/// The reason of the failure for an order that can't be sold as it is.
pub const VALIDATION_FAILED: &str = "validation_failed";

/// Finds out whether an order can be sold: its products are there, its prices are theirs, its total is exact, and there is
/// stock, which it then holds.
///
/// # Errors
/// [`VALIDATION_FAILED`] and [`OUT_OF_STOCK`] where it can't, an end like any other; transient failures of the tables.
pub async fn validate_order(
    mut order: Stored<Order>,
    event: OrderReceived,
    cx: Context<Emits>,
) -> Outcome<Emits> {
    if order.order_status != OrderStatus::Pending {
        return Ok(Handled::already("validated"));
    }
    if !order.errors().is_empty() {
        return Err(refusal(order.errors()));
    }
    let errors = match held(&order, &cx).await? {
        Held::All(reservations) => {
            order.reservations = reservations;
            order.order_status = OrderStatus::Validated;
            order.validation_result = Some(result(Vec::new(), &cx));
            order.updated_at = cx.now();
            let due = PaymentDue { order_id: event.order_id, asks: 0 };
            return Ok(order.commit("validated, its stock reserved").emit(due).into());
        }
        Held::Not(errors) => errors,
        Held::Decided => return Ok(Handled::already("validated meanwhile")),
    };
    // Recorded, then failed: who gives it up is told of the reason, and its users of each error.
    let refused = refusal(&errors);
    order.validation_result = Some(result(errors, &cx));
    order.updated_at = cx.now();
    match cx.commit(order.commit("found invalid").measure(ORDERS_INVALID, 1.0)).await? {
        Committed::Applied => Err(refused),
        Committed::Conflict => Err(Failure::transient("conflict", "the order changed meanwhile")),
    }
}

fn result(errors: Vec<ValidationError>, cx: &Context<Emits>) -> ValidationResult {
    ValidationResult { is_valid: errors.is_empty(), errors, validated_at: cx.now() }
}

/// The failure of an order with these errors: by their codes, for what they say is the order's content.
fn refusal(errors: &[ValidationError]) -> Failure {
    let codes: Vec<&str> = errors.iter().map(|error| error.code.as_ref()).collect();
    let is_stock = codes.iter().all(|code| *code == OUT_OF_STOCK);
    Failure::permanent(if is_stock { OUT_OF_STOCK } else { VALIDATION_FAILED }, codes.join(", "))
}

/// What an order holds of the stock.
enum Held {
    All(Vec<Reservation>),
    /// It can't be sold. What it took of other products before that was known is given back once it has failed.
    Not(Vec<ValidationError>),
    /// Another message of the order was faster.
    Decided,
}

async fn held(order: &Order, cx: &Context<Emits>) -> Result<Held, Failure> {
    let wanted = order.wanted();
    let ids: Vec<&str> = wanted.keys().copied().collect();
    let found = cx.get::<Product>(&ids).await?;
    let products: BTreeMap<&str, &Product> =
        ids.iter().zip(&found).filter_map(|(id, product)| Some((*id, &**product.as_ref()?))).collect();
    let by_item: Vec<Option<&Product>> =
        order.items.iter().map(|item| products.get(item.product_id.as_str()).copied()).collect();
    let errors = order.faults(&by_item);
    if !errors.is_empty() {
        return Ok(Held::Not(errors));
    }
    let mut reservations = Vec::new();
    for (id, (units, at)) in wanted {
        let Some(product) = products.get(id) else { continue };
        match take(cx, &order.order_id, product, units).await? {
            Taken::All(taken) => reservations.extend(taken),
            Taken::Short => {
                let pointer = format!("/items/{at}/quantity");
                let message = "there are not as many units left";
                return Ok(Held::Not(vec![ValidationError::new(pointer, OUT_OF_STOCK, message)]));
            }
            Taken::Decided => return Ok(Held::Decided),
        }
    }
    Ok(Held::All(reservations))
}
