use quadrille::{http::Response, *};

async fn order(_: String, _: Context<()>) -> Result<Response, Failure> {
    Err(Failure::transient("closed", "the shop is closed"))
}

pub fn route() -> Route {
    // The compiler's own words: they show both signatures.
    Route::post("/tea", "order", order)
}

fn main() {}
