//! Reads a Pulumi YAML program, and finds what Pulumi or AWS would refuse in it: by the provider's own vocabulary.

use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use yaml_rust2::{Yaml, YamlLoader};

/// The vocabulary of the provider.
static PROVIDER: &str = include_str!("provider.json");

const TOP_LEVEL: &[&str] = &["name", "runtime", "description", "config", "variables", "resources", "outputs"];
const RESOURCE: &[&str] = &["type", "defaultProvider", "properties", "options"];
const OPTIONS: &[&str] = &["dependsOn", "protect", "version"];
const BUILTINS: &[&str] = &["fn::toJSON", "fn::select", "fn::split", "fn::fileArchive", "fn::invoke"];
const PULUMI: &[&str] = &["stack", "project"];

/// A program with its stacks.
pub struct Program {
    pub root: Value,
    pub stacks: BTreeMap<String, Value>,
    provider: Value,
}

/// What is wrong, and where.
pub type Faults = Vec<String>;

impl Program {
    /// Of the files `Pulumi.yaml` and `Pulumi.<stack>.yaml`.
    pub fn read(files: &[(String, String)]) -> Result<Self, String> {
        let (mut root, mut stacks) = (Value::Null, BTreeMap::new());
        for (name, text) in files {
            let value = read(text).map_err(|error| format!("{name}: {error}"))?;
            match name.strip_prefix("Pulumi.").and_then(|rest| rest.strip_suffix(".yaml")) {
                Some(stack) => drop(stacks.insert(stack.to_owned(), value)),
                None => root = value,
            }
        }
        let provider = serde_json::from_str(PROVIDER).map_err(|error| error.to_string())?;
        Ok(Self { root, stacks, provider })
    }

    fn object(&self, key: &str) -> &Map<String, Value> {
        static EMPTY: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
        self.root[key].as_object().unwrap_or(&EMPTY)
    }

    /// The resources of a type, by name.
    pub fn of_type<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = (&'a String, &'a Value)> {
        self.object("resources").iter().filter(move |(_, resource)| resource["type"] == kind)
    }

    /// The properties of a resource.
    pub fn properties(&self, name: &str) -> &Value {
        &self.root["resources"][name]["properties"]
    }

    /// All that is wrong.
    pub fn faults(&self) -> Faults {
        let mut faults = Vec::new();
        keys("the program", &self.root, TOP_LEVEL, &mut faults);
        for (name, resource) in self.object("resources") {
            keys(name, resource, RESOURCE, &mut faults);
            keys(&format!("{name}.options"), &resource["options"], OPTIONS, &mut faults);
            self.resource(name, resource, &mut faults);
        }
        for section in ["variables", "outputs"] {
            self.references(section, &self.root[section], &mut faults);
        }
        self.settings(&mut faults);
        self.policies(&mut faults);
        self.alarms(&mut faults);
        faults
    }

    fn resource(&self, name: &str, resource: &Value, faults: &mut Faults) {
        let kind = resource["type"].as_str().unwrap_or_default();
        self.references(name, &resource["properties"], faults);
        for other in resource["options"]["dependsOn"].as_array().into_iter().flatten() {
            let text = other.as_str().unwrap_or_default();
            let named = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
            if !named.is_some_and(|named| self.object("resources").contains_key(named)) {
                faults.push(format!("{name}: depends on {text}, which is no resource"));
            }
        }
        if kind == "pulumi:providers:aws" {
            if resource["options"]["version"] != self.provider["version"] {
                faults.push(format!("{name}: the provider's version is not {}", self.provider["version"]));
            }
            return;
        }
        let known = &self.provider["resources"][kind];
        if known.is_null() {
            faults.push(format!("{name}: no resource type {kind:?}"));
            return;
        }
        self.typed(name, &resource["properties"], &serde_json::json!({ "object": known["inputs"] }), faults);
    }

