//! What DynamoDB charges: a copy of the table, kept by what its requests say, so that each write is known with the item
//! before and after it (docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html).

use quadrille::layout;
use serde_json::{Map, Value};
use std::collections::HashMap;

/// An item or an index entry, as the JSON protocol has it.
pub type Item = Map<String, Value>;

const WRITE_UNIT: usize = 1_024;
const READ_UNIT: usize = 4_096;

/// What one request costs in units.
#[derive(Clone, Copy, Debug, Default)]
pub struct Units {
    pub table_write: f64,
    pub index_write: f64,
    pub read: f64,
    /// Of the write units of table and index, those of orders; the rest is the run's: its own item and its pages.
    pub orders_table_write: f64,
    pub orders_index_write: f64,
    /// The size of the largest order written.
    pub largest: usize,
}

/// The items as they stand, by table and key.
#[derive(Default)]
pub struct Copy {
    items: HashMap<(String, String), Item>,
    /// The attribute of a table's key, where it is not the library's.
    pub keys: HashMap<String, String>,
}

/// Bytes of an item: names and values; text in UTF-8, of a number two digits a byte and one more; a list or a map has three,
/// and one for each member.
fn size(item: &Item) -> usize {
    fn value(of: &Value) -> usize {
        let members =
            |members: &mut dyn Iterator<Item = usize>| 3 + members.map(|bytes| bytes + 1).sum::<usize>();
        match of.as_object().and_then(|typed| typed.iter().next()).map(|(kind, of)| (kind.as_str(), of)) {
            Some(("S", text)) => text.as_str().unwrap().len(),
            Some(("N", number)) => number.as_str().unwrap().len().div_ceil(2) + 1,
            Some(("BOOL" | "NULL", _)) => 1,
            Some(("L", list)) => members(&mut list.as_array().unwrap().iter().map(value)),
            Some(("M", map)) => {
                members(&mut map.as_object().unwrap().iter().map(|(name, of)| name.len() + value(of)))
            }
            _ => panic!("not known how large this is: {of}"),
        }
    }
    item.iter().map(|(name, attribute)| name.len() + value(attribute)).sum()
}

#[allow(clippy::cast_precision_loss)] // Counts of units are small.
fn units(bytes: usize, unit: usize) -> f64 {
    bytes.div_ceil(unit).max(1) as f64
}

/// The entry of an item in the index, which projects all but the outbox.
fn entry(item: &Item) -> Option<Item> {
    let has = |name| item.contains_key(name);
    (has(layout::INDEX_PARTITION) && has(layout::INDEX_SORT)).then(|| {
        let mut entry = item.clone();
        entry.remove(layout::OUTBOX);
        entry.remove(layout::RELAY);
        entry
    })
}

/// What a change of an item costs in the index: to enter, to leave, to change what is projected; a new key is both.
fn index_units(old: Option<&Item>, new: Option<&Item>) -> f64 {
    let (old, new) = (old.and_then(entry), new.and_then(entry));
    let one = |entry: &Item| units(size(entry), WRITE_UNIT);
    match (&old, &new) {
        (None, None) => 0.0,
        (Some(only), None) | (None, Some(only)) => one(only),
        (Some(old), Some(new)) if old == new => 0.0,
        (Some(old), Some(new)) => {
            let same = [layout::INDEX_PARTITION, layout::INDEX_SORT]
                .iter()
                .all(|name| old.get(*name) == new.get(*name));
            if same { one(old).max(one(new)) } else { one(old) + one(new) }
        }
    }
}

fn text<'a>(item: &'a Item, name: &str) -> &'a str {
    item[name]["S"].as_str().unwrap()
}

