//! The Lambda function behind `GET /orders/{record_id}`.

fn main() -> std::process::ExitCode {
    lambdas::run(lambdas::Function::Route("get_order"))
}
