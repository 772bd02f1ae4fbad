//! All functions of the auction.

fn main() -> std::process::ExitCode {
    lambdas::main(&systems::auction::Auction)
}
