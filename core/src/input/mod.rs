//! Reads what others send: from the bytes of a JSON document to a value of the reader's, with all its faults at once.
//!
//! ```
//! use quadrille::{decimal::Decimal, input::{self, Input, Reader as _, Refusal, array, decimal, field, integer, optional, text}};
//!
//! struct Cart { items: Vec<Item>, coupon: Option<String> }
//! struct Item { sku: String, quantity: i64, price: Decimal }
//!
//! fn cart(input: &Input<'_>) -> Option<Cart> {
//!     input.object(
//!         (field("items", array(1..=100, item).of("item", "items")), optional("coupon", text(1..=32))),
//!         |(items, coupon)| Cart { items, coupon },
//!     )
//! }
//!
//! fn item(input: &Input<'_>) -> Option<Item> {
//!     let sku = text(1..=64).without_controls().check(|sku| match sku.split_once('-') {
//!         Some(_) => Ok(sku),
//!         None => Err(Refusal::new("invalid_sku", "a `sku` has a hyphen, as in `tea-1`")),
//!     });
//!     input.object(
//!         (field("sku", sku), field("quantity", integer(1..=1_000)), field("price", decimal().at_least(0))),
//!         |(sku, quantity, price)| Item { sku, quantity, price },
//!     )
//! }
//!
//! let sent = input::read(br#"{"items": [{"sku": "tea-1", "quantity": 2, "price": 2.10}]}"#, 65_536, cart)?;
//! assert_eq!((sent.items[0].price.as_str(), sent.coupon), ("2.10", None));
//!
//! let faults = input::read(br#"{"items": [{"sku": 5, "quantity": 0}], "x": 1}"#, 65_536, cart).err().unwrap();
//! let pointers: Vec<&str> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
//! assert_eq!(pointers, ["/x", "/items/0/sku", "/items/0/quantity", "/items/0/price"]);
//! # Ok::<(), input::Faults>(())
//! ```
//!
//! A [`Reader`] tells what is wanted: [`text`], [`decimal`], [`integer`], [`boolean`], [`array()`], or a function that reads
//! an object. An object is given as a tuple of its fields. All are read before the value is made, and the value is
//! made of sound ones only, so no fault hides another. In a handler, [`read_request`] makes a problem of the faults.
//!
//! Malformed JSON is one fault with a place and nothing else: the document is proven as a whole before a fault of a value
//! counts. From there each value is read out of its own text, and nothing is decoded but what is kept. The scans have no
//! recursion, and readers go [`DEPTH_MAX`] levels deep at most. Memory is bounded by the document's size, the list
//! of faults by [`FAULTS_MAX`].
//!
//! Of the crates around serde, none fits: `serde_path_to_error` and `garde` stop at the first fault that serde finds,
//! and `eserde` knows neither bounds nor duplicate keys nor JSON Pointers.

mod array;
mod document;
mod fault;
mod object;
mod place;
mod value;

use crate::http::{Problem, Request};
use place::Place;
use std::fmt;

pub use array::{Array, array};
pub use fault::{Fault, Faults, Refusal, code};
pub use object::{Field, Fields, Optional, Required, field, optional};
pub use value::{Check, Integer, Number, Text, Unique, boolean, decimal, integer, text};

/// The most faults that are listed for one document, so that the answer to a hostile one stays small: our own limit. One
/// last fault, [`code::MORE_FAULTS`], follows them if there are more.
pub const FAULTS_MAX: usize = 100;

/// How many arrays and objects may lie within each other where a reader follows them: our own limit. What no reader
/// follows may nest as deep as it likes.
pub const DEPTH_MAX: usize = 64;

/// Reads a value of one kind. A function from an [`Input`] to an [`Option`] is a reader, too.
pub trait Reader {
    /// What is read.
    type Value;

