//! Entities as they are kept, state and trail, to be looked at elsewhere.

use crate::{
    port::{Document, Item},
    timestamp::Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The first line of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportHead {
    /// The system's name.
    pub system: String,
    /// When it was begun: what is gone by then was not there.
    pub at: Timestamp,
}

/// An entity of an export, a line each.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExportedItem {
    /// Its key, `kind/id`.
    pub key: String,
    /// How many commits it has had; 0 where that can't be read.
    pub version: u64,
    /// From when on it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// State and trail, in the format of the table; `None` where they can't be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<Box<RawValue>>,
    /// Why they can't be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
}

/// A page of an export.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ExportPage {
    /// The entities.
    pub items: Vec<ExportedItem>,
    /// Where the next page begins; `None` at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl From<Item> for ExportedItem {
    fn from(item: Item) -> Self {
        let document = match item.document.text() {
            Ok(text) => RawValue::from_string(text.to_owned()).map_err(|error| error.to_string()),
            Err(why) => Err(why.to_string()),
        };
        let (document, unreadable) = match document {
            Ok(document) => (Some(document), None),
            Err(why) => (None, Some(why)),
        };
        Self { key: item.key, version: item.version, expires_at: item.expires_at, document, unreadable }
    }
}

impl From<ExportedItem> for Item {
    fn from(exported: ExportedItem) -> Self {
        let why = exported.unreadable.unwrap_or_else(|| "the export has no document of it".to_owned());
        let document = exported.document.map(|document| Document::from(document.get()));
        let document = document.unwrap_or_else(|| Document::unreadable(why));
        let ExportedItem { key, version, expires_at, .. } = exported;
        Self { key, version, document, expires_at, index: None }
    }
}
