//! The infrastructure: rendered from the definition, and held to it.

use crate::{
    App,
    args::{Infra, InfraCheck, InfraPolicy, InfraRender},
    error::CommandError,
    print::{line, readable},
    table::{Cell, Format, Table},
};
use quadrille::{
    System,
    infrastructure::{DeployedTo, File, Infrastructure, Rights},
};
use serde_json::json;
use similar::TextDiff;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};
use tokio::fs;

/// The largest file that is compared, in bytes; a program is far smaller.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Lines around a difference.
const CONTEXT_LINES: usize = 3;

/// Runs `infra`.
pub async fn infra(app: &App<'_>, args: Infra) -> Result<(), CommandError> {
    match args {
        Infra::Render(args) => render(app, args).await,
        Infra::Check(args) => check(app, args).await,
        Infra::Policy(args) => policy(app, args).await,
    }
}

/// The files of a system's program.
fn files(system: &dyn System) -> Result<Vec<File>, CommandError> {
    let choreography = system.define().build()?;
    for advice in choreography.advice() {
        eprintln!("advice: {advice}");
    }
    let rendered = system.infrastructure(Infrastructure::of(&choreography)).render();
    rendered.map_err(|error| CommandError::Failed(error.to_string()))
}

/// Where a system's program is kept.
pub fn folder(system: &str) -> PathBuf {
    PathBuf::from("infra").join(system)
}

async fn render(app: &App<'_>, args: InfraRender) -> Result<(), CommandError> {
    let folder = args.out.unwrap_or_else(|| folder(app.system.name()));
    let files = files(app.system)?;
    let io = |what: &str, path: &Path| CommandError::io(format!("{what} {}", path.display()));
    fs::create_dir_all(&folder).await.map_err(io("making", &folder))?;
    for file in &files {
        let path = folder.join(&file.name);
        fs::write(&path, &file.text).await.map_err(io("writing", &path))?;
        line(readable(path.display()));
    }
    Ok(())
}

/// Managed policies that a role can have, unless AWS was asked for more (IAM; at most 20).
const POLICIES_OF_A_ROLE: usize = 10;

async fn policy(app: &App<'_>, args: InfraPolicy) -> Result<(), CommandError> {
    let InfraPolicy { systems, stack, account, region, out } = args;
    let to = DeployedTo { account, region, stack };
    let mut rights = Rights::default();
    for system in named(app, &systems)? {
        let choreography = system.define().build()?;
        let of_system = system.infrastructure(Infrastructure::of(&choreography)).deployment(&to);
        rights = rights.and(of_system.map_err(|error| CommandError::Failed(error.to_string()))?);
    }
    let policies = rights.policies();
    if policies.len() > POLICIES_OF_A_ROLE {
        eprintln!(
            "{} policies: a role has at most {POLICIES_OF_A_ROLE}, unless AWS was asked for more. Have a role for some systems each",
            policies.len()
        );
    }
    let Some(folder) = out else {
        policies.iter().for_each(line);
        return Ok(());
    };
    let io = |what: &str, path: &Path| CommandError::io(format!("{what} {}", path.display()));
    fs::create_dir_all(&folder).await.map_err(io("making", &folder))?;
    for (at, policy) in policies.iter().enumerate() {
        let path = folder.join(format!("{}.json", at + 1));
        fs::write(&path, policy).await.map_err(io("writing", &path))?;
        line(readable(path.display()));
    }
    Ok(())
}

/// The systems of these names; all, where none is named.
fn named<'a>(app: &App<'a>, names: &[String]) -> Result<Vec<&'a dyn System>, CommandError> {
    if names.is_empty() {
        return Ok(app.systems.to_vec());
    }
    let find = |name: &String| {
        let found = app.systems.iter().find(|system| system.name() == name);
        found.copied().ok_or_else(|| {
            CommandError::Usage(format!("there is no system {name:?}: {} names them", app.typed("systems")))
        })
    };
    names.iter().map(find).collect()
}

/// What differs between a file and what the definition derives.
struct Difference {
    path: String,
    /// As a unified diff, from the file to what it should be.
    diff: String,
}

async fn check(app: &App<'_>, args: InfraCheck) -> Result<(), CommandError> {
    let mut differences = Vec::new();
    let systems = named(app, &args.systems)?;
    let mut checked = 0;
    for system in systems {
        let folder =
            args.dir.as_ref().map_or_else(|| self::folder(system.name()), |dir| dir.join(system.name()));
        if !fs::try_exists(&folder)
            .await
            .map_err(CommandError::io(format!("looking for {}", folder.display())))?
        {
            return Err(CommandError::NotFound(format!(
                "there is no {}: run this at the root of the repository, or say --dir",
                folder.display()
            )));
        }
        let files = files(system)?;
        checked += files.len();
        for file in &files {
            let path = folder.join(&file.name);
            differences.extend(difference(&path, &file.text).await?);
        }
        differences.extend(left_over(&folder, &files).await?);
    }
    let paths: Vec<&str> = differences.iter().map(|difference| difference.path.as_str()).collect();
    match args.output.format(args.json) {
        Format::Json => line(json!({ "checked": checked, "different": paths })),
        Format::Csv => {
            let mut table = Table::new(["different", "diff"]);
            for Difference { path, diff } in &differences {
                table.row([path, diff].map(Cell::text));
            }
            table.print_csv()?;
        }
        Format::Table => differences.iter().for_each(|difference| line(difference.diff.trim_end())),
    }
    if differences.is_empty() {
        if args.output.format(args.json) == Format::Table {
            let are = if checked == 1 { "file is" } else { "files are" };
            line(format_args!("{checked} {are} as the definition derives them"));
        }
        return Ok(());
    }
    Err(CommandError::Failed(format!(
        "{} differ from what the definition derives: {} writes them anew",
        paths.join(", "),
        app.typed("infra render")
    )))
}

async fn difference(path: &Path, derived: &str) -> Result<Option<Difference>, CommandError> {
    let shown = path.display().to_string();
    let committed = match fs::metadata(path).await {
        Ok(metadata) if metadata.len() > FILE_BYTES_MAX => {
            return Err(CommandError::Refused(format!(
                "{shown} is over {FILE_BYTES_MAX} bytes: no program of ours"
            )));
        }
        Ok(_) => fs::read_to_string(path).await.map_err(CommandError::io(format!("reading {shown}")))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(CommandError::io(format!("reading {shown}"))(error)),
    };
    if committed == derived {
        return Ok(None);
    }
    let diff = TextDiff::from_lines(committed.as_str(), derived)
        .unified_diff()
        .context_radius(CONTEXT_LINES)
        .header(&shown, &format!("{shown} (derived)"))
        .to_string();
    Ok(Some(Difference { path: shown, diff }))
}

/// Programs and stacks in `folder` that the definition does not derive: Pulumi would read them.
async fn left_over(folder: &Path, derived: &[File]) -> Result<Vec<Difference>, CommandError> {
    let derived: BTreeSet<&str> = derived.iter().map(|file| file.name.as_str()).collect();
    let mut entries = match fs::read_dir(folder).await {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(CommandError::io(format!("reading {}", folder.display()))(error)),
    };
    let mut left = Vec::new();
    while let Some(entry) =
        entries.next_entry().await.map_err(CommandError::io(format!("reading {}", folder.display())))?
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_pulumis = name.ends_with(".yaml") || name.ends_with(".yml");
        if is_pulumis && !derived.contains(name.as_str()) {
            let path = entry.path().display().to_string();
            left.push(Difference { diff: format!("{path}: the definition derives no such file"), path });
        }
    }
    left.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(left)
}
