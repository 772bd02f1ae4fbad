//! What a test damages of what is stored.

/// One thing that is stored, to be damaged as the fault of a disk would: a test seam that the adapters in this crate offer.
#[derive(Clone, Copy, Debug)]
pub enum Damage<'a> {
    /// The document of an item.
    Item {
        /// Its table.
        table: &'a str,
        /// Its key.
        key: &'a str,
    },
    /// What a change stream holds of the commits of an item.
    Record {
        /// The stream's table.
        table: &'a str,
        /// The item's key.
        key: &'a str,
    },
    /// The message of a queue that has this body.
    Message {
        /// The queue.
        queue: &'a str,
        /// The body.
        body: &'a str,
    },
}
