//! `GET /products/{productId}`: tells of a product, and how many units of it are left.

use crate::shared::{Answer, Request, Table, config, serve};
use lambda_runtime::Error;
use quadrille::{
    Failure,
    domain::checkout::{PARTS_MAX, Product, StockPart},
};
use serde::Serialize;

#[derive(Serialize)]
struct OnSale<'a> {
    #[serde(flatten)]
    product: &'a Product,
    available: u64,
}

pub async fn run() -> Result<(), Error> {
    let products = Table::new(&config().await, "PRODUCTS_TABLE_NAME", "key")?;
    serve(async |request| get(&products, request).await).await
}

async fn get(products: &Table, request: Request) -> Result<Answer, Failure> {
    let id = request.parameter("productId");
    let Some(product) = products.get::<Product>(id).await? else {
        return Answer::problem(404, "no_such_product", "no product has this id");
    };
    let ids: Vec<String> = (0..PARTS_MAX).map(|part| StockPart::id_of(id, part)).collect();
    let parts = products.get_all::<StockPart>(&ids).await?;
    let taken: u64 = parts.into_iter().flatten().map(|part| part.taken).sum();
    Answer::json(200, &OnSale { product: &product, available: product.stock.saturating_sub(taken) })
}
