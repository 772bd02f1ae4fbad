//! Tells a webhook of alarms, on notifications of the topic.

fn main() -> std::process::ExitCode {
    lambdas::run(lambdas::Function::Step("notify"))
}