    /// Reads the value. `None` if it has a fault, which is told to the `input`.
    fn read(&self, input: &Input<'_>) -> Option<Self::Value>;

    /// Holds the value to a rule of the caller's, or makes another of it.
    fn check<T, F>(self, rule: F) -> Check<Self, F>
    where
        Self: Sized,
        F: Fn(Self::Value) -> Result<T, Refusal>,
    {
        Check { reader: self, rule }
    }
}

impl<T, F> Reader for F
where
    F: Fn(&Input<'_>) -> Option<T>,
{
    type Value = T;

    fn read(&self, input: &Input<'_>) -> Option<T> {
        self(input)
    }
}

/// A value of the document, not yet looked into.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// Known to be JSON, but for the document itself: see [`document::Document`].
    raw: &'a str,
    place: Place<'a>,
    depth: usize,
    faults: &'a fault::Gatherer,
}

impl Input<'_> {
    /// Reads an object that has these fields and no others.
    pub fn object<F: Fields, T>(&self, fields: F, make: impl FnOnce(F::Values) -> T) -> Option<T> {
        fields.read(self, object::Others::AreFaults).map(make)
    }

    /// Reads an object that has these fields, and ignores others: for what newer senders may add to.
    pub fn open_object<F: Fields, T>(&self, fields: F, make: impl FnOnce(F::Values) -> T) -> Option<T> {
        fields.read(self, object::Others::AreIgnored).map(make)
    }

    /// Adds a fault of this value. `None`, for a reader to return. See [`Refusal::new`] for what `code` and `detail` are.
    pub fn refuse<T>(&self, code: &'static str, detail: impl fmt::Display) -> Option<T> {
        self.faults.add(&self.place, code, detail)
    }

    /// Whether the value is of the `expected` type, named as [`document::type_of`] does. If not, that is a fault.
    fn is_of_type(&self, expected: &str, code: &'static str, wanted: fmt::Arguments<'_>) -> bool {
        let found = document::type_of(self.raw);
        if found != expected {
            let subject = self.place.subject();
            let verb = if self.place.is_element() { "this is" } else { "is" };
            return self
                .refuse::<()>(code, format_args!("{subject} must be {wanted}, and {verb} {found}."))
                .is_some();
        }
        true
    }

    /// Whether the values within this one may be followed. If not, that is a fault.
    fn may_go_deeper(&self) -> bool {
        let may = self.depth < DEPTH_MAX;
        if !may {
            let subject = self.place.subject();
            let detail = format_args!("{subject} lies deeper than {DEPTH_MAX} arrays and objects.");
            self.refuse::<()>(code::TOO_DEEP, detail);
        }
        may
    }
}

impl fmt::Debug for Input<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input").field("pointer", &self.place.pointer()).finish_non_exhaustive()
    }
}

/// Reads a document of at most `bytes_max` bytes, and checks all of it.
///
/// # Errors
/// Every fault, at most [`FAULTS_MAX`], and a last one if there are more. A document that is too large, or no JSON, has
/// that one fault.
pub fn read<R: Reader>(document: &[u8], bytes_max: usize, reader: R) -> Result<R::Value, Faults> {
    let document = document::Document::of(document, bytes_max)?;
    let faults = fault::Gatherer::default();
    let value =
        reader.read(&Input { raw: document.text(), place: Place::Document, depth: 0, faults: &faults });
    if !faults.is_document_proven() {
        document.prove()?;
    }
    faults.finish(value)
}

/// Reads the body of a request, for a route that takes `what` is sent (`orders`).
///
/// # Errors
/// The problem to answer with: 415 for anything but JSON in UTF-8, 413 for more than `bytes_max` bytes, and 400 named
/// `invalid_` and `what` for [`Faults`], with all of them as `errors`.
pub fn read_request<R: Reader>(
    request: &Request,
    what: &str,
    bytes_max: usize,
    reader: R,
) -> Result<R::Value, Problem> {
    if !request.is_json() {
        let detail = format_args!("send the {what} as application/json, in UTF-8, without content-encoding");
        return Err(Problem::new(415, "unsupported_media_type", detail));
    }
    if request.body.len() > bytes_max {
        return Err(Problem::body_too_large(bytes_max));
    }
    read(&request.body, bytes_max, reader).map_err(|faults| {
        let detail = "nothing was stored; every fault stands in `errors`, with a JSON Pointer into the body";
        Problem::new(400, &format!("invalid_{what}"), detail).with("errors", faults)
    })
}

#[cfg(test)]
mod tests;
