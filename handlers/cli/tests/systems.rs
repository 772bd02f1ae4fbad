//! The command over several systems: which one is meant, their settings, and the general words, which know none of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A panic is how a test fails.

mod support;

use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, path::Path};
use support::{Done, Engine, Watcher, command, eventually, files, on, quadrille, run};

/// The command that the tests start.
const COMMAND: &str = env!("CARGO_BIN_EXE_two-systems");

/// The tea shop on a folder and a free port, its water boiled by gas.
fn tea_shop(folder: &Path) -> Engine {
    let mut command = command(&["up", "--port", "0", "--kettle", "gas", "--data"]);
    command.arg(folder);
    Engine::start(command, folder)
}

/// A folder where the tea shop has steeped a pot and given up one.
fn visited() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let engine = tea_shop(folder.path());
    for id in ["brown", "cracked"] {
        let answer = engine.ask("POST", "/pots", Some(json!({ "id": id }).to_string().as_bytes()));
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    eventually("both are worked", || {
        let (pot, queues) = (engine.get("/_quadrille/entities/pot/brown").json(), engine.queues());
        (pot["status"] == "steeped" && queues["steep"]["dead"] == 1).then_some(())
    });
    engine.terminate();
    folder
}

#[track_caller]
fn fails(done: &Done, code: i32, says: &[&str]) {
    assert_eq!((done.code, done.out.as_str()), (code, ""), "{done:?}");
    for says in says {
        assert!(done.err.contains(says), "{says:?} is not said: {}", done.err);
    }
    assert!(!done.err.contains("panicked"), "{}", done.err);
}

/// Every file of a folder with what it holds.
fn held(folder: &Path) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
    files(folder).into_iter().map(|file| (file.clone(), fs::read(&file).unwrap())).collect()
}

#[test]
fn the_systems_are_listed_the_standard_one_first() {
    let listed = quadrille(&["systems", "--json"]).json();
    let of = |name: &str, about: &str, standard: bool, functions: &[&str]| json!({ "name": name, "about": about, "standard": standard, "functions": functions, "demo": false });
    assert_eq!(
        listed,
        json!([
            of(
                "tea-shop",
                "Takes orders of tea, and lets it steep.",
                true,
                &["order", "relay", "steep", "taste"]
            ),
            of("laundry", "Takes shirts in.", false, &["take_in"]),
        ])
    );
    let text = quadrille(&["systems"]).ok();
    assert!(text.contains("\ntea-shop  true ") && text.contains("\nlaundry   false "), "{text}");
    let help = quadrille(&["--help"]).ok();
    assert!(help.contains("Takes shirts in.") && help.contains("without a name tea-shop is meant"), "{help}");
}

#[test]
fn a_system_is_meant_by_its_name_and_brings_its_own_settings_and_words() {
    let options = |arguments: &[&str]| quadrille(arguments).ok();
    let (standard, laundry) = (options(&["up", "--help"]), options(&["up", "laundry", "--help"]));
    for option in ["--kettle <URL>", "--strength <NUMBER>", "--recipe <TEXT>", "[default: 5]", "Or `gas`."] {
        assert!(standard.contains(option), "{option}: {standard}");
        assert!(!laundry.contains(option), "{option}: {laundry}");
    }
    assert!(quadrille(&["diagram"]).ok().contains("tea-time"));
    assert!(quadrille(&["diagram", "laundry"]).ok().contains("take_in"));
    fails(&quadrille(&["diagram", "bakery"]), 2, &["bakery"]);
    fails(&quadrille(&["demo", "laundry"]), 3, &["laundry has no demonstration"]);
    assert_eq!(quadrille(&["echo", "--to", "all"]).ok(), "--to all\n");
    fails(&run(command(&["echo", "laundry"]), b""), 2, &["echo"]);
    let empty = quadrille(&["echo"]);
    assert_eq!((empty.code, empty.err.as_str()), (1, "error: nothing to say\n"));
}

