//! What the command tells of itself: its short help, its completions, its pages, its configuration file.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A panic is how a test fails.

mod support;

use std::{collections::BTreeSet, fs, path::Path, process::Command};
use support::{Engine, command, on, quadrille, run};

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
    assert!(short.contains("Of every word, ") && short.contains("--result-prefixes"), "{short}");
    assert!(!short.contains("Prefixes that the keys"), "{short}");
    assert!(help(&["list"], "-h").contains("Where the system is:"));
}

/// Words whose JSON is about one thing: what was done, or what one is. The others print rows.
const OF_ONE: [&str; 19] = [
    "bench",
    "cancel",
    "console",
    "create",
    "demo",
    "diagram",
    "dlq plan",
    "dlq purge",
    "dlq redrive",
    "dlq show",
    "export",
    "kickoff",
    "package",
    "post",
    "product",
    "send",
    "sim",
    "stop",
    "trigger",
];

#[test]
fn every_word_that_prints_rows_prints_them_as_a_table_as_json_and_as_csv() {
    let mut of_rows = BTreeSet::new();
    for system in SYSTEMS {
        for words in all_words(system) {
            let name = words.join(" ");
            // Behind a noun stands no system, and one word reads its own arguments.
            if ["dlq", "infra", "bench"].contains(&name.as_str()) {
                continue;
            }
            let typed: Vec<&str> = words.iter().map(String::as_str).chain([system]).collect();
            let help = help(&typed, "--help");
            let takes = |option: &str| help.lines().any(|line| line.trim_start().starts_with(option));
            if takes("--output <FORMAT>") {
                assert!(takes("--json") && help.contains("- csv: "), "{name}: {help}");
                // What others add is made as the words of this one.
                if system == SYSTEMS[0] {
                    of_rows.insert(name);
                }
            } else if takes("--json") && !OF_ONE.contains(&name.as_str()) {
                panic!("{name} of {system} prints JSON: it takes --output as well, or is one of OF_ONE");
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let (data, orders) = (folder.path().join("data"), folder.path().join("orders.json"));
    let engine = Engine::up(&data, &[]);
    let mut up = command(&["up", "orders", "--port", "0", "--data"]);
    up.arg(folder.path().join("other"));
    let other = Engine::start(up, &folder.path().join("other"));
    fs::write(&orders, r#"[{"record_id": "=1+1", "parameter_1": "a", "parameter_2": 1}]"#).unwrap();
    on(&data, &["post", orders.to_str().unwrap()]).ok();
    let export = folder.path().join("export.jsonl");
    fs::write(&export, on(&data, &["export"]).ok()).unwrap();
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../infra");
    let trails = ["check", "--trails", export.to_str().unwrap()];
    // What is typed, the head, and a part of a row.
    let all: &[(&[&str], &str, &str)] = &[
        (&trails, "property,holds,detail", ",true,"),
        (&["doctor", "--port", "0"], "what,name,state,found,from", "\ncheck,versions,ok,"),
        (&["dlq", "list"], "queue,id,reason,detail,handler,", ""),
        (&["infra", "check", "--dir", root], "different,diff", ""),
        (&["list", "order"], "id,status,version,created_at,state", "\n'=1+1,received,1,"),
        (&["orders"], "record_id,status,received_at,", "\n'=1+1,received,"),
        (&["published", "orders", "order-notifications"], "at,type,subject,data", ""),
        (&["queues"], "queue,visible,in flight,delayed,dead", "\nauction-poll,0,0,0,0\n"),
        (&["runs"], "run_id,status,", ""),
        (&["scale", "--orders-per-second", "5"], "at,limit,needs,gives,unit,", ",fits,"),
        (&["status"], "what,name,figure,value", "\nstep,poll_auction,dead_lettered,0\n"),
        (&["systems"], "system,standard,demo,functions,about", "\nauction,true,true,"),
        (
            &["trace", "=1+1"],
            "at,kind,id,what,handler,attempt,until,took_ms,input,output",
            ",order,'=1+1,received,",
        ),
    ];
    for (typed, head, row) in all {
        // Some of them are of no folder, and one of a system whose events leave it.
        let run = |more: &[&str]| match typed[0] {
            "check" | "infra" | "scale" | "systems" => quadrille(&[typed, more].concat()),
            "published" => on(&other.folder, &[typed, more].concat()),
            _ => on(&data, &[typed, more].concat()),
        };
        let csv = run(&["--output", "csv"]).ok();
        assert!(csv.starts_with(head) && csv.contains(row), "{typed:?}: {csv}");
        assert!(
            run(&["--output", "json"]).json().is_object() || run(&["--json"]).json().is_array(),
            "{typed:?}"
        );
        assert_ne!(run(&["--output", "table"]).ok(), csv, "{typed:?}");
        assert_eq!(run(&["--output", "csv", "--json"]).code, 2, "{typed:?}");
    }
    // What goes on has no end, which CSV has.
    for typed in [&["watch"][..], &["trace", "=1+1", "--follow"], &["orders", "--watch"]] {
        assert_eq!(on(&data, &[typed, &["--output", "csv"]].concat()).code, 2, "{typed:?}");
    }
    let tried =
        |name: &String| all.iter().any(|(typed, ..)| typed.join(" ").starts_with(name)) || name == "watch";
    let untried: Vec<&String> = of_rows.iter().filter(|name| !tried(name)).collect();
    assert!(untried.is_empty(), "nobody has seen the rows of {untried:?}");
    other.terminate();
    engine.terminate();
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
        for words in [&["up", ""][..], &["dlq", "list", ""], &["queues", ""]] {
            let offered = bash_offers(&script, words);
            assert!(SYSTEMS.iter().all(|system| offered.contains(*system)), "{words:?}: {offered:?}");
        }
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

/// The command in a folder, which reads the configuration file there.
fn within(folder: &Path, args: &[&str]) -> Command {
    let mut command = command(args);
    command.current_dir(folder).env_remove("QUADRILLE_CONFIG");
    command
}

#[test]
fn an_option_comes_before_a_variable_that_before_the_file_and_that_before_a_default() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("quadrille.toml");
    let text = "data = \"kept\"\nlog_level = \"debug\"\n[auction]\nseed = 9\nnot_ready = 6\nevery = \"21s\"\nbackoff = \"7ms\"\n";
    fs::write(&file, format!("{text}[snacks]\nseed = 3\n")).unwrap();
    let mut command = within(folder.path(), &["up", "--port", "0", "--seed", "5"]);
    // An empty variable counts as none.
    command.env("QUADRILLE_NOT_READY", "4").env("QUADRILLE_SEED", "8").env("QUADRILLE_BACKOFF", "");
    let engine = Engine::start(command, &folder.path().join("kept"));
    let told = engine.out.find(|line| line.starts_with("auction: ").then(|| line.to_owned())).unwrap();
    for value in ["data in kept", "seed 5", "not-ready 4", "every 21s", "backoff 7ms", "deadline 1h"] {
        assert!(told.contains(value), "{value}: {told}");
    }
    // From elsewhere, paths count from the file; a section of another system says nothing.
    let elsewhere = tempfile::tempdir().unwrap();
    let named = ["queues", "--json", "--config", file.to_str().unwrap()];
    assert!(run(within(elsewhere.path(), &named), b"").ok().contains("auction-poll"));
    let mut by_variable = within(elsewhere.path(), &["queues"]);
    by_variable.env("QUADRILLE_CONFIG", &file);
    let done = run(by_variable, b"");
    assert!(done.ok().contains("auction-poll"));
    engine.terminate();

    let help = run(within(folder.path(), &["up", "-h"]), b"").ok();
    assert!(help.ends_with("Configuration: quadrille.toml is read.\n"), "{help}");
    assert!(!quadrille(&["up", "-h"]).ok().contains("quadrille.toml is read"));
    // None is read where that is said.
    fs::write(&file, "nonsense").unwrap();
    assert_eq!(run(within(folder.path(), &["--config", "", "systems"]), b"").code, 0);
    assert_eq!(run(within(folder.path(), &["systems"]), b"").code, 2);
    let help = run(within(folder.path(), &["up", "-h"]), b"").ok();
    assert!(help.contains("quadrille.toml is of no use: line 1"), "{help}");
}

#[test]
fn what_a_file_may_not_say_is_told_with_its_line_and_the_nearest_key() {
    let folder = tempfile::tempdir().unwrap();
    for (text, told) in [
        ("dta = \"x\"", "line 1: dta is no key here; the nearest known is data"),
        ("\n[auction]\nevry = \"10s\"", "line 3: evry is no key here; the nearest known is every"),
        ("\n\n[acution]\n", "line 3: acution is no key here; the nearest known is auction"),
        ("gateway = \"simulated\"", "line 1: gateway is a setting of a system: write it below [checkout]"),
        ("[snacks]\n\nevery = \"10s\"", "line 3: every is no key here"),
        (
            "[auction]\nwebhook = \"https://hooks.test/secret\"",
            "write webhook_file = \"FILE\", or set QUADRILLE_WEBHOOK",
        ),
        ("token = \"0123456789abcdef\"", "line 1: token is a secret"),
        ("[auction]\nevery = \"soon\"", "line 2: --every=\"soon\""),
        ("log_level = \"loud\"", "quadrille.toml, line 1: invalid value 'loud'"),
        ("[checkout]\ngateway_token = \"geheim\"\n", "line 2: gateway_token is a secret"),
        ("data = [1]", "line 1: data is a text"),
        ("data = \"a\"\ndata = \"b\"", "line 2: "),
        ("\u{1b}[31m = 1", "line 1: "),
    ] {
        fs::write(folder.path().join("quadrille.toml"), text).unwrap();
        let done = run(within(folder.path(), &["queues"]), b"");
        assert_eq!((done.code, done.out.as_str()), (2, ""), "{text}: {done:?}");
        assert!(done.err.contains(told), "{text}: {}", done.err);
        assert!(!done.err.contains("hooks.test") && !done.err.contains("geheim"), "{}", done.err);
        assert!(!done.err.contains("0123456789abcdef") && !done.err.contains('\u{1b}'), "{}", done.err);
    }
    let missing = run(within(folder.path(), &["queues", "--config", "nowhere.toml"]), b"");
    assert!(missing.code == 2 && missing.err.contains("nowhere.toml"), "{missing:?}");
}

#[test]
fn a_secret_stands_in_a_file_of_its_own_that_the_configuration_names() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("conf")).unwrap();
    fs::write(folder.path().join("conf/q.toml"), "[auction]\nwebhook_file = \"hook\"\n").unwrap();
    let up = ["up", "--port", "0", "--data", "data", "--every", "336h", "--config", "conf/q.toml"];
    let done = run(within(folder.path(), &up), b"");
    assert!(done.code == 1 && done.err.contains("conf/q.toml, line 2: the file conf/hook"), "{done:?}");
    fs::write(folder.path().join("conf/hook"), "no address\n").unwrap();
    let done = run(within(folder.path(), &up), b"");
    assert!(done.code == 2 && done.err.contains("--webhook") && !done.err.contains("no address"), "{done:?}");
    fs::write(folder.path().join("conf/hook"), "http://127.0.0.1:1/hook\n").unwrap();
    let done = Engine::start(within(folder.path(), &up), folder.path()).terminate();
    assert!(!done.out.contains("127.0.0.1:1") && !done.err.contains("127.0.0.1:1/"), "{done:?}");
    assert!(done.err.contains("conf/hook") && done.err.contains("chmod 600"), "{done:?}");
}

#[test]
fn who_names_a_folder_is_not_sent_elsewhere_by_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("quadrille.toml");
    fs::write(&file, "target = \"aws\"\nstack = \"dev\"\nurl = \"http://127.0.0.1:1\"\n").unwrap();
    let said = |args: &[&str], variable: Option<(&str, &str)>| {
        let mut command = within(folder.path(), &[&["queues"], args].concat());
        command.envs(variable).envs([("AWS_EC2_METADATA_DISABLED", "true")]);
        command.env_remove("AWS_REGION").env_remove("AWS_DEFAULT_REGION").env_remove("AWS_PROFILE");
        run(command, b"").err
    };
    let by_folder = "there is no data folder x";
    assert!(said(&["--data", "x"], None).contains(by_folder));
    assert!(said(&[], Some(("QUADRILLE_DATA", "x"))).contains(by_folder));
    assert!(said(&["--data", "x"], Some(("QUADRILLE_URL", "http://127.0.0.1:1"))).contains(by_folder));
    assert!(said(&["--target", "local"], None).contains("no answer from the engine"));
    assert!(said(&["--url", "http://127.0.0.1:2"], None).contains("no answer from the engine"));
    // The file's own way is AWS.
    let aws = said(&[], None);
    assert!(aws.contains("AWS") || aws.contains("region"), "{aws}");
    fs::write(&file, "url = \"http://127.0.0.1:1\"\ndata = \"x\"\nstack = \"dev\"").unwrap();
    assert!(said(&[], None).contains("no answer from the engine"), "as with variables");
}
