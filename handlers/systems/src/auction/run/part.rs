//! Parts of a run: runs of their own that work side by side, each on shards of its own.

use super::{Emits, PollAuction, Run, phase::RoundEvent};
use quadrille::{Commit, Failure, Outcome, Stored, Timestamp};

/// What stands in the id of a run between the time of its kickoff and its part, as in `2026-11-20T09:15:00.000Z~3of16`.
const BEHIND: char = '~';

/// Which of the shards of open orders a run takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// From 0.
    number: u64,
    /// How many there are, at least 1.
    of: u64,
}

impl Part {
    /// A run that takes all shards.
    const WHOLE: Self = Self { number: 0, of: 1 };

    /// That of the run with this id.
    fn of_run(run_id: &str) -> Self {
        // A run whose id can't be read was never begun.
        read(run_id).map_or(Self::WHOLE, |(_, part)| part)
    }

    /// Whether a shard is of this part.
    pub(super) fn has(self, shard: u64) -> bool {
        shard % self.of == self.number
    }

    /// Whether some shard is of both.
    fn meets(self, other: Self) -> bool {
        let (mut one, mut two) = (self.of, other.of);
        while two > 0 {
            (one, two) = (two, one % two);
        }
        // Of numbers with these two remainders there are some only where the remainders agree in the common divisor.
        self.number % one == other.number % one
    }
}

/// When a run was kicked off, and its part.
///
/// # Errors
/// A permanent `malformed_run`.
pub(super) fn read(run_id: &str) -> Result<(Timestamp, Part), Failure> {
    let malformed =
        |error: &dyn std::fmt::Display| Failure::permanent("malformed_run", format_args!("run_id: {error}"));
    let (time, part) = match run_id.split_once(BEHIND) {
        Some((time, part)) => {
            let numbers = part.split_once("of").and_then(|(n, of)| Some((n.parse().ok()?, of.parse().ok()?)));
            match numbers.map(|(number, of)| Part { number, of }).filter(|part| part.number < part.of) {
                Some(part) => (time, part),
                None => return Err(malformed(&"behind its time stands no part")),
            }
        }
        None => (run_id, Part::WHOLE),
    };
    Ok((Timestamp::parse(time).map_err(|error| malformed(&error))?, part))
}

impl Run {
    /// Which shards it takes.
    pub(super) fn part(&self) -> Part {
        Part::of_run(&self.run_id)
    }

    /// What stands in its id behind the time of its kickoff; nothing where it is no part of another.
    pub(super) fn behind_time(&self) -> &str {
        self.run_id.find(BEHIND).map_or("", |at| &self.run_id[at..])
    }

    /// Whether both may take the same orders.
    pub(super) fn meets(&self, other: &Self) -> bool {
        self.part().meets(other.part())
    }

    /// Whether it is this run that takes over the run `left`: one part does, also where there were more of them.
    pub(super) fn inherits(&self, left: &str) -> bool {
        self.part().has(Part::of_run(left).number)
    }
}

/// Begins `parts` runs in the place of one that was just kicked off.
pub(super) fn divide(mut run: Stored<Run>, parts: u64) -> Outcome<Emits> {
    run.advance(RoundEvent::Divided)?;
    run.round += 1;
    let ids: Vec<String> = (0..parts).map(|part| format!("{}{BEHIND}{part}of{parts}", run.run_id)).collect();
    let mut commit: Commit<Emits> = run.commit(format!("divided into {parts} runs"));
    for run_id in ids {
        commit = commit.emit(PollAuction { run_id, round: 0 });
    }
    Ok(commit.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_meet_where_a_shard_is_of_both() {
        for (a, b) in (1..9).flat_map(|a| (1..9).map(move |b| (a, b))) {
            for (x, y) in (0..a).flat_map(|x| (0..b).map(move |y| (x, y))) {
                let (one, two) = (Part { number: x, of: a }, Part { number: y, of: b });
                let both = (0..a * b).any(|shard| one.has(shard) && two.has(shard));
                assert_eq!(one.meets(two), both, "{one:?} {two:?}");
            }
        }
    }

    #[test]
    fn an_id_tells_the_part_and_anything_else_is_malformed() {
        let time = "2026-11-20T09:15:00.000Z";
        assert_eq!(read(time).unwrap().1, Part::WHOLE);
        assert_eq!(read(&format!("{time}~3of16")).unwrap().1, Part { number: 3, of: 16 });
        for wrong in ["~3of3", "~of", "~1", "~0of0", "~-1of3", "~x"] {
            assert_eq!(read(&format!("{time}{wrong}")).unwrap_err().reason(), "malformed_run", "{wrong}");
        }
        assert_eq!(read("yesterday").unwrap_err().reason(), "malformed_run");
    }
}