impl Copy {
    /// What a request cost that was answered so.
    pub fn charge(&mut self, operation: &str, asked: &Value, status: u16, answered: &Value) -> Units {
        match operation {
            "PutItem" => {
                let item = asked["Item"].as_object().unwrap();
                let table = asked["TableName"].as_str().unwrap();
                let key = text(item, self.key_of(table)).to_owned();
                self.write((table.to_owned(), key), item.clone(), status == 200)
            }
            "BatchExecuteStatement" => {
                let statements = asked["Statements"].as_array().unwrap();
                let answers = answered["Responses"].as_array().unwrap();
                assert_eq!(statements.len(), answers.len());
                let mut sum = Units::default();
                for (statement, answer) in statements.iter().zip(answers) {
                    let (key, item) = self.stated(statement);
                    let one = self.write(key, item, answer.get("Error").is_none_or(Value::is_null));
                    sum.table_write += one.table_write;
                    sum.index_write += one.index_write;
                    sum.orders_table_write += one.orders_table_write;
                    sum.orders_index_write += one.orders_index_write;
                    sum.largest = sum.largest.max(one.largest);
                }
                sum
            }
            "GetItem" => {
                let half = if asked["ConsistentRead"] == true { 1.0 } else { 0.5 };
                let bytes = answered["Item"].as_object().map_or(0, size);
                Units { read: half * units(bytes, READ_UNIT), ..Units::default() }
            }
            "BatchGetItem" => {
                let mut read = 0.0;
                for (name, keys) in asked["RequestItems"].as_object().unwrap() {
                    let half = if keys["ConsistentRead"] == true { 1.0 } else { 0.5 };
                    let found = answered["Responses"][name].as_array().unwrap();
                    let found = found.iter().map(|item| units(size(item.as_object().unwrap()), READ_UNIT));
                    // What is not there costs as much as the smallest item.
                    let missing = keys["Keys"].as_array().unwrap().len() - found.len();
                    read += half * (found.sum::<f64>() + f64::from(u32::try_from(missing).unwrap()));
                }
                Units { read, ..Units::default() }
            }
            "Query" => {
                assert_eq!(asked["IndexName"], layout::INDEX);
                let items = answered["Items"].as_array().unwrap();
                let entries = items.iter().map(|item| size(&entry(item.as_object().unwrap()).unwrap()));
                let bytes = entries.sum();
                Units { read: 0.5 * units(bytes, READ_UNIT), ..Units::default() }
            }
            other => panic!("not known what a {other} costs"),
        }
    }

    fn key_of(&self, table: &str) -> &str {
        self.keys.get(table).map_or(layout::KEY, String::as_str)
    }

    /// A write that was applied, or refused for its condition: that costs the same. The larger of the items counts.
    fn write(&mut self, key: (String, String), item: Item, applied: bool) -> Units {
        let old = self.items.get(&key);
        let largest = size(&item).max(old.map_or(0, size));
        let is_order = key.1.starts_with("order/");
        let index_write = if applied { index_units(old, Some(&item)) } else { 0.0 };
        if applied {
            self.items.insert(key, item);
        }
        let table_write = units(largest, WRITE_UNIT);
        let units = Units { table_write, index_write, ..Units::default() };
        if is_order {
            return Units {
                orders_table_write: table_write,
                orders_index_write: index_write,
                largest,
                ..units
            };
        }
        units
    }

    /// The key and the item that a statement makes: `INSERT INTO "t" VALUE {'a': ?, …}` or `UPDATE "t" SET "a"=? …
    /// REMOVE "b" … WHERE "key"=? AND …`.
    fn stated(&self, statement: &Value) -> ((String, String), Item) {
        let mut parameters = statement["Parameters"].as_array().unwrap().iter().cloned();
        let statement = statement["Statement"].as_str().unwrap();
        let table = statement.split('"').nth(1).unwrap().to_owned();
        let named = self.key_of(&table);
        if let Some(rest) = statement.strip_prefix("INSERT INTO ") {
            let names = rest.split('\'').skip(1).step_by(2);
            let item: Item = names.map(|name| (name.to_owned(), parameters.next().unwrap())).collect();
            let key = text(&item, named).to_owned();
            return ((table, key), item);
        }
        let (changes, condition) = statement.split_once(" WHERE ").unwrap();
        assert!(condition.starts_with(&format!("\"{named}\"=?")), "{statement}");
        let changes: Vec<&str> = changes.split('"').collect();
        // "UPDATE ", table, " SET ", name, "=? SET ", name, …
        let changes: Vec<(&str, &str)> = changes[2..].chunks_exact(2).map(|two| (two[0], two[1])).collect();
        let set: Vec<(&str, Value)> = changes
            .iter()
            .filter(|(verb, _)| verb.ends_with(" SET "))
            .map(|(_, name)| (*name, parameters.next().unwrap()))
            .collect();
        let key = (table, parameters.next().unwrap()["S"].as_str().unwrap().to_owned());
        let mut item = self.items[&key].clone();
        for (name, value) in set {
            item.insert(name.to_owned(), value);
        }
        for (verb, name) in changes {
            assert!(verb.ends_with(" SET ") || verb.ends_with(" REMOVE "), "{statement}");
            if verb.ends_with(" REMOVE ") {
                item.remove(name);
            }
        }
        (key, item)
    }

    /// Asserts that these are the items of the table.
    pub fn assert_is(&self, stored: &[Value]) {
        assert_eq!(self.items.len(), stored.len());
        let items: HashMap<&String, &Item> = self.items.iter().map(|((_, key), item)| (key, item)).collect();
        for item in stored.iter().map(|item| item.as_object().unwrap()) {
            assert_eq!(items.get(&text(item, layout::KEY).to_owned()), Some(&item));
        }
    }
}
