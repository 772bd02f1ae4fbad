//! What the command tells of itself: its short help, its completions, its pages, its configuration file.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A panic is how a test fails.

mod support;

use std::{collections::BTreeSet, fs, path::Path, process::Command};
use support::{command, quadrille, run};

const SYSTEMS: [&str; 4] = ["auction", "snacks", "orders", "checkout"];

/// Lines and columns of a screen.
const SCREEN: (usize, usize) = (40, 110);

/// The words that a help lists.
fn words(help: &str) -> Vec<String> {
    let listed =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names =
        listed.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

/// The help of words, as a terminal of 110 columns shows it.
fn help(words: &[&str], option: &str) -> String {
    let mut command = command(&[words, &[option]].concat());
    command.env("COLUMNS", SCREEN.1.to_string());
    run(command, b"").ok()
}

/// Every word of a system, those behind `dlq` and `infra` among them, as it is typed.
fn all_words(system: &str) -> Vec<Vec<String>> {
    // The words of a system are told by the help of the whole, which names no system.
    let completions = quadrille(&["completions", system, "fish"]).ok();
    let of_root = completions.lines().filter(|line| line.contains("__fish_quadrille_needs_command\" -f -a"));
    let named =
        of_root.filter_map(|line| line.split('"').nth(3)).filter(|name| *name != "help").map(str::to_owned);
    named
        .flat_map(|word| {
            let inner = match word.as_str() {
                "dlq" | "infra" => words(&help(&[&word], "-h")),
                _ => Vec::new(),
            };
            let inner = inner.into_iter().map(|verb| vec![word.clone(), verb]).collect::<Vec<_>>();
            [vec![vec![word]], inner].concat()
        })
        .collect()
}

#[test]
fn every_words_short_help_fits_a_screen_and_the_long_one_tells_all() {
    for system in SYSTEMS {
        let all = all_words(system);
        assert!(all.len() > 25, "{system}: {all:?}");
        for words in &all {
            let typed: Vec<&str> = words.iter().map(String::as_str).chain([system]).collect();
            // Behind a noun stands no system, and one word reads its own arguments.
            let typed =
                if ["dlq", "infra"].contains(&typed[0]) && words.len() == 1 { vec![typed[0]] } else { typed };
            if typed[0] == "bench" {
                continue;
            }
            let (short, long) = (help(&typed, "-h"), help(&typed, "--help"));
            let lines: Vec<&str> = short.lines().collect();
            assert!(lines.len() <= SCREEN.0, "{typed:?} has {} lines:\n{short}", lines.len());
            let widest = lines.iter().map(|line| line.chars().count()).max();
            assert!(widest <= Some(SCREEN.1), "{typed:?}: {widest:?}\n{short}");
            // What the short one names, the long one explains.
            let named = |text: &str| -> BTreeSet<String> {
                let words = text.split_whitespace().filter(|word| word.starts_with("--"));
                words.map(|word| word.trim_end_matches([',', '.', ':']).to_owned()).collect()
            };
            let missing: Vec<_> = named(&short).difference(&named(&long)).cloned().collect();
            assert!(missing.is_empty(), "{typed:?}: {missing:?} in the short help alone");
        }
    }
    let long = help(&["up"], "--help");
    for told in [
        "[default: 8080]",
        "[env: QUADRILLE_DATA]",
        "[env: QUADRILLE_PLATFORM]",
        "[possible values: text, json]",
    ] {
        assert!(long.contains(told), "{told} is not told:\n{long}");
    }
    let short = help(&["up"], "-h");
    assert!(short.contains("Of every word:") && short.contains("--result-prefixes"), "{short}");
    assert!(!short.contains("Prefixes that the keys"), "{short}");
    assert!(help(&["list"], "-h").contains("Where the system is:"));
}

/// What bash offers for a command line whose last word is being typed.
fn bash_offers(script: &Path, line: &[&str]) -> BTreeSet<String> {
    let typed: String = line.iter().map(|word| format!("'{word}' ")).collect();
    let code = format!(
        "source '{}'; COMP_WORDS=(quadrille {typed}); COMP_CWORD={}; _quadrille quadrille '{}' '{}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        script.display(),
        line.len(),
        line.last().unwrap(),
        line.iter().rev().nth(1).unwrap_or(&"quadrille"),
    );
    let output = Command::new("bash").args(["--norc", "-c", &code]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_shell_completes_the_words_and_the_settings_of_the_system_that_is_meant() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("quadrille.bash");
    for (system, word, setting) in
        [("auction", "kickoff", "--platform"), ("checkout", "product", "--gateway")]
    {
        fs::write(&script, quadrille(&["completions", system, "bash"]).ok()).unwrap();
        assert!(bash_offers(&script, &[""]).contains(word), "{system}: {word}");
        assert!(bash_offers(&script, &["up", "--"]).contains(setting), "{system}: {setting}");
        let other = if system == "auction" { "--gateway" } else { "--platform" };
        assert!(!bash_offers(&script, &["up", "--"]).contains(other), "{system}: {other}");
        let formats = bash_offers(&script, &["up", "--log-format", ""]);
        assert_eq!(formats, ["json", "text"].map(str::to_owned).into());
        assert!(bash_offers(&script, &["dlq", ""]).contains("redrive"));
    }
    for (shell, begins) in [
        ("zsh", "#compdef quadrille"),
        ("fish", "# Print an optspec"),
        ("powershell", "\nusing namespace"),
        ("elvish", "\nuse builtin"),
    ] {
        let script = quadrille(&["completions", shell]).ok();
        assert!(script.starts_with(begins), "{shell}: {script:.100}");
        assert!(script.contains("kickoff") && script.contains("orders-per-run"), "{shell}");
    }
    assert_eq!(quadrille(&["completions", "tcsh"]).code, 2);
}

#[test]
fn there_is_a_page_for_the_command_and_for_each_of_its_words() {
    let page = quadrille(&["man"]).ok();
    assert!(page.contains(".TH quadrille 1") && page.contains("quadrille\\-kickoff"), "{page:.500}");
    assert!(page.contains("Exit codes:"), "{page}");
    let folder = tempfile::tempdir().unwrap();
    for system in SYSTEMS {
        let pages = folder.path().join("new").join(system);
        assert_eq!(quadrille(&["man", system, "--dir", pages.to_str().unwrap()]).ok(), "");
        for words in all_words(system) {
            let name = format!("quadrille-{}", words.join("-"));
            let page = fs::read_to_string(pages.join(format!("{name}.1"))).expect(&name);
            assert!(page.contains(&format!(".TH {name} 1")) && page.contains(".SH DESCRIPTION"), "{name}");
        }
    }
    let up = fs::read_to_string(folder.path().join("new/auction/quadrille-up.1")).unwrap();
    for told in ["orders\\-per\\-run", "Settings of the system", "The most open orders that a run takes"] {
        assert!(up.to_lowercase().contains(&told.to_lowercase()), "{told}: {up}");
    }
    let up = fs::read_to_string(folder.path().join("new/checkout/quadrille-up.1")).unwrap();
    assert!(up.contains("gateway") && !up.contains("orders\\-per\\-run"));
}
