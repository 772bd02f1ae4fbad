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

/// The `traceparent` of a piece of work that came with `traceparent`: the same trace, and a span of its own, derived from `id`. A new
/// trace, derived from `id` too, where there is none to continue.
pub fn within(traceparent: Option<&str>, id: &str) -> String {
    let span = stable_hash(id.as_bytes()) | 1;
    match traceparent.and_then(trace_id) {
        Some(trace) => format!("00-{trace}-{span:016x}-01"),
        None => format!("00-{}-{span:016x}-01", derived(span)),
    }
}

/// The `traceparent` of what begins a trace and is no span: its trace is derived from `id`.
pub fn begin_trace(id: &str) -> String {
    begin_trace_as(&derived(stable_hash(id.as_bytes()) | 1))
}

/// The same for a trace that has its id.
pub fn begin_trace_as(trace: &str) -> String {
    format!("00-{trace}-{:016x}-01", nobody(trace))
}

/// The `traceparent` of an event of the flow `flow` that is emitted by the work `work`: its parent is that work, where it belongs to the
/// same trace. Otherwise it is whoever began the flow.
pub fn emitted<'a>(flow: Option<&'a str>, work: Option<&'a str>) -> Option<&'a str> {
    let (flow, work) = (flow.filter(|it| trace_id(it).is_some()), work.filter(|it| trace_id(it).is_some()));
    let is_same = flow.and_then(trace_id) == work.and_then(trace_id);
    if is_same { work } else { flow.or(work) }
}

/// The span that an event with this `traceparent` follows from; `None` where no span is known. `id` is the event's: earlier versions
/// derived a span from it that nobody tells of.
#[cfg_attr(not(feature = "otlp"), allow(dead_code))]
pub fn parent(traceparent: &str, id: &str) -> Option<u64> {
    let trace = trace_id(traceparent)?;
    let parent = u64::from_str_radix(traceparent.get(36..52)?, 16).ok()?;
    let is_told = ![0, nobody(trace), stable_hash(id.as_bytes()) | 1].contains(&parent);
    is_told.then_some(parent)
}

/// A trace id, derived from a span's.
fn derived(span: u64) -> String {
    format!("{:016x}{span:016x}", stable_hash(&span.to_le_bytes()))
}

/// The span id that stands for none: the format has to have one.
fn nobody(trace: &str) -> u64 {
    stable_hash(trace.as_bytes()) | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_trace_is_continued_and_a_broken_one_is_not() {
        let next = within(Some(GIVEN), "message 1");
        assert_eq!(trace_id(&next), trace_id(GIVEN));
        assert_ne!(next, GIVEN);
        for broken in [
            "",
            "00-0af7",
            &GIVEN.to_uppercase(),
            &GIVEN.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
        ] {
            assert_eq!(trace_id(broken), None, "{broken}");
            assert!(trace_id(&within(Some(broken), "x")).is_some());
        }
    }

    #[test]
    fn what_follows_has_the_span_of_what_it_follows_from_or_none() {
        assert_eq!(parent(GIVEN, "x"), Some(0xb7ad_6b71_6920_3331));
        let work = within(Some(GIVEN), "message 1");
        assert_eq!(emitted(Some(GIVEN), Some(&work)), Some(work.as_str()));
        assert!(parent(&work, "x").is_some());
        // Of another trace it can't be the parent: the one who began the flow is.
        let elsewhere = within(None, "message 2");
        assert_eq!(emitted(Some(GIVEN), Some(&elsewhere)), Some(GIVEN));
        assert_eq!(emitted(None, Some(&elsewhere)), Some(elsewhere.as_str()));
        assert_eq!(emitted(Some("broken"), Some(&elsewhere)), Some(elsewhere.as_str()));
        assert_eq!(emitted(Some("broken"), None), None);
        for of_nobody in [
            begin_trace("x"),
            begin_trace_as(&"a".repeat(32)),
            GIVEN.replace("b7ad6b7169203331", &"0".repeat(16)),
        ] {
            assert!(trace_id(&of_nobody).is_some());
            assert_eq!(parent(&of_nobody, "x"), None, "{of_nobody}");
        }
        // As earlier versions wrote it.
        let earlier = within(Some(GIVEN), "order/1@0.1.0");
        assert_eq!((parent(&earlier, "order/1@0.1.0"), parent("broken", "x")), (None, None));
    }
}
