//! Many orders are changed at once, each on its own condition.

use super::Poll;
use crate::shared::{Item, Message};
use quadrille::{Failure, domain::auction::Order};

/// How often orders that lost a race are read and changed anew.
const RACES_MAX: usize = 5;

/// What is written of an order, if anything, and the answer for it.
pub type Change<T> = (Option<(Item<Order>, String, Vec<Message>)>, T);

impl Poll {
    /// Changes the orders of these ids, which may have been read before; answers in their order.
    pub async fn change_all<T>(
        &self,
        ids: &[String],
        loaded: Option<Vec<Item<Order>>>,
        change: impl Fn(usize, Option<Item<Order>>) -> Result<Change<T>, Failure>,
    ) -> Result<Vec<T>, Failure> {
        let mut answers: Vec<Option<T>> = ids.iter().map(|_| None).collect();
        let mut left: Vec<usize> = (0..ids.len()).collect();
        let mut loaded = loaded.map(|loaded| loaded.into_iter().map(Some).collect());
        for _ in 0..=RACES_MAX {
            let orders: Vec<Option<Item<Order>>> = match loaded.take() {
                Some(loaded) => loaded,
                None => {
                    let each =
                        self.table.get_each(&left.iter().map(|at| &ids[*at]).collect::<Vec<_>>()).await?;
                    // One that can't be read is left as it is, as one that is gone.
                    each.into_iter().map(|order| order.ok().flatten()).collect()
                }
            };
            let (mut writes, mut writing) = (Vec::new(), Vec::new());
            for (at, order) in left.into_iter().zip(orders) {
                match change(at, order)? {
                    (None, answer) => answers[at] = Some(answer),
                    (Some(write), answer) => {
                        writes.push(write);
                        writing.push((at, answer));
                    }
                }
            }
            left = Vec::new();
            for ((at, answer), applied) in writing.into_iter().zip(self.table.put_all(writes).await?) {
                match applied {
                    true => answers[at] = Some(answer),
                    false => left.push(at),
                }
            }
            if left.is_empty() {
                return Ok(answers.into_iter().flatten().collect());
            }
        }
        Err(Failure::transient("conflict", "others keep changing these orders"))
    }
}
