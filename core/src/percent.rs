//! Percent-encoding (RFC 3986) of what is data and must not be read as more.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};

/// What is encoded in a segment of a path, in a key or in a query: all but RFC 3986's unreserved characters.
pub const ALL_BUT_UNRESERVED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
