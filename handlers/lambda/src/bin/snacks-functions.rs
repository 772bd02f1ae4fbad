//! All functions of snacks.

fn main() -> std::process::ExitCode {
    lambdas::main(&systems::snacks::Snacks)
}
