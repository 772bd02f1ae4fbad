//! Lambda A: asks the platform, on messages of the poll queue.

fn main() -> std::process::ExitCode {
    lambdas::run(lambdas::Function::Step("poll_auction"))
}
