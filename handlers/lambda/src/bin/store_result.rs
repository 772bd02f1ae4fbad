//! Lambda B: files results, on messages of the results queue.

fn main() -> std::process::ExitCode {
    lambdas::run(lambdas::Function::Step("store_result"))
}
