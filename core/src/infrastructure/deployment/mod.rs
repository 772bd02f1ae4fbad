//! What it takes to deploy a program: the rights of whoever applies it, applies it again, refreshes it and removes it. Derived
//! from the resources themselves, so that none is missing and none is there for something else.

mod kinds;
mod policy;

pub use policy::{POLICY_BYTES_MAX, Rights};

use super::{
    InfrastructureError,
    program::Program,
    settings::{self, ConfigKey},
    yaml::{Map, Yaml},
};
use crate::model::Model;
use kinds::{KINDS, Only, Right, WIDE};
use policy::{Condition, Granted};
use std::collections::{BTreeMap, BTreeSet};

/// Where a program is deployed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeployedTo {
    /// The account's number.
    pub account: String,
    /// The region.
    pub region: String,
    /// The stack, or a pattern with `*` for stacks that are made and removed again.
    pub stack: String,
}

/// The types of resources that take a right wider than the resource, with the actions, and the reason.
pub fn wide() -> Vec<(&'static str, Vec<&'static str>, &'static str)> {
    let of = |kind: &'static str, rights: &'static [Right]| {
        WIDE.iter().filter_map(move |(wide, why)| {
            let actions: BTreeSet<&str> = rights
                .iter()
                .filter(|right| right.wide == Some(*wide))
                .flat_map(|right| right.actions)
                .copied()
                .collect();
            (!actions.is_empty()).then(|| (kind, actions.into_iter().collect(), *why))
        })
    };
    KINDS.iter().flat_map(|(kind, rights)| of(kind, rights)).collect()
}

/// A program, as far as its names are to be known.
struct Names<'a> {
    to: &'a DeployedTo,
    system: &'a str,
    /// The values of its configuration, as the stack has them.
    values: BTreeMap<String, String>,
    program: &'a Program,
}

/// The rights that it takes to deploy `program`.
pub(super) fn of(
    program: &Program,
    model: &Model,
    keys: &[ConfigKey],
    values: BTreeMap<String, String>,
    to: &DeployedTo,
) -> Result<Rights, InfrastructureError> {
    let defaults = keys.iter().filter_map(|key| Some((key.name().to_owned(), key.default_text()?)));
    let values = defaults.chain(values).collect();
    let names = Names { to, system: &model.name, values, program };
    let mut rights = Rights::default();
    for (name, kind, properties) in program.resources() {
        let (_, of_kind) = KINDS.iter().find(|(known, _)| *known == kind).ok_or_else(|| {
            InfrastructureError::NoRightsKnown { resource: name.to_owned(), kind: kind.to_owned() }
        })?;
        for right in *of_kind {
            for granted in names.granted(name, right, properties)? {
                rights.add(granted);
            }
        }
    }
    names.of_others(model, &mut rights)?;
    Ok(rights)
}

