//! What is deliberately absent, as docs/architecture.md says.

use crate::{
    bans::{Ban, starts_with_any},
    repository::{Fault, File},
};

/// The systems, and words of each, in small letters.
const SYSTEMS: [(&str, &[&str]); 4] = [
    ("auction", &["auction", "kickoff", "record_id", "order-results", "store_result", "post_orders"]),
    ("snacks", &["snack", "order-creator", "order_creator", "order-processor", "order_processor"]),
    ("orders", &["techtest", "process_order"]),
    ("checkout", &["validate_order", "process_payment", "void_payment", "return_stock"]),
];

/// Files of the systems: the only ones in `core` that know them.
const OF_SYSTEMS: &str = "core/src/domain/";

/// The library, the command and the delivery are those of any system: no word of one, in comments and tests neither.
pub fn systems(files: &[File]) -> Vec<Fault> {
    let general = ["core/src/", "handlers/cli/src/", ".ci/", ".github/"];
    let mut faults = without_words(files);
    for file in files
        .iter()
        .filter(|file| starts_with_any(&file.path, &general) && !file.path.starts_with(OF_SYSTEMS))
    {
        let text = file.text.to_ascii_lowercase();
        for (system, words) in SYSTEMS {
            for (at, word) in words.iter().flat_map(|word| text.match_indices(word)) {
                let instead =
                    "take what differs from the definition; in an example name another system (a tea shop)";
                faults.push(file.fault(at, format!("`{word}`, a word of {system}"), instead));
            }
        }
    }
    faults
}

/// Systems whose words nobody looks for.
fn without_words(files: &[File]) -> Vec<Fault> {
    let system = |file: &File| {
        let (name, _) = file.path.strip_prefix("handlers/systems/src/")?.split_once("/mod.rs")?;
        let is_known = name.contains('/') || SYSTEMS.iter().any(|(known, _)| *known == name);
        let instead = "add words that only it has to `SYSTEMS` in core/tests/tidy/absences.rs";
        (!is_known)
            .then(|| file.fault(0, format!("the system {name}, whose words nobody looks for"), instead))
    };
    files.iter().filter_map(system).collect()
}

/// Crates that one place knows, and what neither relay nor handlers may name.
pub fn names(files: &[File]) -> Vec<Fault> {
    ABSENCES.iter().flat_map(|ban| ban.faults(files)).collect()
}

const SOURCES: &[&str] = &[
    "core/src/",
    "handlers/cli/src/",
    "handlers/lambda/src/",
    "handlers/quadrille/src/",
    "handlers/systems/src/",
];

const ABSENCES: [Ban; 7] = [
    Ban {
        names: &["aws_config", "aws_lambda_events", "aws_sdk_", "aws_smithy", "lambda_runtime"],
        within: SOURCES,
        except: &[
            ("core/src/aws/", "the adapters of AWS"),
            ("core/src/lambda/", "the runtime of functions"),
            ("handlers/cli/src/aws.rs", "a stack's names and SQS's move task, which no port has"),
        ],
        instead: "go through a port (core/src/port), or extend the adapter in core/src/aws",
    },
    Ban {
        // Of the crate: `crate::backoff` is the module.
        names: &[
            "use backoff::",
            "use ::backoff::",
            " ::backoff::",
            "(::backoff::",
            "<::backoff::",
            "ExponentialBackoff",
        ],
        within: SOURCES,
        except: &[
            ("core/src/backoff.rs", "the one place that knows the crate"),
            ("core/src/lib.rs", "names the module for the crate's users"),
        ],
        instead: "use `crate::backoff::Backoff`",
    },
    Ban {
        names: &["rusqlite", "libsqlite3_sys"],
        within: SOURCES,
        except: &[("core/src/local/", "the adapter of SQLite")],
        instead: "go through `port::Table`, or extend core/src/local",
    },
    Ban {
        names: &["hyper::", "hyper_util::", "hyper_rustls::"],
        within: SOURCES,
        except: &[("core/src/server/", "the server"), ("core/src/http_client.rs", "the client")],
        instead: "use `quadrille::http_client` to ask, and a route of the definition to answer",
    },
    Ban {
        names: &["transact_write", "transact_get", "TransactWrite", "TransactGet", "execute_transaction"],
        within: SOURCES,
        except: &[],
        instead: "commit one item: a transaction's writes cost twice as much",
    },
    Ban {
        names: &["Entity", "Stored", "domain::", "systems::"],
        within: &["core/src/relay.rs"],
        except: &[],
        instead: "the relay knows no domain: read the event's envelope, and the model for its destinations",
    },
    Ban {
        names: &[
            "port::Queue",
            "port::Table",
            "port::Topic",
            "dyn Queue",
            "dyn Table",
            "dyn Topic",
            "Ports",
            ".ports()",
        ],
        within: &["handlers/systems/src/"],
        except: &[
            ("handlers/systems/src/auction/demo.rs", "a demonstration looks at what the flow has done"),
            ("handlers/systems/src/checkout/demo.rs", "a demonstration looks at what the flow has done"),
            ("handlers/systems/src/auction/bench/", "a benchmark counts what reaches the ports"),
        ],
        instead: "return a commit that emits an event, or ask the `Context`",
    },
];

#[test]
fn a_word_of_a_system_is_found_in_whatever_form() {
    let files = [
        File::new("core/src/a.rs", "//! Of any system.\n/// Makes `AuctionPoll`.\n"),
        File::new(".ci/deploy", "post /orders\nTABLE=order-results\n"),
        File::new("core/src/domain/auction.rs", "struct Order { record_id: String }"),
        File::new("handlers/cli/src/new.rs", "// As SnackItem.\n"),
        File::new("infra/auction/smoke.json", "{}"),
        File::new("handlers/systems/src/auction/mod.rs", ""),
        File::new("handlers/systems/src/auction/run/mod.rs", ""),
        File::new("handlers/systems/src/tea/mod.rs", ""),
    ];
    let found: Vec<(String, usize)> =
        systems(&files).into_iter().map(|fault| (fault.path, fault.line)).collect();
    let expected = [
        ("handlers/systems/src/tea/mod.rs", 1),
        ("core/src/a.rs", 2),
        (".ci/deploy", 2),
        ("handlers/cli/src/new.rs", 1),
    ];
    assert_eq!(found, expected.map(|(path, line)| (path.to_owned(), line)));
}

#[test]
fn every_absence_can_be_missed() {
    let broken = [
        ("core/src/pipeline/mod.rs", "use aws_sdk_sqs::Client;"),
        ("core/src/pipeline/mod.rs", "let waits = ::backoff::ExponentialBackoff::default();"),
        ("core/src/memory/mod.rs", "use rusqlite::Connection;"),
        ("core/src/notify/mod.rs", "fn a(body: hyper::body::Incoming) {}"),
        ("core/src/aws/table.rs", "self.client.transact_write_items().send().await"),
        ("core/src/relay.rs", "use crate::entity::Entity;"),
        ("handlers/systems/src/tea/mod.rs", "async fn a(queue: &dyn Queue) { queue.send(&[message]).await }"),
    ];
    for (ban, (path, text)) in ABSENCES.iter().zip(broken) {
        let faults = ban.faults(&[File::new(path, text)]);
        assert!(faults.iter().any(|fault| fault.path == path), "{path}: {text}");
    }
    let module =
        File::new("core/src/choreography/consumer.rs", "use crate::{backoff::Waits, failure::Failure};");
    assert!(ABSENCES[1].faults(&[module]).iter().all(|fault| fault.found.contains("nothing needs")));
}
