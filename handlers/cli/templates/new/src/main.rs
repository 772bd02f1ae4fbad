//! The command: `cargo run -- demo`, `up`, `trace`, `dlq`, `infra`, and the rest that `--help` names.

fn main() -> std::process::ExitCode {
    quadrille_cli::main(&[&tea_shop::Shop])
}