impl Names<'_> {
    fn unknown(&self, resource: &str, reference: &str) -> InfrastructureError {
        InfrastructureError::NameUnknown { resource: resource.to_owned(), reference: reference.to_owned() }
    }

    /// What a right is on this resource.
    fn granted(
        &self,
        resource: &str,
        right: &Right,
        properties: &Map,
    ) -> Result<Vec<Granted>, InfrastructureError> {
        let condition = self.condition(resource, right.only, properties)?;
        let arns = right.on.iter().map(|pattern| self.filled(resource, pattern, properties));
        let arns = arns.collect::<Result<Vec<_>, _>>()?;
        Ok(arns
            .into_iter()
            .map(|on| Granted { actions: right.actions, on, condition: condition.clone() })
            .collect())
    }

    /// The pattern of an ARN with the names of this place and this resource.
    fn filled(&self, resource: &str, pattern: &str, properties: &Map) -> Result<String, InfrastructureError> {
        let mut filled = String::with_capacity(pattern.len() + 32);
        let mut left = pattern;
        while let Some((before, rest)) = left.split_once('{') {
            let (word, rest) = rest.split_once('}').unwrap_or((rest, ""));
            filled.push_str(before);
            filled.push_str(&match word {
                "region" => self.to.region.clone(),
                "account" => self.to.account.clone(),
                property => self.property(resource, property, properties)?,
            });
            left = rest;
        }
        Ok(filled + left)
    }

    /// A property, where every reference stands for the name of what it refers to.
    fn property(
        &self,
        resource: &str,
        property: &str,
        properties: &Map,
    ) -> Result<String, InfrastructureError> {
        match properties.get(property) {
            Some(Yaml::Text(text)) => self.resolved(resource, text),
            _ => Err(self.unknown(resource, property)),
        }
    }

    fn resolved(&self, resource: &str, text: &str) -> Result<String, InfrastructureError> {
        let mut resolved = String::with_capacity(text.len());
        let mut left = text;
        while let Some((before, rest)) = left.split_once("${") {
            let (path, rest) = rest.split_once('}').ok_or_else(|| self.unknown(resource, text))?;
            resolved.push_str(before);
            resolved.push_str(&self.reference(resource, path)?);
            left = rest;
        }
        Ok(resolved + left)
    }

    fn reference(&self, resource: &str, path: &str) -> Result<String, InfrastructureError> {
        match path {
            "prefix" => return Ok(format!("{}-{}", self.system, self.to.stack)),
            "pulumi.stack" => return Ok(self.to.stack.clone()),
            "caller.accountId" => return Ok(self.to.account.clone()),
            settings::REGION => return Ok(self.to.region.clone()),
            _ => {}
        }
        if let Some(value) = self.values.get(path) {
            return Ok(value.clone());
        }
        let referred = path.split_once('.').map_or(path, |(referred, _)| referred);
        let of = self.program.resources().find(|(name, ..)| *name == referred);
        let (name, _, properties) = of.ok_or_else(|| self.unknown(resource, path))?;
        let own = ["name", "bucket", "dashboardName"].into_iter().find(|own| properties.get(own).is_some());
        self.property(name, own.unwrap_or("name"), properties)
    }

    fn condition(
        &self,
        resource: &str,
        only: Only,
        properties: &Map,
    ) -> Result<Option<Condition>, InfrastructureError> {
        let tags = |of: &str| {
            let tag = |name: &str, value: &str| (format!("aws:{of}/{name}"), value.to_owned());
            Condition::equal([tag("system", self.system), tag("stack", &self.to.stack)])
        };
        Ok(match only {
            Only::Always => None,
            Only::TaggedSo => Some(tags("RequestTag")),
            Only::Tagged => Some(tags("ResourceTag")),
            Only::ByDynamoDb => {
                let service = format!("dynamodb.{}.amazonaws.com", self.to.region);
                let by = ("kms:ViaService".to_owned(), service);
                Some(tags("ResourceTag").and(Condition::equal([by])))
            }
            Only::Function => {
                let pattern = "arn:aws:lambda:{region}:{account}:function:{functionName}";
                Some(Condition::function(self.filled(resource, pattern, properties)?))
            }
            Only::PassedToItsService => {
                let trusted = properties.get("assumeRolePolicy").and_then(service_of);
                let service = trusted.ok_or_else(|| self.unknown(resource, "assumeRolePolicy"))?;
                Some(Condition::equal([("iam:PassedToService".to_owned(), service)]))
            }
        })
    }

    /// What the program looks up, of others.
    fn of_others(&self, model: &Model, rights: &mut Rights) -> Result<(), InfrastructureError> {
        let DeployedTo { account, region, .. } = self.to;
        for queue in model.queues.iter().filter(|queue| queue.is_outside) {
            let name = self.reference(&queue.name, &settings::outside(&queue.name))?;
            let actions = &["sqs:GetQueueAttributes", "sqs:GetQueueUrl", "sqs:ListQueueTags"];
            let on = format!("arn:aws:sqs:{region}:{account}:{name}");
            rights.add(Granted { actions, on, condition: None });
        }
        for bus in model.buses.iter().filter(|bus| bus.is_outside) {
            let name = bus.physical.as_ref().unwrap_or(&bus.name);
            let on = format!("arn:aws:events:{region}:{account}:event-bus/{name}");
            rights.add(Granted { actions: &["events:DescribeEventBus"], on, condition: None });
        }
        Ok(())
    }
}

/// The service that a trust policy names.
fn service_of(policy: &Yaml) -> Option<String> {
    match policy {
        Yaml::Map(map) => match map.get("Service") {
            Some(Yaml::Text(service)) => Some(service.clone()),
            _ => map.values().find_map(service_of),
        },
        Yaml::List(list) => list.iter().find_map(service_of),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{choreography::Choreography, infrastructure::program::Options};

    fn to() -> DeployedTo {
        DeployedTo { account: "123456789012".into(), region: "eu-west-1".into(), stack: "dev".into() }
    }

    fn rights(program: &Program) -> Result<Rights, InfrastructureError> {
        let choreography = Choreography::define("shop").build().unwrap();
        of(program, choreography.model(), &[], BTreeMap::new(), &to())
    }

    #[test]
    fn a_resource_of_a_type_that_nobody_knows_is_an_error_that_names_it() {
        let mut program = Program::default();
        program.resource("ferry", "aws:transfer:Server", Map::new(), Options::default());
        let error = rights(&program).unwrap_err();
        assert!(error.to_string().contains("\"ferry\"") && error.to_string().contains("aws:transfer:Server"));
    }

    #[test]
    fn a_name_that_is_not_known_before_is_an_error_that_names_the_reference() {
        let mut program = Program::default();
        let named = Map::new().with("name", "${nobody.arn}");
        program.resource("queue", "aws:sqs:Queue", named, Options::default());
        assert!(rights(&program).unwrap_err().to_string().contains("nobody.arn"));
    }

    #[test]
    fn every_action_stands_once_in_a_right_and_every_wide_pattern_has_its_reason() {
        for (kind, rights) in KINDS {
            for right in *rights {
                let sorted: BTreeSet<&&str> = right.actions.iter().collect();
                assert_eq!(sorted.len(), right.actions.len(), "{kind}: {:?}", right.actions);
                assert!(right.actions.iter().all(|action| !action.contains('*')), "{kind}");
                for pattern in right.on {
                    // Of a resource of its own, the name is in it; beyond that, objects and streams of it alone.
                    let own = pattern
                        .rsplit_once('{')
                        .is_some_and(|(_, last)| !last.starts_with("account") && !last.starts_with("region"));
                    assert_eq!(own, right.wide.is_none(), "{kind}: {pattern}");
                }
            }
        }
    }
}
