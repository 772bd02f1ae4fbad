//! A Pulumi YAML program while it is written: resources in order, each under the heading of its part of the flow.

use super::yaml::{Map, Yaml, document};
use std::collections::BTreeSet;

/// The resources of a program, and the names that were given away twice.
#[derive(Debug, Default)]
pub(super) struct Program {
    resources: Map,
    /// Whether what was added last is a comment on what follows.
    is_told: bool,
    names: BTreeSet<String>,
    doubles: BTreeSet<String>,
}

/// Where a resource stands among others: what Pulumi calls its options.
#[derive(Debug, Default)]
pub(super) struct Options(Map);

impl Options {
    /// Made, and changed, after `resource`, which nothing in the properties refers to.
    pub(super) fn after(resource: &str) -> Self {
        Self::after_all(&[resource])
    }

    /// Made, and changed, after `resources`.
    pub(super) fn after_all(resources: &[&str]) -> Self {
        let references: Vec<String> = resources.iter().map(|resource| reference(resource)).collect();
        Self(Map::new().with("dependsOn", references))
    }

    /// Not removed while `setting` is on.
    pub(super) fn protected_by(setting: &str) -> Self {
        Self(Map::new().with("protect", reference(setting)))
    }

    /// With the version of the provider's plugin.
    pub(super) fn version(version: &str) -> Self {
        Self(Map::new().with("version", version))
    }
}

/// What refers to a resource, a variable, a setting, or a property of one.
pub(super) fn reference(path: &str) -> String {
    format!("${{{path}}}")
}

/// A name of the model as one of the program: `pack-order` and `Queue` make `packOrderQueue`.
pub(super) fn logical(name: &str, what: &str) -> String {
    let mut logical = String::with_capacity(name.len() + what.len());
    let mut begins = false;
    for character in name.chars() {
        match character {
            '-' | '_' => begins = true,
            letter if begins => {
                logical.push(letter.to_ascii_uppercase());
                begins = false;
            }
            letter => logical.push(letter),
        }
    }
    logical.push_str(what);
    logical
}

impl Program {
    /// Begins a part of the flow; `about` says what happens in it.
    pub(super) fn section(&mut self, about: &str) {
        self.say(format!("{}\n{about}", "-".repeat(116)));
    }

    /// A comment before the next resource.
    pub(super) fn say(&mut self, about: impl Into<String>) {
        self.resources.blank();
        self.resources.say(about);
        self.is_told = true;
    }

    /// Adds a resource.
    pub(super) fn resource(&mut self, name: &str, kind: &str, properties: Map, options: Options) {
        let mut resource = Map::new().with("type", kind);
        if kind.starts_with("pulumi:providers:") {
            resource.put("defaultProvider", true);
        }
        resource.put("properties", properties);
        if !options.0.is_empty() {
            resource.put("options", options.0);
        }
        if !self.names.insert(name.to_owned()) {
            self.doubles.insert(name.to_owned());
        }
        if !std::mem::take(&mut self.is_told) {
            self.resources.blank();
        }
        self.resources.put(name, resource);
    }

    /// The resources in their order: name, type and properties.
    pub(super) fn resources(&self) -> impl Iterator<Item = (&str, &str, &Map)> {
        self.resources.entries().filter_map(|(name, resource)| match resource {
            Yaml::Map(resource) => match (resource.get("type"), resource.get("properties")) {
                (Some(Yaml::Text(kind)), Some(Yaml::Map(properties))) => {
                    Some((name, kind.as_str(), properties))
                }
                _ => None,
            },
            _ => None,
        })
    }

    /// Names that two resources have.
    pub(super) fn doubles(&self) -> impl Iterator<Item = &String> {
        self.doubles.iter()
    }

    /// Those of `names` that a resource has as well.
    pub(super) fn taken<'a>(&self, names: impl Iterator<Item = &'a str>) -> Vec<String> {
        names.filter(|name| self.names.contains(*name)).map(str::to_owned).collect()
    }

    /// The program's text: `head` (its name, settings and variables), the resources, `outputs`.
    pub(super) fn text(self, mut head: Map, outputs: Map) -> String {
        head.blank();
        head.put("resources", self.resources);
        head.blank();
        head.put("outputs", outputs);
        document(&head)
    }
}

/// The JSON of `map`, made by Pulumi when references in it are known.
pub(super) fn json(map: Map) -> Yaml {
    super::yaml::call("toJSON", map).into()
}
