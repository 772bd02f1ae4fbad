//! The Lambda functions, all in one binary. The variable `QUADRILLE_FUNCTION` says which one a process is.

fn main() -> std::process::ExitCode {
    quadrille::lambda::main(&tea_shop::Shop)
}
