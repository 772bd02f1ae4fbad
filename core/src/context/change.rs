//! Changing many entities: read, decided about and committed in pieces, each on its way while the next is made ready.

use super::{Committed, Context, PIECES_UNDER_WAY, Together, in_pieces};
use crate::{
    commit::Commit,
    entity::{Entity, key_of},
    failure::Failure,
    limits::COMMIT_RACES_MAX,
    model::TableUse,
    stored::Stored,
};
use futures_util::{StreamExt as _, stream};

/// What is to become of one of many entities: [`Context::change_all`].
#[derive(Debug)]
pub enum Change<Em, T> {
    /// It is committed. `T` is the answer for it once that is durable.
    Commit(Commit<Em>, T),
    /// It stays as it is. `T` is the answer for it.
    Keep(T),
}

/// An entity that is to be changed.
struct Subject<E> {
    /// Its place among all that are to be.
    at: usize,
    key: String,
    /// As its caller had it; read where it is `None`.
    loaded: Result<Option<Stored<E>>, Failure>,
}

impl<Em> Context<Em> {
    /// Reads the entities of these ids, asks `change` what is to become of each, and commits that; answers in their order.
    /// `change` is given the place of the id and the entity, `None` where there is none, or the failure `unreadable_entity`
    /// where that one can't be read. It is asked again for one that lost its race, with the entity as it is by then, up to [`COMMIT_RACES_MAX`] times. 600 entities at most are held at
    /// once, whatever the number of ids.
    ///
    /// # Errors
    /// A [`Failure`] as of [`get`](Self::get) and [`commit_all`](Self::commit_all), or a transient `conflict` where an
    /// entity keeps being changed by others; some may have been committed: a redelivery finds them so.
    pub async fn change_all<E: Entity, T: Send>(
        &self,
        ids: &[impl AsRef<str>],
        change: impl Fn(usize, Result<Option<Stored<E>>, Failure>) -> Change<Em, T> + Sync,
    ) -> Result<Vec<T>, Failure> {
        let subject = |(at, id): (usize, _)| Subject { at, key: id, loaded: Ok(None) };
        let keys = ids.iter().map(|id| key_of::<E>(id.as_ref()));
        self.change(keys.enumerate().map(subject).collect(), &change, Together::Several).await
    }

    /// [`change_all`](Self::change_all) of one entity, for a handler that reads and commits no several at once.
    ///
    /// # Errors
    /// As [`change_all`](Self::change_all).
    pub async fn change_one<E: Entity, T: Send>(
        &self,
        id: &str,
        change: impl Fn(usize, Result<Option<Stored<E>>, Failure>) -> Change<Em, T> + Sync,
    ) -> Result<T, Failure> {
        let subject = Subject { at: 0, key: key_of::<E>(id), loaded: Ok(None) };
        let answers = self.change(vec![subject], &change, Together::Alone).await?;
        answers.into_iter().next().ok_or_else(contested)
    }

    /// [`change_all`](Self::change_all) of entities that were read already, by a query for instance: an entity is read
    /// only where it was changed since.
    ///
    /// # Errors
    /// As [`change_all`](Self::change_all).
    pub async fn change_loaded<E: Entity, T: Send>(
        &self,
        loaded: Vec<Stored<E>>,
        change: impl Fn(usize, Result<Option<Stored<E>>, Failure>) -> Change<Em, T> + Sync,
    ) -> Result<Vec<T>, Failure> {
        let subject = |(at, entity): (usize, Stored<E>)| {
            let key = key_of::<E>(&entity.id());
            Subject { at, key, loaded: Ok(Some(entity)) }
        };
        self.change(loaded.into_iter().enumerate().map(subject).collect(), &change, Together::Several).await
    }

    async fn change<E: Entity, T: Send>(
        &self,
        subjects: Vec<Subject<E>>,
        change: &(impl Fn(usize, Result<Option<Stored<E>>, Failure>) -> Change<Em, T> + Sync),
        together: Together,
    ) -> Result<Vec<T>, Failure> {
        let mut answers = Vec::with_capacity(subjects.len());
        let piece = |piece| self.change_piece(piece, change, together);
        let mut pieces = stream::iter(in_pieces(subjects)).map(piece).buffered(PIECES_UNDER_WAY);
        while let Some(answered) = pieces.next().await {
            answers.extend(answered?);
        }
        Ok(answers)
    }

    async fn change_piece<E: Entity, T: Send>(
        &self,
        subjects: Vec<Subject<E>>,
        change: &(impl Fn(usize, Result<Option<Stored<E>>, Failure>) -> Change<Em, T> + Sync),
        together: Together,
    ) -> Result<Vec<T>, Failure> {
        let first = subjects.first().map_or(0, |subject| subject.at);
        let mut answers: Vec<Option<T>> = subjects.iter().map(|_| None).collect();
        let mut left = subjects;
        let gets: &[TableUse] = match together {
            Together::Alone => &[TableUse::Get, TableUse::GetMany],
            Together::Several => &[TableUse::GetMany],
        };
        for _ in 0..=COMMIT_RACES_MAX {
            if left.iter().any(|subject| matches!(subject.loaded, Ok(None))) {
                let table = self.call.table_of::<E>(gets)?;
                let keys: Vec<String> = left.iter().map(|subject| subject.key.clone()).collect();
                for (subject, found) in left.iter_mut().zip(self.read(table, &keys).await?) {
                    subject.loaded = found;
                }
            }
            let mut commits = Vec::with_capacity(left.len());
            let mut committing = Vec::with_capacity(left.len());
            for Subject { at, key, loaded } in left {
                match change(at, loaded) {
                    Change::Keep(answer) => answers[at - first] = Some(answer),
                    Change::Commit(commit, answer) => {
                        commits.push(commit);
                        committing.push((Subject { at, key, loaded: Ok(None) }, answer));
                    }
                }
            }
            left = Vec::new();
            let outcomes = self.commit_together(commits, together).await?;
            for ((subject, answer), committed) in committing.into_iter().zip(outcomes) {
                match committed {
                    Committed::Applied => answers[subject.at - first] = Some(answer),
                    Committed::Conflict => left.push(subject),
                }
            }
            if left.is_empty() {
                return Ok(answers.into_iter().flatten().collect());
            }
        }
        Err(contested())
    }
}

fn contested() -> Failure {
    Failure::transient("conflict", "others keep changing these entities")
}
