//! What is sold: put up for sale, and told of.

use quadrille::{
    Committed, Context, Failure, Stored,
    domain::checkout::{ID_BYTES_MAX, PARTS_MAX, PRODUCT_BODY_BYTES_MAX, Product, StockPart, new_product},
    http::{Problem, Request, Response},
    input::read_request,
    limits::COMMIT_RACES_MAX,
};
use serde::Serialize;

/// `PUT /products/{productId}`: puts a product up for sale, or changes its price, its name, or its stock, which only grows: it
/// is all units that were ever put up. `200` with the product; `409` where there would be less stock.
///
/// # Errors
/// A [`Failure`] of the table: answered with 503, and safe to send again.
pub async fn put_product(request: Request, cx: Context<()>) -> Result<Response, Failure> {
    let mut product = match read_request(&request, "product", PRODUCT_BODY_BYTES_MAX, new_product) {
        Ok(product) => product,
        Err(problem) => return Ok(problem.into()),
    };
    request.parameter("productId").clone_into(&mut product.product_id);
    let id = &product.product_id;
    if id.is_empty() || id.len() > ID_BYTES_MAX || id.contains(char::is_control) {
        let detail = format_args!("a productId has 1 to {ID_BYTES_MAX} bytes without control characters");
        return Ok(Problem::new(400, "invalid_product_id", detail).into());
    }
    for _ in 0..=COMMIT_RACES_MAX {
        let there = cx.get_one::<Product>(&product.product_id).await?;
        let commit = match there {
            Some(there) if there.stock > product.stock => {
                let detail = "`stock` is all units that were ever put up for sale, and only grows";
                return Ok(Problem::new(409, "less_stock", detail).with("stock", there.stock).into());
            }
            Some(there) if *there == product => return Ok(Response::json(200, &product)),
            Some(mut there) => {
                *there = product.clone();
                there.commit("changed")
            }
            None => Stored::new(product.clone()).commit("put up for sale"),
        };
        if cx.commit(commit).await? == Committed::Applied {
            return Ok(Response::json(200, &product));
        }
    }
    Err(Failure::transient("conflict", "others keep changing this product"))
}

/// A product, and how many units of it are left.
#[derive(Serialize)]
struct OnSale<'a> {
    #[serde(flatten)]
    product: &'a Product,
    available: u64,
}

/// `GET /products/{productId}`: the product, and how many units of it are `available` now; or 404.
///
/// # Errors
/// A [`Failure`] of the table.
pub async fn get_product(request: Request, cx: Context<()>) -> Result<Response, Failure> {
    let id = request.parameter("productId");
    let Some(product) = cx.get_one::<Product>(id).await? else {
        return Ok(Problem::new(404, "no_such_product", "no product has this id").into());
    };
    let ids: Vec<String> = (0..PARTS_MAX).map(|part| StockPart::id_of(id, part)).collect();
    let parts = cx.get::<StockPart>(&ids).await?;
    let taken: u64 = parts.into_iter().flatten().map(|part| part.taken).sum();
    let available = product.stock.saturating_sub(taken);
    Ok(Response::json(200, &OnSale { product: &product, available }))
}
