//! Ids that are derived: the same for the same name, wherever and whenever they are made.

use uuid::Uuid;

/// The UUID of `name` among the names of `namespace`: name-based, version 5 of RFC 9562. An id that is derived so from what a
/// sender calls a thing makes a repeated request the same thing.
///
/// ```
/// use quadrille::ids::uuid;
///
/// assert_eq!(uuid("pots", "monday"), uuid("pots", "monday"));
/// assert_ne!(uuid("pots", "monday"), uuid("cups", "monday"));
/// ```
pub fn uuid(namespace: &str, name: &str) -> String {
    let namespace = Uuid::new_v5(&Uuid::NAMESPACE_OID, namespace.as_bytes());
    Uuid::new_v5(&namespace, name.as_bytes()).hyphenated().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_that_of_the_rfc() {
        // From appendix A.4 of RFC 9562.
        let example = Uuid::new_v5(&Uuid::NAMESPACE_DNS, b"www.example.com");
        assert_eq!(example.to_string(), "2ed6657d-e927-568b-95e1-2665a8aea6a2");
        let id = uuid("pots", "monday");
        assert_eq!((id.len(), id.as_bytes()[14]), (36, b'5'), "{id}");
    }
}
