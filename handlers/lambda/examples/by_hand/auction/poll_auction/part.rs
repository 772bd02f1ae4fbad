//! A kickoff may be divided into runs that work side by side, each on shards of the open orders of its own.

use super::{Phase, Poll, PollAuction, Run, poll};
use crate::shared::{Done, Item, Message};
use quadrille::{Failure, Timestamp};

/// What stands in the id of a run between the time of its kickoff and its part.
const BEHIND: char = '~';

/// The shards that a run takes: those that leave this remainder.
#[derive(Clone, Copy, PartialEq)]
pub struct Part {
    pub number: u64,
    pub of: u64,
}

impl Part {
    const WHOLE: Self = Self { number: 0, of: 1 };

    /// Whether some shard is of both.
    fn meets(self, other: Self) -> bool {
        let (mut one, mut two) = (self.of, other.of);
        while two > 0 {
            (one, two) = (two, one % two);
        }
        self.number % one == other.number % one
    }
}

/// The time that a run is named by, and its part.
pub fn read(run_id: &str) -> Result<(Timestamp, Part), Failure> {
    let malformed = |why| Failure::permanent("malformed_run", format_args!("run_id: {why}"));
    let (time, part) = match run_id.split_once(BEHIND) {
        Some((time, part)) => {
            let numbers = part.split_once("of").and_then(|(n, of)| Some((n.parse().ok()?, of.parse().ok()?)));
            let part = numbers.map(|(number, of)| Part { number, of }).filter(|part| part.number < part.of);
            (time, part.ok_or_else(|| malformed("behind its time stands no part".to_owned()))?)
        }
        None => (run_id, Part::WHOLE),
    };
    Ok((Timestamp::parse(time).map_err(|error| malformed(error.to_string()))?, part))
}

impl Run {
    pub fn part(&self) -> Part {
        read(&self.run_id).map_or(Part::WHOLE, |(_, part)| part)
    }

    /// What stands in its id behind the time; nothing where it is no part of another.
    pub fn behind_time(&self) -> &str {
        self.run_id.find(BEHIND).map_or("", |at| &self.run_id[at..])
    }

    /// Whether both may take the same orders.
    pub fn meets(&self, other: &Self) -> bool {
        self.part().meets(other.part())
    }

    /// Whether it is this run that takes over the run `left`: one part does, also where there were more of them.
    pub fn inherits(&self, left: &str) -> bool {
        let (part, left) = (self.part(), read(left).map_or(Part::WHOLE, |(_, part)| part));
        left.number % part.of == part.number
    }
}

impl Poll {
    /// Begins so many runs in the place of one that was just kicked off.
    pub async fn divide(&self, mut run: Item<Run>) -> Done {
        run.round += 1;
        run.phase = Phase::Ended;
        let parts = self.parts;
        let part =
            |number| PollAuction { run_id: format!("{}{BEHIND}{number}of{parts}", run.run_id), round: 0 };
        let messages: Result<Vec<Message>, Failure> = (0..parts).map(|number| poll(&part(number))).collect();
        self.table.commit(&run, &format!("divided into {parts} runs"), messages?).await?;
        Ok("the run is divided")
    }
}