    /// Whether `value` is of the type `expected`, as `provider.json` writes types.
    fn typed(&self, at: &str, value: &Value, expected: &Value, faults: &mut Faults) {
        if let Some((function, _)) = builtin(value) {
            // What these give: a text, an archive, or one of a list of texts.
            let gives = if function == "fn::fileArchive" { "archive" } else { "string" };
            if expected != gives {
                faults.push(format!("{at}: {function} gives a {gives}, expected is {expected}"));
            }
            return;
        }
        let whole = value.as_str().and_then(whole_reference);
        match (expected.as_str(), value) {
            (Some("any"), _) => {}
            (Some("string"), Value::String(_)) => {}
            (Some("integer" | "number" | "boolean"), Value::String(_)) if whole.is_some() => {
                let setting = &self.root["config"][whole.unwrap_or_default()]["type"];
                let fits = setting == expected || (setting == "integer" && expected == "number");
                if !setting.is_null() && !fits {
                    faults.push(format!("{at}: the setting is a {setting}, expected is {expected}"));
                }
            }
            (Some("integer" | "number"), Value::Number(_)) | (Some("boolean"), Value::Bool(_)) => {}
            (Some(_), _) => faults.push(format!("{at}: {value} is no {expected}")),
            (None, _) => self.composed(at, value, expected, faults),
        }
    }

    fn composed(&self, at: &str, value: &Value, expected: &Value, faults: &mut Faults) {
        match value {
            Value::Array(items) if !expected["list"].is_null() => {
                for (place, item) in items.iter().enumerate() {
                    self.typed(&format!("{at}[{place}]"), item, &expected["list"], faults);
                }
            }
            Value::Object(entries) if !expected["map"].is_null() => {
                for (key, item) in entries {
                    self.typed(&format!("{at}.{key}"), item, &expected["map"], faults);
                }
            }
            Value::Object(entries) if expected["object"].is_object() => {
                let known = &expected["object"];
                for (key, item) in entries {
                    let required = format!("{key}!");
                    match [key.as_str(), &required].into_iter().find(|name| !known[name].is_null()) {
                        Some(name) => self.typed(&format!("{at}.{key}"), item, &known[name], faults),
                        None => faults.push(format!("{at}: no property {key:?}")),
                    }
                }
                for required in
                    known.as_object().into_iter().flatten().filter_map(|(name, _)| name.strip_suffix('!'))
                {
                    if !entries.contains_key(required) {
                        faults.push(format!("{at}: the property {required:?} is missing"));
                    }
                }
            }
            _ => faults.push(format!("{at}: {value} is no {expected}")),
        }
    }

