//! All functions of the checkout.

fn main() -> std::process::ExitCode {
    lambdas::main(&systems::checkout::Checkout)
}
