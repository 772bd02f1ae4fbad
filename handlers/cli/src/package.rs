//! The package of a system's functions: the zip that Lambda is given for each of them.
//!
//! The same binary makes the same bytes: one entry, of a fixed date, mode and compression. An unchanged function is then
//! not deployed anew, for Pulumi compares the bytes.

use crate::{
    args::Package,
    error::CommandError,
    print::{line, readable},
};
use serde_json::json;
use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};
use zip::{CompressionMethod, DateTime, ZipWriter, write::SimpleFileOptions};

/// What Lambda starts in a custom runtime.
const BOOTSTRAP: &str = "bootstrap";

/// Readable and executable by everybody: Lambda runs it as a user of its own.
const MODE: u32 = 0o755;

/// The most that zlib compresses.
const LEVEL: i64 = 9;

/// The largest package that can be uploaded directly: 50 MB (Lambda).
const PACKAGE_BYTES_MAX: usize = 50 * 1_000_000;

/// The first bytes of an executable of Linux.
const ELF: &[u8] = b"\x7fELF";

/// Where an executable's machine is told, and its word for arm64 (little-endian).
const ELF_MACHINE: (usize, [u8; 2]) = (18, [183, 0]);

/// Runs `package` for a system. Blocks: it reads, compresses and writes.
pub fn package(system: &str, args: &Package) -> Result<(), CommandError> {
    let folder = args.out.clone().unwrap_or_else(|| crate::infra::folder(system).join("packages"));
    let name = format!("{system}-functions");
    let from = binary(&args.binaries, &name)?;
    let executable = fs::read(&from).map_err(CommandError::io(format!("reading {}", from.display())))?;
    let (at, arm64) = ELF_MACHINE;
    let is_arm64 = executable.starts_with(ELF) && executable.get(at..at + 2) == Some(&arm64);
    if !is_arm64 && !args.any_machine {
        return Err(CommandError::Refused(format!(
            "{} is no executable of Linux on arm64, which the functions run on: build it with `cargo lambda build --arm64`, or \
             say --any-machine",
            from.display()
        )));
    }
    let zipped = zip(&executable).map_err(|error| CommandError::Failed(format!("{name}: {error}")))?;
    if zipped.len() > PACKAGE_BYTES_MAX {
        return Err(CommandError::Refused(format!(
            "{name} makes a package of {} bytes, and Lambda takes {PACKAGE_BYTES_MAX}",
            zipped.len()
        )));
    }
    fs::create_dir_all(&folder).map_err(CommandError::io(format!("making {}", folder.display())))?;
    let to = folder.join(format!("{system}.zip"));
    write(&to, &zipped).map_err(CommandError::io(format!("writing {}", to.display())))?;
    if args.json {
        line(json!({ (system): { "bytes": executable.len(), "zipped": zipped.len() } }));
    } else {
        let (whole, packed) = (megabytes(executable.len()), megabytes(zipped.len()));
        line(format_args!("{name:<14} {whole:>6.2} MB, zipped {packed:>6.2} MB  {}", readable(to.display())));
    }
    Ok(())
}

#[allow(clippy::cast_precision_loss)] // for people to read
fn megabytes(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}

/// The executable of the functions: as `cargo lambda` leaves it, in a folder of its own, or as cargo does.
fn binary(folder: &Path, name: &str) -> Result<PathBuf, CommandError> {
    let (of_cargo_lambda, of_cargo) = (folder.join(name).join(BOOTSTRAP), folder.join(name));
    let found = [&of_cargo_lambda, &of_cargo].into_iter().find(|path| path.is_file());
    found.cloned().ok_or_else(|| {
        CommandError::NotFound(format!(
            "neither {} nor {} is there: build the functions first, with `cargo lambda build --release --arm64`",
            of_cargo_lambda.display(),
            of_cargo.display()
        ))
    })
}

/// The zip of a function.
fn zip(executable: &[u8]) -> Result<Vec<u8>, zip::result::ZipError> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .compression_level(Some(LEVEL))
        .last_modified_time(DateTime::default())
        .unix_permissions(MODE);
    let mut writer = ZipWriter::new(io::Cursor::new(Vec::new()));
    writer.start_file(BOOTSTRAP, options)?;
    writer.write_all(executable)?;
    Ok(writer.finish()?.into_inner())
}

/// Writes the file whole or not at all; one that holds just that already is left alone.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    let partial = path.with_extension("zip.partial");
    fs::write(&partial, bytes)?;
    fs::rename(&partial, path)
}
