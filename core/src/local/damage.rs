//! A test seam: changes one byte of what is stored, as the fault of a disk would.

use super::{Local, store::identifier};
use crate::port::{Damage, PortError};
use rusqlite::{
    Connection,
    types::{ToSqlOutput, ValueRef},
};

impl Local {
    /// Damages one thing; false where it is not there.
    ///
    /// # Errors
    /// A [`PortError`] of the store.
    pub async fn damage(&self, damage: Damage<'_>) -> Result<bool, PortError> {
        let (table, column, known_by, value) = match damage {
            Damage::Item { table, key } => (identifier("item", table), "document", "key = ?1", key),
            Damage::Record { table, key } => {
                (identifier("stream", table), "records", "instr(records, ?1)", key)
            }
            Damage::Message { queue, body } => (identifier("message", queue), "body", "body = ?1", body),
        };
        let is_record = matches!(damage, Damage::Record { .. });
        let value = value.to_owned();
        let found = format!("SELECT rowid, {column} FROM {table} WHERE {known_by}");
        let change = format!("UPDATE {table} SET {column} = ?2 WHERE rowid = ?1");
        let work = move |connection: &Connection| {
            let mut found = connection.prepare(&found)?;
            let mut rows = found.query((&value,))?;
            let Some(row) = rows.next()? else { return Ok(false) };
            let (id, mut bytes) = (row.get::<_, i64>(0)?, row.get_ref(1)?.as_bytes()?.to_vec());
            // Of a record, the byte behind its key; of the rest, the one in the middle.
            let behind = |key: &str| Some(String::from_utf8_lossy(&bytes).find(key)? + key.len() + 1);
            let at = if is_record { behind(&value) } else { Some(bytes.len() / 2) };
            if let Some(byte) = at.and_then(|at| bytes.get_mut(at)) {
                *byte = 0xFF;
            }
            drop(rows);
            let bytes = ToSqlOutput::Borrowed(ValueRef::Text(&bytes));
            Ok(connection.execute(&change, (id, bytes))? > 0)
        };
        self.store.run(work).await
    }
}
