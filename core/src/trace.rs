//! W3C trace context: the trace of a flow, continued from event to event.

use crate::port::stable_hash;

/// The trace id within a W3C `traceparent`, 32 hex digits.
pub fn trace_id(traceparent: &str) -> Option<&str> {
    let bytes = traceparent.as_bytes();
    let hex = |range: &[u8]| range.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let shaped = bytes.len() == 55
        && [2, 35, 52].iter().all(|at| bytes[*at] == b'-')
        && [&bytes[..2], &bytes[3..35], &bytes[36..52], &bytes[53..]].into_iter().all(hex);
    traceparent.get(3..35).filter(|id| shaped && id.bytes().any(|byte| byte != b'0'))
}

/// The `traceparent` of what happens next: the same trace, a span derived from `id`; a new trace, derived from `id`
/// too, where there is none to continue.
pub fn continue_trace(traceparent: Option<&str>, id: &str) -> String {
    let span = stable_hash(id.as_bytes()) | 1;
    match traceparent.and_then(trace_id) {
        Some(trace) => format!("00-{trace}-{span:016x}-01"),
        None => format!("00-{:016x}{span:016x}-{span:016x}-01", stable_hash(&span.to_le_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_continued_and_a_broken_one_is_not() {
        let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let next = continue_trace(Some(given), "order/1@0.1.0");
        assert_eq!(trace_id(&next), trace_id(given));
        assert_ne!(next, given);
        for broken in [
            "",
            "00-0af7",
            &given.to_uppercase(),
            &given.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
        ] {
            assert_eq!(trace_id(broken), None, "{broken}");
            assert!(trace_id(&continue_trace(Some(broken), "x")).is_some());
        }
    }
}
