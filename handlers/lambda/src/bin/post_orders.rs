//! The Lambda function behind `POST /orders`.

fn main() -> std::process::ExitCode {
    lambdas::run(lambdas::Function::Route("post_orders"))
}
