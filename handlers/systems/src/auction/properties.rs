//! What holds of the auction whatever happens.

use super::{
    platform::AuctionPlatform,
    results::RESULTS_BUCKET,
    run::{Run, kickoff_of},
};
use quadrille::{
    Entity as _, Stored,
    domain::auction::{Order, OrderStatus, record_of_result},
    service_name,
    sim::{Property, World, each_commit, eventually, sometimes},
};
use std::collections::{BTreeMap, BTreeSet};

/// All of it.
pub(super) fn properties() -> Vec<Property> {
    vec![
        each_commit::<Order>("a decision never changes", decision_stays),
        each_commit::<Order>(
            "an order is never kept for less long than before",
            |before, after| match before {
                Some(before) if after.expires_at < before.expires_at => Err(format!(
                    "{} was to expire at {}, and is at {}",
                    after.record_id, before.expires_at, after.expires_at
                )),
                _ => Ok(()),
            },
        ),
        each_commit::<Run>(
            "a run is named after its kickoff, which is at a full second",
            named_after_kickoff,
        ),
        eventually("an order is filed once and rightly where it is accepted, and else not at all", filed),
        eventually("the platform never gets two sets of orders under one run and page", one_set),
        eventually("an order is submitted under one run, or taken over from one that was left", one_run),
        eventually("an order that was submitted is decided", decided),
        eventually("a run that has ended has read every page of the platform's answer", heard),
        sometimes("an order is rejected", |world| {
            world.entities::<Order>().iter().any(|order| order.status == OrderStatus::Rejected)
        }),
        sometimes("an order is withdrawn", |world| {
            world.entities::<Order>().iter().any(|order| order.status == OrderStatus::Withdrawn)
        }),
        sometimes("a run is left to another one", |world| {
            world.entities::<Run>().iter().any(|run| run.is_given_up)
        }),
    ]
}

fn decision_stays(before: Option<&Stored<Order>>, after: &Stored<Order>) -> Result<(), String> {
    let Some(before) = before.filter(|before| !before.is_undecided()) else { return Ok(()) };
    let decision = |order: &Order| {
        let undecidable = (order.undecidable.clone(), order.platform_status.clone());
        (order.status, order.power.clone(), order.decided_at, undecidable, order.run_id.clone())
    };
    if decision(before) == decision(after) {
        return Ok(());
    }
    Err(format!("of {}: {:?}, and then {:?}", after.record_id, decision(before), decision(after)))
}

fn named_after_kickoff(before: Option<&Stored<Run>>, after: &Stored<Run>) -> Result<(), String> {
    let kickoff = kickoff_of(after).map_err(|failure| failure.to_string())?;
    if before.is_some() || kickoff.as_millis() % 1_000 == 0 {
        return Ok(());
    }
    Err(format!("run {} is named after no kickoff", after.run_id))
}

/// The objects that were filed for each order.
fn filed(world: &World<'_>) -> Result<(), String> {
    let objects = world.objects(RESULTS_BUCKET);
    let mut filed: BTreeMap<String, Vec<&[u8]>> = BTreeMap::new();
    for (key, body) in &*objects {
        let record = record_of_result(key).ok_or_else(|| format!("{key} is of no order"))?;
        filed.entry(record).or_default().push(body);
    }
    if let Some((id, objects)) = filed.iter().find(|(_, objects)| objects.len() > 1) {
        return Err(format!("{id} is filed {} times", objects.len()));
    }
    for order in world.entities::<Order>() {
        let body = filed.get(&order.record_id).and_then(|objects| objects.first());
        let result = order.result().filter(|result| result.status == OrderStatus::Accepted);
        let right = result.map(|result| serde_json::to_vec(&result).unwrap_or_default());
        if order.is_undecided() || body.copied() == right.as_deref() {
            continue;
        }
        let shown = body.map(|body| String::from_utf8_lossy(body));
        return Err(format!("{} is {}, and filed as {shown:?}", order.record_id, order.status));
    }
    Ok(())
}

/// What the platform was given: run, page, and the ids of the orders.
fn submitted<'a>(world: &World<'a>) -> impl Iterator<Item = (&'a str, &'a str, &'a str)> {
    let asked = world.asked(service_name::<dyn AuctionPlatform>()).iter();
    asked.filter_map(|asked| {
        let mut words = asked.what.strip_prefix("submit ")?.splitn(3, ' ');
        Some((words.next()?, words.next()?, words.next()?))
    })
}

fn one_set(world: &World<'_>) -> Result<(), String> {
    let mut sets = BTreeMap::new();
    for (run, page, ids) in submitted(world) {
        let first = *sets.entry((run, page)).or_insert(ids);
        if first != ids {
            return Err(format!("of run {run}, page {page}: {first}, and then {ids}"));
        }
    }
    Ok(())
}

fn one_run(world: &World<'_>) -> Result<(), String> {
    let mut runs: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for (run, _, ids) in submitted(world) {
        let ids: Vec<String> = serde_json::from_str(ids).map_err(|error| error.to_string())?;
        ids.into_iter().for_each(|id| _ = runs.entry(id).or_default().insert(run));
    }
    for order in world.entities::<Order>() {
        let of_order = runs.get(&order.record_id).into_iter().flatten();
        for run in of_order.filter(|run| order.run_id.as_deref() != Some(**run)) {
            if world.entity::<Run>(run).is_some_and(|run| !run.is_given_up) {
                return Err(format!(
                    "{} was submitted to run {run}, and is {:?}'s",
                    order.record_id, order.run_id
                ));
            }
        }
    }
    Ok(())
}

/// The platform answers a page for each page that it was given. One whose orders are all another run's by now is that run's to read.
fn heard(world: &World<'_>) -> Result<(), String> {
    let mut given: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (run, page, ids) in submitted(world) {
        let ids: Vec<String> = serde_json::from_str(ids).map_err(|error| error.to_string())?;
        let mut orders = ids.iter().filter_map(|id| world.entity::<Order>(id));
        if orders.any(|order| order.run_id.as_deref() == Some(run)) {
            given.entry(run).or_default().insert(page);
        }
    }
    let mut read: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for asked in world.asked(service_name::<dyn AuctionPlatform>()) {
        let words = asked.what.strip_prefix("results ").and_then(|words| words.split_once(' '));
        words.into_iter().for_each(|(run, after)| _ = read.entry(run).or_default().insert(after));
    }
    for (run, pages) in given {
        let read = read.get(run).map_or(0, BTreeSet::len);
        if read < pages.len() && world.entity::<Run>(run).is_some_and(|run| run.is_ended()) {
            return Err(format!("run {run} has given {} pages, and read {read}", pages.len()));
        }
    }
    Ok(())
}

fn decided(world: &World<'_>) -> Result<(), String> {
    let orders = world.entities::<Order>();
    let undecided = orders.iter().find(|order| order.run_id.is_some() && !order.status.is_decided());
    undecided.map_or(Ok(()), |order| Err(format!("{}: {:?}", order.record_id, order.undecidable)))
}
