use quadrille::{
    http::{Request, Response},
    *,
};

fn order(_: Request, _: Context<()>) -> Result<Response, Failure> {
    Err(Failure::transient("closed", "the shop is closed"))
}

pub fn route() -> Route {
    Route::post("/tea", "order", order)
}

fn main() {}
