//! What the functions of a system are told, for tests that deploy it.

use quadrille::{
    aws::{Names, Needs},
    choreography::{FUNCTION, Model, ResourceKind, Variable},
};

/// What a function needs.
pub fn needs(model: &Model, function: &str) -> Needs {
    Needs::of_step(model, function).unwrap_or_else(|| {
        assert_eq!(function, "relay");
        Needs::of_relay(model)
    })
}

/// The variables that tell a function which one it is, and the names of what it needs and of nothing else.
pub fn told(model: &Model, function: &str, names: &Names) -> Vec<(String, String)> {
    let value = |variable: Variable| {
        let names = match variable.kind {
            ResourceKind::Table => &names.tables,
            ResourceKind::Queue => &names.queues,
            ResourceKind::Bucket => &names.buckets,
            ResourceKind::Topic => &names.topics,
            ResourceKind::Bus => &names.buses,
        };
        (variable.name, names[&variable.of].clone())
    };
    let which = (FUNCTION.to_owned(), function.to_owned());
    needs(model, function).variables(model).into_iter().map(value).chain([which]).collect()
}
