//! A system: a choreography with what people need to work with it. From this one value come the command, the local engine, the
//! functions, the infrastructure and the demonstration.

use crate::{
    choreography::{Choreography, Definition, EntityView},
    failure::Failure,
    infrastructure::Infrastructure,
    model::DefinitionErrors,
    pipeline::Pipeline,
};
use async_trait::async_trait;
use serde_json::{Map, Value};
use std::{collections::BTreeMap, ffi::OsString, future::Future, pin::Pin};

/// A system that is built on the library.
///
/// ```
/// use quadrille::{Choreography, Definition, System};
///
/// struct TeaShop;
///
/// impl System for TeaShop {
///     fn name(&self) -> &'static str {
///         "tea-shop"
///     }
///
///     fn about(&self) -> &'static str {
///         "Brews tea, and serves it when it has steeped."
///     }
///
///     fn define(&self) -> Definition {
///         Choreography::define(self.name())
///     }
/// }
/// ```
#[async_trait]
pub trait System: Send + Sync {
    /// Its name, which is that of its choreography.
    fn name(&self) -> &'static str;

    /// What it does, in one sentence.
    fn about(&self) -> &'static str;

    /// Its definition: the same whoever asks for it.
    fn define(&self) -> Definition;

    /// The crate whose log lines are its own: by default the one that its type is of.
    fn log_target(&self) -> &'static str {
        let name = std::any::type_name::<Self>();
        name.split("::").next().unwrap_or(name)
    }

    /// What its infrastructure has beyond the definition: stacks, and metrics on the dashboard.
    fn infrastructure<'a>(&self, infrastructure: Infrastructure<'a>) -> Infrastructure<'a> {
        infrastructure
    }

    /// The dead-letter queue that an operator means who names none; where there is none, the one that is alone.
    fn dead_letter_queue(&self) -> Option<&'static str> {
        None
    }

    /// Words of its own for the command, beside the general ones.
    fn words(&self) -> Vec<Word> {
        Vec::new()
    }

    /// What `demo` plays; none where it has nothing to show.
    fn demo(&self) -> Option<Box<dyn Demo>> {
        None
    }

    /// What holds of it whatever happens, beside all that holds of every system: what a [simulation](crate::sim) checks.
    #[cfg(feature = "sim")]
    fn properties(&self) -> Vec<crate::sim::Property> {
        Vec::new()
    }

    /// The definition of the build before this one, with its handlers: while a deployment goes on, both run side by side. A
    /// [simulation](crate::sim) tries that where there is one.
    #[cfg(feature = "sim")]
    fn earlier(&self) -> Option<Definition> {
        None
    }
}

/// The proved choreography of a system.
///
/// # Errors
/// The mistakes in its definition.
pub fn choreography(system: &dyn System) -> Result<Choreography, DefinitionErrors> {
    system.define().build()
}

/// A word that a system adds to the command: a general word, said in the system's own terms.
#[derive(Clone, Debug)]
pub struct Word {
    /// The word: `post`.
    pub name: &'static str,
    /// What it does, in one sentence.
    pub about: &'static str,
    /// An example of its use, without the name of the command.
    pub example: &'static str,
    /// What it stands for.
    pub means: Meaning,
}

/// What a word stands for.
#[derive(Clone, Debug)]
pub enum Meaning {
    /// Sends the JSON of a file to a route. A JSON array longer than a request takes is sent in several.
    Send {
        /// The route's handler.
        step: &'static str,
        /// Most elements of an array in one request; `None` where the body is no array: of a file with one, each element is then
        /// sent in a request of its own.
        elements_max: Option<usize>,
        /// The outcomes that the answer tells in `results[].outcome`, or in `outcome`, as they are counted and printed.
        outcomes: &'static [&'static str],
        /// The outcome that makes the command fail.
        refused: Option<&'static str>,
    },
    /// Asks a handler of requests about one thing, and prints the answer.
    Ask {
        /// The handler.
        step: &'static str,
        /// What the thing's id is called in the request: the parameter of the handler's path.
        parameter: &'static str,
    },
    /// Sends the message of a schedule now.
    Trigger {
        /// The schedule.
        schedule: &'static str,
        /// What the scheduled time is called in the answer.
        field: &'static str,
    },
    /// Lists the entities of a kind.
    List {
        /// The kind.
        kind: &'static str,
        /// The statuses that it may be asked for; empty where any text is one.
        statuses: &'static [&'static str],
        /// The fields of an entity's state that a row has.
        fields: &'static [&'static str],
    },
    /// Takes the fields of a body by options, or asks for them one by one, and sends it to a route.
    Form {
        /// The route's handler.
        step: &'static str,
        /// The fields of the body, in the order in which they are asked for.
        fields: &'static [FormField],
    },
    /// Shows the latest of what was published to others.
    Published {
        /// The topic, the bus or the queue of others.
        outlet: &'static str,
    },
    /// Tells the story of an entity.
    Trace {
        /// The kind.
        kind: &'static str,
        /// The fields of an entity's state that the story begins with.
        fields: &'static [&'static str],
    },
    /// Anything else: is called with the arguments behind the word.
    Call(Call),
}

/// A field of a [form](Meaning::Form).
#[derive(Clone, Copy, Debug)]
pub struct FormField {
    /// Its name in the body. Its option has '-' for '_'.
    pub name: &'static str,
    /// What it is, in a few words.
    pub help: &'static str,
    /// What is taken for it.
    pub kind: FieldKind,
}

