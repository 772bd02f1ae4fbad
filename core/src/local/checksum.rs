//! Checksums of what a row holds for long: the document of an item, the body of a message.
//!
//! SQLite has none of its own, so that a bit that a disk has turned over would be served as good. A row of an earlier version has
//! no checksum, and is read without one until it is written again.

use rusqlite::{Connection, OptionalExtension as _};

/// The column of a row's checksum.
pub(super) const COLUMN: &str = "checksum";

/// The checksum of these texts, each with its length, so that none can take from the next.
pub(super) fn of<const N: usize>(texts: [&str; N]) -> i64 {
    let mut hasher = crc32fast::Hasher::new();
    for text in texts {
        hasher.update(&text.len().to_le_bytes());
        hasher.update(text.as_bytes());
    }
    i64::from(hasher.finalize())
}

/// Adds the column to `table`, named as in SQL, where an earlier version made it.
pub(super) fn add(connection: &Connection, table: &str) -> rusqlite::Result<()> {
    if is_in(connection, table)? {
        return Ok(());
    }
    connection.execute_batch(&format!("ALTER TABLE {table} ADD COLUMN {COLUMN} INTEGER"))
}

/// What to read of `table` in place of the column: that, or nothing in a folder of an earlier version that is only looked at.
pub(super) fn read_from(connection: &Connection, table: &str) -> rusqlite::Result<&'static str> {
    Ok(if is_in(connection, table)? { COLUMN } else { "NULL" })
}

fn is_in(connection: &Connection, table: &str) -> rusqlite::Result<bool> {
    let found = connection
        .query_row(
            "SELECT 1 FROM pragma_table_info(?1) WHERE name = ?2",
            (table.trim_matches('"'), COLUMN),
            |_| Ok(()),
        )
        .optional()?;
    Ok(found.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_counts_and_so_does_where_a_text_ends() {
        let texts = ["parcel/1", "7", "{\"state\":{\"id\":\"é\"}}"];
        let whole = of(texts);
        for (at, text) in texts.iter().enumerate() {
            for bit in 0..text.len() * 8 {
                let mut bytes = text.as_bytes().to_vec();
                bytes[bit / 8] ^= 1 << (bit % 8);
                let Ok(flipped) = std::str::from_utf8(&bytes) else { continue };
                let mut damaged = texts;
                damaged[at] = flipped;
                assert_ne!(of(damaged), whole, "{flipped}");
            }
        }
        assert_ne!(of(["ab", "c"]), of(["a", "bc"]));
    }
}
