use quadrille::{http::Request, *};

async fn order(_: Request, _: Context<()>) -> Result<String, Failure> {
    Err(Failure::transient("closed", "the shop is closed"))
}

pub fn route() -> Route {
    Route::post("/tea", "order", order)
}

fn main() {}