    /// Every `${…}` in `value` names something that is there, and a property that it has.
    fn references(&self, at: &str, value: &Value, faults: &mut Faults) {
        match value {
            Value::String(text) => {
                for reference in references(text) {
                    if let Err(why) = self.resolve(reference) {
                        faults.push(format!("{at}: ${{{reference}}}: {why}"));
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.references(at, item, faults)),
            Value::Object(entries) => {
                for (key, item) in entries {
                    if key.starts_with("fn::") && (!BUILTINS.contains(&key.as_str()) || entries.len() != 1) {
                        faults.push(format!("{at}: {key} is no builtin, or does not stand alone"));
                    }
                    self.references(at, item, faults);
                }
            }
            _ => {}
        }
    }

    fn resolve(&self, reference: &str) -> Result<(), String> {
        if self.object("config").contains_key(reference) {
            return Ok(());
        }
        let (root, path) = reference.split_once('.').unwrap_or((reference, ""));
        if root == "pulumi" {
            return PULUMI.contains(&path).then_some(()).ok_or_else(|| "pulumi has no such value".into());
        }
        if self.object("variables").contains_key(root) {
            let known = root != "caller" || path == "accountId";
            return known.then_some(()).ok_or_else(|| format!("{root} has no {path:?}"));
        }
        let Some(resource) = self.object("resources").get(root) else {
            return Err("nothing has that name".into());
        };
        let kind = resource["type"].as_str().unwrap_or_default();
        let outputs = self.provider["resources"][kind]["outputs"].as_array();
        let known =
            path == "id" || outputs.is_some_and(|outputs| outputs.iter().any(|output| output == path));
        known.then_some(()).ok_or_else(|| format!("{kind} has no output {path:?}"))
    }

    /// The settings have types and values; each stack sets what has no default, and nothing else than there is.
    fn settings(&self, faults: &mut Faults) {
        let project = self.root["name"].as_str().unwrap_or_default();
        for (name, setting) in self.object("config").iter().filter(|(name, _)| !name.contains(':')) {
            let fits = |value: &Value| match setting["type"].as_str() {
                Some("string") => value.is_string(),
                Some("integer") => value.is_i64(),
                Some("boolean") => value.is_boolean(),
                _ => false,
            };
            if setting["description"].as_str().is_none_or(str::is_empty) {
                faults.push(format!("config {name}: no description"));
            }
            if !setting["default"].is_null() && !fits(&setting["default"]) {
                faults.push(format!("config {name}: the default is of another type"));
            }
            for (stack, values) in &self.stacks {
                let value = &values["config"][format!("{project}:{name}")];
                if value.is_null() && setting["default"].is_null() {
                    faults.push(format!("stack {stack}: does not set {name}"));
                }
                if !value.is_null() && !fits(value) {
                    faults.push(format!("stack {stack}: {name} is of another type"));
                }
            }
            let used = format!("${{{name}}}");
            if !self.root["resources"].to_string().contains(&used) {
                faults.push(format!("config {name}: nothing uses it"));
            }
        }
        for (stack, values) in &self.stacks {
            for key in values["config"].as_object().into_iter().flatten().map(|(key, _)| key) {
                let name = key.strip_prefix(project).and_then(|rest| rest.strip_prefix(':')).unwrap_or(key);
                if !self.object("config").contains_key(name) {
                    faults.push(format!("stack {stack}: there is no setting {key}"));
                }
            }
        }
    }

    /// All policies: their statements are whole, and what they allow is named.
    /// Alarms that may go off before their topic lets them publish, or before a queue hears of it: they tell of a change once.
    fn alarms(&self, faults: &mut Faults) {
        let hear = |(name, resource): (&String, &Value)| {
            let properties = &resource["properties"];
            let topic = if resource["type"] == "aws:sns:TopicPolicy" { "arn" } else { "topic" };
            let is_way = topic == "arn" || properties["protocol"] == "sqs";
            is_way.then(|| (properties[topic].clone(), format!("${{{name}}}")))
        };
        let ways: Vec<(Value, String)> = self
            .of_type("aws:sns:TopicPolicy")
            .chain(self.of_type("aws:sns:TopicSubscription"))
            .filter_map(hear)
            .collect();
        for (name, alarm) in self.of_type("aws:cloudwatch:MetricAlarm") {
            let tells = texts(&alarm["properties"]["alarmActions"]);
            let after = texts(&alarm["options"]["dependsOn"]);
            for (_, way) in
                ways.iter().filter(|(topic, _)| topic.as_str().is_some_and(|topic| tells.contains(&topic)))
            {
                if !after.contains(&way.as_str()) {
                    faults.push(format!("{name}: may go off before {way} is there"));
                }
            }
        }
    }

    fn policies(&self, faults: &mut Faults) {
        for (name, resource) in self.object("resources") {
            let properties = &resource["properties"];
            for property in ["policy", "assumeRolePolicy"] {
                let policy = &properties[property]["fn::toJSON"];
                let mut rights = BTreeSet::new();
                for statement in policy["Statement"].as_array().into_iter().flatten() {
                    statement_faults(name, property, statement, faults);
                    for right in rights_of(statement) {
                        if let Some(right) = rights.replace(right) {
                            faults.push(format!("{name}: {right} is there twice"));
                        }
                    }
                }
                if !properties[property].is_null() && policy["Version"] != "2012-10-17" {
                    faults.push(format!("{name}: a policy without its version"));
                }
            }
        }
    }

    /// What the policy of a role allows: actions with resources.
    pub fn allowed(&self, policy: &str) -> BTreeSet<(String, String)> {
        let statements = &self.properties(policy)["policy"]["fn::toJSON"]["Statement"];
        let mut allowed = BTreeSet::new();
        for statement in statements.as_array().into_iter().flatten() {
            for action in texts(&statement["Action"]) {
                for resource in texts(&statement["Resource"]) {
                    allowed.insert((action.to_owned(), resource.to_owned()));
                }
            }
        }
        allowed
    }
}

/// A document of YAML as JSON. A key that is there twice is an error.
fn read(text: &str) -> Result<Value, String> {
    let documents = YamlLoader::load_from_str(text).map_err(|error| error.to_string())?;
    let [document] = &documents[..] else { return Err(format!("{} documents", documents.len())) };
    json(document)
}

fn json(yaml: &Yaml) -> Result<Value, String> {
    Ok(match yaml {
        Yaml::String(text) => Value::from(text.as_str()),
        Yaml::Integer(number) => Value::from(*number),
        Yaml::Boolean(boolean) => Value::from(*boolean),
        Yaml::Array(items) => Value::Array(items.iter().map(json).collect::<Result<_, _>>()?),
        Yaml::Hash(entries) => {
            let mut map = Map::new();
            for (key, value) in entries {
                let key = key.as_str().ok_or_else(|| format!("the key {key:?} is no text"))?;
                map.insert(key.to_owned(), json(value)?);
            }
            Value::Object(map)
        }
        other => return Err(format!("{other:?} is nothing that a program needs")),
    })
}

/// What AWS has no resource to name for; everything else that is allowed is named.
const WITHOUT_RESOURCE: &[&str] = &["xray:PutTelemetryRecords", "xray:PutTraceSegments"];

/// Each action with each resource, and how it is allowed or refused.
fn rights_of(statement: &Value) -> Vec<String> {
    let how = ["Effect", "Principal", "Condition"].map(|part| statement[part].to_string()).join(" ");
    let right = |action: &str| {
        let on = |resource: &str| format!("{action} on {resource} {how}");
        let resources = texts(&statement["Resource"]);
        if resources.is_empty() { vec![on("")] } else { resources.into_iter().map(on).collect() }
    };
    texts(&statement["Action"]).into_iter().flat_map(right).collect()
}

fn statement_faults(name: &str, property: &str, statement: &Value, faults: &mut Faults) {
    const KNOWN: &[&str] = &["Effect", "Action", "Resource", "Principal", "Condition"];
    keys(name, statement, KNOWN, faults);
    let allows = statement["Effect"] == "Allow" || effect(&statement["Effect"]).is_some();
    if !allows && statement["Effect"] != "Deny" {
        faults.push(format!("{name}: a statement without an effect"));
    }
    let is_identity = property == "policy" && statement["Principal"].is_null();
    let actions = texts(&statement["Action"]);
    if actions.is_empty() {
        faults.push(format!("{name}: a statement without an action"));
    }
    if property == "policy" && texts(&statement["Resource"]).is_empty() {
        faults.push(format!("{name}: a statement without a resource"));
    }
    if !allows || !is_identity {
        return;
    }
    for action in &actions {
        if action.contains('*') || !action.contains(':') {
            faults.push(format!("{name}: the action {action} is not named"));
        }
    }
    for resource in texts(&statement["Resource"]) {
        let all = resource == "*" && !actions.iter().all(|action| WITHOUT_RESOURCE.contains(action));
        if all || !(resource == "*" || resource.starts_with("${")) {
            faults.push(format!("{name}: {actions:?} on {resource}, which is not named"));
        }
    }
}

/// What stands before `Allow`, of an effect that depends on the value of a setting: the setting, and the value that allows.
pub fn effect(effect: &Value) -> Option<(&str, &str)> {
    let cut = &effect["fn::select"].as_array().filter(|select| select[0] == 1)?[1]["fn::split"];
    let (value, text) = (cut[0].as_str()?, cut[1].as_str()?);
    let setting = value.strip_prefix("|${")?.strip_suffix("}|")?;
    let (word, refusal) = text.strip_prefix('|')?.split_once("|Allow")?;
    (refusal == format!("{value}Deny")).then_some((setting, word))
}

fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn keys(at: &str, value: &Value, known: &[&str], faults: &mut Faults) {
    for key in value.as_object().into_iter().flatten().map(|(key, _)| key) {
        if !known.contains(&key.as_str()) {
            faults.push(format!("{at}: no key {key:?}"));
        }
    }
}

fn builtin(value: &Value) -> Option<(&String, &Value)> {
    value.as_object()?.iter().find(|(key, _)| key.starts_with("fn::"))
}

fn references(text: &str) -> impl Iterator<Item = &str> {
    text.split("${").skip(1).map(|rest| rest.split_once('}').map_or(rest, |(inside, _)| inside))
}

/// What `text` refers to, where it is nothing but a reference.
fn whole_reference(text: &str) -> Option<&str> {
    text.strip_prefix("${")?.strip_suffix('}').filter(|inside| !inside.contains('}'))
}
