//! All functions of orders.

fn main() -> std::process::ExitCode {
    lambdas::main(&systems::orders::Orders)
}
