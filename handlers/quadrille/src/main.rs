//! The `quadrille` command, of the systems of this repository.

/// What is allocated on one thread is mostly freed on another here, which the system's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    quadrille_cli::main(systems::ALL)
}
