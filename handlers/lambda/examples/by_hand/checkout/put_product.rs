//! `PUT /products/{productId}`: puts a product up for sale, or changes it; its stock only grows.

use crate::shared::{Answer, Item, Request, Table, config, serve};
use lambda_runtime::Error;
use quadrille::{
    Failure,
    domain::checkout::{ID_BYTES_MAX, PRODUCT_BODY_BYTES_MAX, Product, new_product},
};
use serde_json::json;

/// How often it looks anew where it lost a race.
const RACES_MAX: usize = 5;

pub async fn run() -> Result<(), Error> {
    let products = Table::new(&config().await, "PRODUCTS_TABLE_NAME", "key")?;
    serve(async |request| put(&products, request).await).await
}

async fn put(products: &Table, request: Request) -> Result<Answer, Failure> {
    let mut product = match request.read("product", PRODUCT_BODY_BYTES_MAX, new_product)? {
        Ok(product) => product,
        Err(refused) => return Ok(refused),
    };
    request.parameter("productId").clone_into(&mut product.product_id);
    let id = &product.product_id;
    if id.is_empty() || id.len() > ID_BYTES_MAX || id.contains(char::is_control) {
        let detail = format!("a productId has 1 to {ID_BYTES_MAX} bytes without control characters");
        return Answer::problem(400, "invalid_product_id", &detail);
    }
    for _ in 0..=RACES_MAX {
        let (item, what) = match products.get::<Product>(&product.product_id).await? {
            Some(there) if there.stock > product.stock => {
                let detail = "`stock` is all units that were ever put up for sale, and only grows";
                return Answer::problem_with(409, "less_stock", detail, json!({ "stock": there.stock }));
            }
            Some(there) if *there == product => return Answer::json(200, &product),
            Some(there) => (Item { state: product.clone(), ..there }, "changed"),
            None => (Item::new(product.clone()), "put up for sale"),
        };
        if products.put(&item, what, Vec::new()).await? {
            return Answer::json(200, &product);
        }
    }
    Err(Failure::transient("conflict", "others keep changing this product"))
}
