//! The settings of a simulation.

use crate::{model::Model, system::System};
use std::collections::BTreeMap;

/// The values of settings that nobody says, by their names. It is AWS that is simulated: a setting with a default for stacks has
/// that one. What stands for a service is as on one machine, and what the demonstration sets goes before both.
pub fn defaults(system: &dyn System, model: &Model) -> BTreeMap<String, String> {
    let of_stack = model.settings.iter().filter_map(|setting| {
        let default = setting.default.clone().filter(|_| setting.words.is_empty())?;
        Some((setting.name.clone(), default))
    });
    let of_demo = system.demo().map(|demo| demo.settings()).unwrap_or_default();
    of_stack.chain(of_demo.into_iter().map(|(name, value)| (name.to_owned(), value))).collect()
}
