//! The flow as a Mermaid flowchart.

use super::Model;
use std::fmt::Write as _;

/// Nodes: routes and schedules enter, queues stand between steps, tables and buckets keep, dead-letter queues and
/// topics end it. An edge out of a table is the change stream, through the relay.
pub(super) fn mermaid(model: &Model) -> String {
    let mut out = String::from("flowchart LR\n");
    let mut line = |text: std::fmt::Arguments<'_>| {
        // Writing to a String can't fail.
        let _ = writeln!(out, "    {text}");
    };
    for route in &model.routes {
        let id = node("route", &route.step);
        line(format_args!(
            "{id}([\"{} {}\"]) --> {}[{}]",
            route.method,
            route.path,
            node("step", &route.step),
            route.step
        ));
    }
    for schedule in &model.schedules {
        let every = schedule.every.as_millis();
        let every =
            if every.is_multiple_of(1000) { format!("{} s", every / 1000) } else { format!("{every} ms") };
        line(format_args!("{}([\"{}, every {every}\"])", node("schedule", &schedule.name), schedule.name));
    }
    for table in &model.tables {
        line(format_args!("{}[(\"table {}\")]", node("table", &table.name), table.name));
    }
    for bucket in &model.buckets {
        line(format_args!("{}[/\"bucket {}\"/]", node("bucket", &bucket.name), bucket.name));
    }
    for topic in &model.topics {
        line(format_args!("{}{{{{\"topic {}\"}}}}", node("topic", &topic.name), topic.name));
    }
    for queue in &model.queues {
        line(format_args!("{}>\"{}\"]", node("queue", &queue.name), queue.name));
    }
    for schedule in &model.schedules {
        for step in model.steps.iter().filter(|step| step.event_type == schedule.event_type) {
            line(format_args!("{} --> {}", node("schedule", &schedule.name), node("queue", &step.queue)));
        }
    }
    for route in &model.routes {
        for table in &model.tables {
            let arrow =
                if route.method == crate::http::Method::Get { "-. reads .->" } else { "-- commits -->" };
            line(format_args!("{} {arrow} {}", node("step", &route.step), node("table", &table.name)));
        }
    }
    for step in &model.steps {
        let id = node("step", &step.name);
        line(format_args!("{} --> {id}[{}]", node("queue", &step.queue), step.name));
        if let Some(topic) = &step.topic {
            line(format_args!("{} --> {}", node("topic", topic), node("queue", &step.queue)));
        }
        if let Some(table) = step.entity_kind.as_deref().and_then(|kind| model.table_of(kind)) {
            line(format_args!("{id} -- commits --> {}", node("table", table)));
        }
        for bucket in &step.buckets {
            line(format_args!("{id} --> {}", node("bucket", bucket)));
        }
    }
    for step in &model.steps {
        let emitters = model.steps.iter().filter(|from| from.emits.contains(&step.event_type)).count()
            + model.routes.iter().filter(|from| from.emits.contains(&step.event_type)).count();
        let to =
            step.topic.as_deref().map_or_else(|| node("queue", &step.queue), |topic| node("topic", topic));
        if emitters > 0 {
            for table in &model.tables {
                line(format_args!(
                    "{} -- \"relay: {}\" --> {to}",
                    node("table", &table.name),
                    step.event_type
                ));
            }
        }
    }
    for queue in &model.queues {
        if let Some(redrive) = &queue.redrive {
            line(format_args!(
                "{} -. \"after {} receives, or permanent\" .-> {}",
                node("queue", &queue.name),
                redrive.receives_max,
                node("queue", &redrive.dead_letter_queue)
            ));
        }
    }
    for alarm in &model.alarms {
        line(format_args!(
            "{} -. alarm .-> {}",
            node("queue", &alarm.dead_letter_queue),
            node("topic", &alarm.topic)
        ));
    }
    out
}

/// The flow as lines of text, for a terminal.
pub(super) fn text(model: &Model) -> String {
    let mut lines: Vec<String> = Vec::new();
    let tables: Vec<String> = model.tables.iter().map(|table| format!("[table {}]", table.name)).collect();
    let tables = tables.join(" ");
    for route in &model.routes {
        lines.push(format!("{} {} ─▶ {} ─▶ {tables}", route.method, route.path, route.step));
    }
    for schedule in &model.schedules {
        for step in model.steps.iter().filter(|step| step.event_type == schedule.event_type) {
            lines.push(format!("schedule {} ─▶ ({})", schedule.name, step.queue));
        }
    }
    for step in &model.steps {
        let from = step.topic.as_ref().map_or_else(String::new, |topic| format!("{{topic {topic}}} ─▶ "));
        let kept = step.entity_kind.as_ref().map_or_else(String::new, |_| format!(" ─▶ {tables}"));
        let buckets: String = step.buckets.iter().map(|bucket| format!(" + /bucket {bucket}/")).collect();
        lines.push(format!("{from}({}) ─▶ {}{kept}{buckets}", step.queue, step.name));
    }
    for step in model.steps.iter().filter(|step| step.topic.is_none()) {
        let emitted = model.steps.iter().any(|from| from.emits.contains(&step.event_type))
            || model.routes.iter().any(|from| from.emits.contains(&step.event_type));
        if emitted {
            lines.push(format!("{tables} ─ stream ─▶ relay ─ {} ─▶ ({})", step.event_type, step.queue));
        }
    }
    for alarm in &model.alarms {
        if let Some(source) = model.source_of(&alarm.dead_letter_queue) {
            let dead = &alarm.dead_letter_queue;
            lines
                .push(format!("({}) ┄ failed ┄▶ ({dead}) ┄ alarm ┄▶ {{topic {}}}", source.name, alarm.topic));
        }
    }
    lines.join("\n")
}

fn node(sort: &str, name: &str) -> String {
    format!("{sort}_{}", name.replace('-', "_"))
}