/// What is taken for a field of a form.
#[derive(Clone, Copy, Debug)]
pub enum FieldKind {
    /// A text.
    Text,
    /// A number, which is sent digit by digit as it is typed.
    Number,
    /// A text that tells what is sent from all else. Left empty, the command makes one.
    Key,
    /// An array of objects with these fields, each a text or a number.
    Rows(&'static [FormField]),
}

/// What runs where a word stands for something of its own.
pub type Call =
    fn(Vec<OsString>) -> Pin<Box<dyn Future<Output = Result<(), Box<dyn std::error::Error + Send + Sync>>>>>;

/// What a demonstration counts dead letters by: one of its [`ends`](Demo::ends).
pub const DEAD_LETTERED: &str = "dead_lettered";

/// A demonstration: what is posted, what begins the flow, and the ends that what was posted can have.
#[async_trait]
pub trait Demo: Send + Sync {
    /// What is posted, in the plural: `orders`.
    fn subjects(&self) -> &'static str;

    /// One sentence about it.
    fn title(&self) -> &'static str;

    /// The kind of the entities that are posted.
    fn kind(&self) -> &'static str;

    /// Settings that the demonstration plays with, by name, beside those that its options say.
    fn settings(&self) -> BTreeMap<&'static str, String> {
        BTreeMap::new()
    }

    /// How many are posted by one request.
    fn batch(&self) -> usize {
        1
    }

    /// The seed that its random choices are made from, before anything is posted. A system with a setting `seed` reads that.
    fn seed(&mut self, seed: u64) {
        let _ = seed;
    }

    /// The step that takes them.
    fn step(&self) -> &'static str;

    /// The body of the request that posts these ids. The ids differ in each demonstration, so that each has entities of its
    /// own.
    fn body(&self, ids: &[String]) -> Value;

    /// What is there before the first is posted: handlers of requests, each with the body it is invoked with. `count` are to be
    /// posted, the first of them under the id `first`.
    fn before(&self, first: &str, count: u64) -> Vec<(&'static str, Value)> {
        let _ = (first, count);
        Vec::new()
    }

    /// The id of the entity that what is posted under `id` becomes; `None` where it is the same.
    fn entity(&self, id: &str) -> Option<String> {
        let _ = id;
        None
    }

    /// Further requests, sent as soon as these ids are posted: a handler of requests, and the body it is invoked with. One that
    /// is refused as a conflict (409) came too late, which is as good an end.
    fn then(&self, ids: &[String]) -> Vec<(&'static str, Value)> {
        let _ = ids;
        Vec::new()
    }

    /// The schedules that are triggered once all are posted.
    fn triggers(&self) -> &'static [&'static str] {
        &[]
    }

    /// Which of the names in [`counts`](Self::counts) are ends.
    fn ends(&self) -> &'static [&'static str];

    /// Names of what is counted in the summary, each with 0 where nothing is.
    fn counts(&self) -> &'static [&'static str] {
        self.ends()
    }

    /// The names that one of those that were posted counts for, by what lies in tables, buckets and dead-letter queues. By
    /// default the status of its entity, in small letters, where that is among [`counts`](Self::counts), and
    /// [`DEAD_LETTERED`] where there is a dead letter of it.
    fn counted(&self, evidence: &Evidence<'_>) -> Vec<&'static str> {
        let status = evidence.entity.and_then(|entity| entity.status.as_deref());
        let counts = |name: &&str| match *name {
            DEAD_LETTERED => !evidence.dead_letters.is_empty(),
            name => status.is_some_and(|status| status.eq_ignore_ascii_case(name)),
        };
        self.counts().iter().copied().filter(counts).collect()
    }

    /// The id of what an object in a bucket was filed for; `None` for other objects.
    fn filed(&self, bucket: &str, key: &str) -> Option<String> {
        let _ = (bucket, key);
        None
    }

    /// Further fields of the summary.
    ///
    /// # Errors
    /// A [`Failure`] of a port.
    async fn summary(&self, pipeline: &Pipeline) -> Result<Map<String, Value>, Failure> {
        let _ = pipeline;
        Ok(Map::new())
    }
}

/// What is found of one of those that a demonstration posted.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its entity, where the table has it.
    pub entity: Option<&'a EntityView>,
    /// The dead letters that are told to it: queue and reason.
    pub dead_letters: &'a [(String, String)],
    /// The objects that were filed for it: bucket and key.
    pub objects: &'a [(String, String)],
    /// What was published of it: the topic or bus, and the type of the event.
    pub publications: &'a [(String, String)],
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Orders;

    impl Demo for Orders {
        fn subjects(&self) -> &'static str {
            "orders"
        }

        fn title(&self) -> &'static str {
            "A test's"
        }

        fn kind(&self) -> &'static str {
            "order"
        }

        fn step(&self) -> &'static str {
            "take"
        }

        fn body(&self, _: &[String]) -> Value {
            Value::Null
        }

        fn ends(&self) -> &'static [&'static str] {
            &["served", DEAD_LETTERED]
        }
    }

    #[test]
    fn by_default_one_counts_by_its_status_and_its_dead_letters() {
        let view = |status: &str| -> EntityView {
            let text = format!(
                r#"{{"kind": "order", "id": "1", "status": "{status}", "version": 1, "state": {{}}, "trail": []}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        let dead = [("brew-dlq".to_owned(), "sold_out".to_owned())];
        let (served, taken, loud) = (view("served"), view("taken"), view("SERVED"));
        for (entity, dead_letters, counted) in [
            (Some(&served), &[][..], &["served"][..]),
            (Some(&loud), &[], &["served"]),
            (Some(&served), &dead, &["served", DEAD_LETTERED]),
            (Some(&taken), &dead, &[DEAD_LETTERED]),
            (Some(&taken), &[], &[]),
            (None, &[], &[]),
        ] {
            let evidence = Evidence { id: "1", entity, dead_letters, objects: &[], publications: &[] };
            assert_eq!(Orders.counted(&evidence), counted);
        }
    }
}
