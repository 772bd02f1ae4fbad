//! The relay: sends on what was committed, on records of the table's stream.

fn main() -> std::process::ExitCode {
    lambdas::run(lambdas::Function::Relay)
}