#[test]
fn a_setting_that_is_missing_or_wrong_is_told_with_its_value_and_the_cure_before_anything_is_made() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("data");
    let up = |options: &[&str], variables: &[(&str, &str)]| {
        let mut command = command(&[&["up", "--port", "0"], options].concat());
        command.arg("--data").arg(&folder).envs(variables.iter().copied());
        run(command, b"")
    };
    fails(
        &up(&[], &[]),
        2,
        &["--kettle is missing: set it to an http or https URL, or `gas`. Where the water is boiled."],
    );
    let gas = ("QUADRILLE_KETTLE", "gas");
    for (options, variables, says) in [
        (&["--kettle", "\"gas\""][..], &[][..], r#"--kettle="\"gas\"" stands in quotes: remove them"#),
        (
            &[],
            &[("QUADRILLE_KETTLE", "'http://kettle'")],
            r#"--kettle="'http://kettle'" stands in quotes: remove them"#,
        ),
        (&[], &[("QUADRILLE_KETTLE", "gas\n")], "ends with a line break: remove it"),
        (&[], &[("QUADRILLE_KETTLE", "{\"a\":1}")], "is JSON: write the plain value"),
        (&["--kettle", "ftp://kettle"], &[], "is not an http or https URL, or `gas`: set it to"),
        (&["--strength", "10"], &[gas], r#"--strength="10" is not a whole number from 1 to 9: set it to"#),
        (&["--strength", "-1"], &[gas], r#"--strength="-1" is not a whole number from 1 to 9"#),
        (&["--strength", " 5"], &[gas], "begins or ends with white space: remove it"),
    ] {
        fails(&up(options, variables), 2, &[says]);
    }
    let both = up(&["--strength", "0", "--kettle", "x"], &[]);
    fails(&both, 2, &["--strength=\"0\"", "--kettle=\"x\""]);
    let secret = up(&[], &[gas, ("QUADRILLE_RECIPE", " SESAME")]);
    fails(&secret, 2, &["--recipe begins or ends with white space"]);
    assert!(!secret.err.contains("SESAME"), "{}", secret.err);
    assert!(!folder.exists(), "nothing was made");
}

#[test]
fn a_setting_is_taken_from_the_line_first_and_from_the_environment_else() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(&["up", "tea-shop", "--port", "0", "--kettle", "gas", "--data"]);
    command.arg(folder.path());
    command.envs([("QUADRILLE_KETTLE", "http://kettle"), ("QUADRILLE_STRENGTH", "7")]);
    command.env("QUADRILLE_RECIPE", "SESAME");
    let engine = Engine::start(command, folder.path());
    let line = engine.out.find(|line| line.starts_with("tea-shop: ").then(|| line.to_owned())).unwrap();
    assert!(line.ends_with(", kettle gas, strength 7"), "{line}");
    engine.ask("POST", "/pots", Some(br#"{"id":"a"}"#));
    let trail = eventually("it has steeped", || {
        let pot = engine.get("/_quadrille/entities/pot/a").json();
        (pot["status"] == "steeped").then(|| pot["trail"].clone())
    });
    let whats: Vec<&str> =
        trail.as_array().unwrap().iter().map(|entry| entry["what"].as_str().unwrap()).collect();
    assert_eq!(whats, ["ordered, by gas", "steeped, strength 7"]);
    let done = engine.terminate();
    assert!(!format!("{done:?}").contains("SESAME"), "{done:?}");
}

#[test]
fn a_folder_of_another_system_is_refused_and_nothing_is_written_into_it() {
    let folder = visited();
    let before = held(folder.path());
    for arguments in [
        &["up", "laundry", "--port", "0"][..],
        &["queues", "laundry"],
        &["list", "laundry", "shirt"],
        &["dlq", "list", "laundry", "--queue", "x"],
        &["send", "laundry", "take_in", "-"],
    ] {
        fails(&on(folder.path(), arguments), 4, &["tea-shop", "laundry"]);
        assert_eq!(held(folder.path()), before, "{arguments:?}");
    }
    // One that an engine holds is refused by that engine's own word.
    let engine = tea_shop(folder.path());
    let url = format!("http://{}", engine.address);
    fails(&on(folder.path(), &["queues", "laundry"]), 4, &["tea-shop", "laundry"]);
    fails(
        &quadrille(&["queues", "laundry", "--url", &url]),
        4,
        &["the engine runs \"tea-shop\" and not \"laundry\""],
    );
    assert_eq!(quadrille(&["queues", "--url", &url]).code, 0);
}

#[test]
fn words_that_only_look_make_and_change_nothing() {
    let root = tempfile::tempdir().unwrap();
    let nowhere = root.path().join("nowhere");
    let looks: [&[&str]; 5] = [
        &["queues"],
        &["list", "pot"],
        &["trace", "pot", "brown"],
        &["dlq", "list", "--queue", "steep-dlq"],
        &["queues", "--json"],
    ];
    for arguments in looks {
        fails(&on(&nowhere, arguments), 3, &["there is no data folder"]);
        assert!(!nowhere.exists(), "{arguments:?}");
    }
    let folder = visited();
    let before = held(folder.path());
    for arguments in looks {
        on(folder.path(), arguments).ok();
        assert_eq!(held(folder.path()), before, "{arguments:?}");
    }
}

#[test]
fn entities_of_every_kind_are_listed_and_traced() {
    let folder = visited();
    let on = |arguments: &[&str]| on(folder.path(), arguments);
    let pots = on(&["list", "pot", "--json"]).json();
    let row = |pot: &Value| (pot["id"].clone(), pot["status"].clone(), pot["state"]["is_steeped"].clone());
    assert_eq!(
        pots.as_array().unwrap().iter().map(row).collect::<Vec<_>>(),
        [(json!("cracked"), json!("ordered"), json!(false)), (json!("brown"), json!("steeped"), json!(true))]
    );
    assert_eq!(on(&["list", "pot", "--json", "--status", "ordered"]).json().as_array().unwrap().len(), 1);
    let one = on(&["list", "pot", "--limit", "1"]).ok();
    let lines: Vec<&str> = one.lines().collect();
    assert!(lines[0].starts_with("created") && lines[1].ends_with("  cracked"), "{one}");
    assert_eq!(
        lines[2..],
        ["… and 1 older: --limit says how many are shown", "2 in all: 1 ordered, 1 steeped"]
    );
    assert_eq!(on(&["list", "tasting", "--json"]).json(), json!([]));

    let story = on(&["trace", "pot", "cracked", "--json"]).json();
    assert_eq!(
        (&story["kind"], &story["id"], &story["status"]),
        (&json!("pot"), &json!("cracked"), &json!("ordered"))
    );
    let whats: Vec<&str> =
        story["timeline"].as_array().unwrap().iter().map(|entry| entry["what"].as_str().unwrap()).collect();
    assert_eq!(whats, ["ordered, by gas", "dead-lettered: cracked"]);
    let ordered = &story["timeline"][0];
    assert_eq!((&ordered["input"], ordered["took_millis"].is_u64()), (&json!("{\"id\":\"cracked\"}"), true));
    let output = json!("[{\"type\":\"pot.ordered\",\"data\":{\"id\":\"cracked\"}}]");
    assert_eq!(ordered["output"], output);
    let brown = on(&["trace", "pot", "brown"]).ok();
    for told in ["steeped, strength 5", "      input  {\"id\":\"brown\"}\n", "by steep, in "] {
        assert!(brown.contains(told), "{told:?} is not in: {brown}");
    }

    let path = on(&["diagram", "--of", "pot", "cracked"]).ok();
    for told in ["class queue_steep_dlq,step_steep failed", "class relay,step_order,table_pots done"] {
        assert!(path.contains(told), "{told:?} is not in: {path}");
    }
    let path = on(&["diagram", "--as", "text", "--of", "pot", "cracked"]).ok();
    for told in ["✔ POST /pots ─▶ order", "✘ (steep) ─▶ steep", "  (taste) ─▶ taste"] {
        assert!(path.contains(told), "{told:?} is not in: {path}");
    }
    assert!(!on(&["diagram", "--as", "text"]).ok().contains('✔'));
    fails(&on(&["diagram", "--of", "pot", "nobody"]), 3, &["404"]);

    fails(&on(&["list", "cup"]), 3, &["no table holds the kind \"cup\"", "pot", "tasting"]);
    fails(&on(&["trace", "cup", "brown"]), 3, &["cup"]);
    fails(&on(&["trace", "pot", "nobody"]), 3, &["404"]);
    fails(&on(&["trace", "brown"]), 2, &["say the kind before the id: pot, tasting"]);
}

#[test]
fn a_request_is_sent_and_a_schedule_triggered_at_rest_and_through_an_engine() {
    let folder = visited();
    let send = |step: &str, body: &[u8], variables: &[(&str, &str)]| {
        let mut command = command(&["send", step, "-", "--json", "--data"]);
        command.arg(folder.path()).envs(variables.iter().copied());
        run(command, body)
    };
    let gas = [("QUADRILLE_KETTLE", "gas")];
    assert_eq!(send("order", br#"{"id":"at rest"}"#, &gas).json(), json!({ "id": "at rest" }));
    fails(&send("order", br#"{"id":"x"}"#, &[]), 2, &["--kettle is missing"]);
    fails(&send("order", b"no json", &gas), 4, &["400", "send {\"id\""]);
    fails(
        &send("bake", b"{}", &gas),
        3,
        &["tea-shop has no handler of requests \"bake\"; its handlers: order"],
    );
    let triggered = on(folder.path(), &["trigger", "tea-time", "--json"]).json();
    assert_eq!(triggered["schedule"], "tea-time");
    let text = on(folder.path(), &["trigger", "tea-time"]).ok();
    assert!(text.contains("the message waits for the next `up`"), "{text}");
    fails(
        &on(folder.path(), &["trigger", "noon"]),
        3,
        &["tea-shop has no schedule \"noon\"; its schedules: tea-time"],
    );

    let engine = tea_shop(folder.path());
    assert_eq!(send("order", br#"{"id":"through"}"#, &[]).json(), json!({ "id": "through" }));
    let at = on(folder.path(), &["trigger", "tea-time", "--json"]).json()["at"].as_str().unwrap().to_owned();
    eventually("all of it is worked", || {
        let pot = |id: &str| engine.get(&format!("/_quadrille/entities/pot/{}", support::encoded(id))).json();
        let tasted =
            engine.get(&format!("/_quadrille/entities/tasting/{}", support::encoded(&at))).status == 200;
        let at_rest = on(folder.path(), &["list", "tasting", "--json"]).json().as_array()?.len() == 3;
        (tasted && at_rest && ["at rest", "through"].iter().all(|id| pot(id)["status"] == "steeped"))
            .then_some(())
    });
}

/// Also in what is not its own words: an argument, a path, the body of a dead letter.
#[test]
fn nothing_that_drives_a_terminal_is_printed_for_people() {
    let folder = tempfile::tempdir().unwrap();
    let engine = tea_shop(folder.path());
    let id = "cracked\u{9b}31m\u{202e}\u{200b}\u{e0041}";
    let answer = engine.ask("POST", "/pots", Some(json!({ "id": id }).to_string().as_bytes()));
    assert_eq!(answer.status, 201, "{}", answer.text());
    eventually("it is dead-lettered", || (engine.queues()["steep"]["dead"] == 1).then_some(()));
    engine.terminate();
    let on = |arguments: &[&str]| on(folder.path(), arguments);
    let hostile = |text: &str| {
        text.chars().any(|one| one != '\n' && (one.is_control() || id[7..].contains(one) && !one.is_ascii()))
    };
    let letters = on(&["dlq", "list", "--queue", "steep-dlq", "--json"]).json();
    assert_eq!(letters[0]["subject"], id, "as JSON it is what it is");
    let letter = letters[0]["id"].as_str().unwrap();
    for arguments in [
        &["dlq", "list", "--queue", "steep-dlq"][..],
        &["dlq", "show", letter, "--queue", "steep-dlq"],
        &["list", "pot"],
        &["trace", "pot", id],
        &["trace", "cup\u{1b}[31m", "x"],
        &["list", "pot\u{202e}"],
        &["send", "\u{1b}[31m", "-"],
        &["\u{1b}[31mred"],
        &["list", "pot", "--limit", "\u{1b}[31m"],
    ] {
        let done = on(arguments);
        assert!(!hostile(&done.out) && !hostile(&done.err), "{arguments:?}: {done:?}");
        assert!(!(done.out + &done.err).is_empty());
    }
}

#[test]
fn output_that_can_not_be_written_is_a_failure() {
    let folder = visited();
    for arguments in [&["list", "pot"][..], &["list", "pot", "--json"], &["diagram"], &["systems"]] {
        let mut command = command(arguments);
        if arguments[0] == "list" {
            command.arg("--data").arg(folder.path());
        }
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let done = command.stdout(full).stderr(std::process::Stdio::piped()).output().unwrap();
        assert_eq!(done.status.code(), Some(1), "{arguments:?}");
        let told = String::from_utf8(done.stderr).unwrap();
        assert!(told.contains("standard output: ") && told.contains("space"), "{told}");
    }
}

#[test]
fn where_several_dead_letter_queues_are_one_has_to_be_named() {
    let folder = visited();
    let on = |arguments: &[&str]| on(folder.path(), arguments);
    // Where they are looked at, all are meant.
    assert!(on(&["dlq", "list"]).ok().contains("1 dead letter(s) in 3 queues"));
    fails(&on(&["dlq", "redrive"]), 2, &["say which with --queue", "steep-dlq", "taste-dlq"]);
    fails(&on(&["dlq", "list", "--queue", "steep"]), 3, &["steep"]);
    let letters = on(&["dlq", "list", "--queue", "steep-dlq", "--json"]).json();
    assert_eq!((&letters[0]["subject"], &letters[0]["reason"]), (&json!("cracked"), &json!("cracked")));
    let dry = on(&["dlq", "redrive", "--queue", "steep-dlq", "--dry-run", "--json"]).json();
    assert_eq!((&dry["redriven"], &dry["dry_run"]), (&json!(1), &json!(true)));
    let names = |queues: Value| -> Vec<String> {
        queues.as_array().unwrap().iter().map(|queue| queue["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(on(&["queues", "--json"]).json()), ["steep", "taste"]);
}

#[test]
fn a_system_without_a_dead_letter_queue_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(&["up", "laundry", "--port", "0", "--data"]);
    command.arg(folder.path());
    Engine::start(command, folder.path()).terminate();
    fails(&on(folder.path(), &["dlq", "list", "laundry"]), 3, &["laundry has no dead-letter queue"]);
    fails(&on(folder.path(), &["trace", "laundry", "mine"]), 3, &["404"]);
}

/// The laundry's shirts, whose ids are what was sent.
fn handed_in(folder: &Path) -> Vec<Value> {
    let shirts = on(folder, &["list", "laundry", "shirt", "--json"]).json();
    let sent = |shirt: &Value| serde_json::from_str(shirt["id"].as_str().unwrap()).unwrap();
    shirts.as_array().unwrap().iter().map(sent).collect()
}

fn laundry(folder: &Path) -> Engine {
    let mut command = command(&["up", "laundry", "--port", "0", "--data"]);
    command.arg(folder);
    Engine::start(command, folder)
}

#[test]
fn a_form_takes_its_fields_by_options_and_asks_for_those_that_are_missing() {
    let folder = tempfile::tempdir().unwrap();
    laundry(folder.path()).terminate();
    let hand_in = |options: &[&str], answers: &str| {
        let mut command = command(&[&["hand-in", "laundry"], options].concat());
        command.arg("--data").arg(folder.path());
        run(command, answers.as_bytes())
    };
    let said = ["--owner-name", "-Anna", "--weight", "1.50", "--shirts", "red, dark,2", "--shirts", "blue,1"];
    hand_in(&[&said[..], &["--tag", "a"]].concat(), "").ok();
    let shirts = json!([{ "colour": "red, dark", "count": 2 }, { "colour": "blue", "count": 1 }]);
    let anna = json!({ "owner_name": "-Anna", "tag": "a", "weight": 1.5, "shirts": shirts });
    assert_eq!(handed_in(folder.path()), [anna]);

    // All is asked for, and again what can't be read.
    let done = hand_in(&[], "b\nBob\n\nheavy\n2.0\nred, dark\n2\nblue\n1\n\n");
    let bob = json!({ "owner_name": "Bob", "tag": "b", "weight": 2.0, "shirts": shirts });
    assert!(handed_in(folder.path()).contains(&bob), "{done:?}");
    for asked in
        ["the tag (empty: one is made): ", "what they weigh: ", "shirts 3: colour (empty: that was all)"]
    {
        assert!(done.err.contains(asked), "{asked}: {}", done.err);
    }
    done.ok();

    // Who says a field is asked for those that are missing, and a key is made.
    hand_in(&["--owner-name", "Eva", "--shirts", "red,1"], "3\n").ok();
    hand_in(&["--owner-name", "Eva", "--shirts", "red,1"], "3\n").ok();
    let shirts = handed_in(folder.path());
    let tags: Vec<&Value> =
        shirts.iter().filter(|shirt| shirt["owner_name"] == "Eva").map(|shirt| &shirt["tag"]).collect();
    assert!(tags.len() == 2 && tags[0] != tags[1], "{tags:?}");

    fails(&hand_in(&["--owner-name", "Eva"], ""), 2, &["weight is missing: say --weight"]);
    fails(&hand_in(&["--weight", "heavy"], "x\n"), 2, &["--weight: "]);
    fails(
        &hand_in(&["--owner-name", "E", "--weight", "1", "--shirts", "red"], ""),
        2,
        &["has 1 parts", "has 2"],
    );
    assert_eq!(handed_in(folder.path()).len(), 4);
    assert!(quadrille(&["hand-in", "laundry", "--help"]).ok().contains("--shirts <COLOUR,COUNT>"));
}

#[test]
fn what_was_published_is_shown_at_rest_and_watched_while_it_is_published() {
    let folder = visited();
    let shown = on(folder.path(), &["published", "--json"]).json();
    let event = &shown[0]["event"];
    assert_eq!((&event["type"], &event["data"]), (&json!("pot.steeped"), &json!({ "id": "brown" })));
    assert!(on(folder.path(), &["published", "guests"]).ok().contains("pot.steeped  brown"));
    let csv = on(folder.path(), &["published", "--output", "csv"]).ok();
    assert!(
        csv.starts_with("at,type,subject,data\n")
            && csv.contains(r#",pot.steeped,brown,"{""id"":""brown""}""#),
        "{csv}"
    );
    fails(&on(folder.path(), &["published", "street"]), 3, &["events leave by: guests"]);
    fails(&quadrille(&["published", "laundry"]), 3, &["laundry publishes nothing"]);
    fails(&on(folder.path(), &["published", "--watch"]), 5, &["no engine runs on this folder"]);
    fails(&on(folder.path(), &["list", "pot", "--watch"]), 5, &["no engine runs on this folder"]);

    let engine = tea_shop(folder.path());
    let watch = |words: &[&str]| {
        let mut command = command(&[words, &["--watch", "--json", "--data"]].concat());
        command.arg(folder.path());
        Watcher::start(command)
    };
    let (published, pots) = (watch(&["published"]), watch(&["list", "pot"]));
    let is_of = |line: &str, id: &str| line.contains(&format!("\"id\":\"{id}\"")).then(|| line.to_owned());
    assert!(published.out.find(|line| is_of(line, "brown")).is_some(), "what was there is shown first");
    assert!(pots.out.find(|line| is_of(line, "cracked")).is_some());
    engine.ask("POST", "/pots", Some(br#"{"id":"green"}"#));
    assert!(published.out.find(|line| is_of(line, "green")).is_some());
    let steeped = |line: &str| is_of(line, "green").filter(|line| line.contains("\"status\":\"steeped\""));
    assert!(pots.out.find(steeped).is_some());
    for watcher in [published, pots] {
        let done = watcher.terminate();
        assert_eq!(done.code, 0, "{done:?}");
        let lines: Vec<&str> = done.out.lines().collect();
        let once: std::collections::BTreeSet<&str> = lines.iter().copied().collect();
        assert_eq!(once.len(), lines.len(), "nothing is shown twice: {lines:#?}");
    }
}

#[test]
fn an_engine_is_stopped_by_its_folder_or_its_address_and_finishes_what_it_has_in_hand() {
    let folder = tempfile::tempdir().unwrap();
    fails(&on(&folder.path().join("nowhere"), &["stop", "laundry"]), 3, &["there is no data folder"]);
    for by_address in [false, true] {
        let engine = laundry(folder.path());
        fails(&on(folder.path(), &["stop"]), 4, &["laundry", "tea-shop"]);
        let url = format!("http://{}", engine.address);
        let done = match by_address {
            true => quadrille(&["stop", "laundry", "--url", &url, "--json"]),
            false => on(folder.path(), &["stop", "laundry", "--json"]),
        };
        assert_eq!(done.json(), json!({ "was_running": true }));
        let ended = engine.ended();
        assert!(ended.code == 0 && ended.out.contains("stopping"), "{ended:?}");
        assert!(on(folder.path(), &["stop", "laundry"]).ok().contains("no engine runs on"));
    }
    fails(&quadrille(&["stop", "--target", "aws", "--stack", "dev"]), 2, &["on AWS"]);
}

#[test]
fn a_data_folder_is_removed_if_it_is_the_systems_own_and_nobody_has_it() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("data");
    assert!(on(&folder, &["clean", "laundry"]).ok().contains("nothing to remove"));
    let engine = laundry(&folder);
    fails(&on(&folder, &["clean", "laundry", "--yes"]), 5, &["another engine has the folder"]);
    engine.terminate();
    fails(&on(&folder, &["clean", "--yes"]), 4, &["belongs to the choreography `laundry`"]);
    fails(&on(&folder, &["clean", "laundry"]), 2, &["say --yes"]);
    fs::write(folder.join("letter.txt"), "dear").unwrap();
    fails(&on(&folder, &["clean", "laundry", "--yes"]), 4, &["letter.txt"]);
    fs::remove_file(folder.join("letter.txt")).unwrap();
    assert!(on(&folder, &["clean", "laundry", "--yes"]).ok().contains("is removed"));
    assert!(!folder.exists());
    fails(&on(root.path(), &["clean", "laundry", "--yes"]), 3, &["no data folder"]);
}

#[test]
fn a_strangers_system_has_its_file_its_doctor_and_its_metrics() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tea.toml");
    let config = ["--config", file.to_str().unwrap()];
    fs::write(&file, "data = \"data\"\n[tea-shop]\nstrength = 7\n").unwrap();
    let doctor = || quadrille(&[&["doctor", "--json", "--port", "0"], &config[..]].concat());
    let told: Value = serde_json::from_str(&doctor().out).unwrap();
    assert_eq!((&told["system"], &told["ok"]), (&json!("tea-shop"), &json!(false)));
    assert!(told.to_string().contains("--kettle is missing"), "{told:#}");

    fs::write(&file, "data = \"data\"\n[tea-shop]\nkettle = \"gas\"\nstrength = 7\n").unwrap();
    let engine =
        Engine::start(command(&[&["up", "--port", "0"], &config[..]].concat()), &folder.path().join("data"));
    engine.ask("POST", "/pots", Some(br#"{"id":"brown"}"#));
    eventually("it is steeped", || {
        let pot = engine.get("/_quadrille/entities/pot/brown").json();
        (pot["status"] == "steeped").then_some(())
    });
    let handled = "quadrille_messages_total{step=\"steep\",outcome=\"handled\"} 1\n";
    eventually("it is counted", || engine.get("/metrics").text().contains(handled).then_some(()));
    let trace = quadrille(&[&["trace", "pot", "brown"], &config[..]].concat()).ok();
    assert!(trace.contains("strength 7"), "{trace}");
    let told = doctor().json();
    assert!(told["ok"] == true && told.to_string().contains("answers, and runs tea-shop"), "{told:#}");
    engine.terminate();
}
