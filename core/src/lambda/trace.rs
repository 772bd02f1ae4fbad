//! From X-Ray's trace header to W3C trace context.

/// The `traceparent` of an X-Ray header, `Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1`; none
/// where it has no whole root.
pub(super) fn traceparent(header: &str) -> Option<String> {
    let field =
        |name: &str| header.split(';').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
    let (time, random) = field("Root")?.strip_prefix("1-")?.split_once('-')?;
    let root = format!("{time}{random}");
    // Without a parent the trace begins here: any span will do, and this one is the same for every event of it.
    let parent = field("Parent").unwrap_or(random.get(8..)?);
    let sampled = if field("Sampled") == Some("1") { "01" } else { "00" };
    let traceparent = format!("00-{root}-{parent}-{sampled}");
    crate::trace::trace_id(&traceparent)?;
    Some(traceparent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_with_its_parent_is_a_traceparent() {
        let root = "Root=1-5759e988-bd862e3fe1be46a994272793";
        let of = |rest: &str| traceparent(&format!("{root}{rest}"));
        let expected =
            |parent: &str, flag: &str| Some(format!("00-5759e988bd862e3fe1be46a994272793-{parent}-{flag}"));
        assert_eq!(of(";Parent=53995c3f42cd8ad8;Sampled=1;Lineage=a:1"), expected("53995c3f42cd8ad8", "01"));
        assert_eq!(of(""), expected("e1be46a994272793", "00"));
        for broken in
            ["", "Root=", "Root=1-x-y", "Root=1-5759e988-bd86", "Self=1", "Root=1-5759e988-\u{20ac}"]
        {
            assert_eq!(traceparent(broken), None, "{broken}");
        }
    }
}
