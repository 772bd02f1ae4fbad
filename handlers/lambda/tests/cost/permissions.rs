//! What the functions did, held against what the infrastructure's policies are derived from: nothing was done that they do
//! not allow, and no table or bucket is allowed to be used in a way in which it is not used.

use crate::definition::needs;
use quadrille::{
    choreography::{BucketUse, TableUse},
    needs::Needs,
};
use std::collections::{BTreeMap, BTreeSet};

/// What a function did: actions of IAM, each with the name in the model of what it was done to.
pub type Done = BTreeSet<(String, String)>;

pub fn check(done: &BTreeMap<String, Done>) {
    let choreography = quadrille::system::choreography(&systems::auction::Auction).unwrap();
    for (function, done) in done {
        let needs = needs(choreography.model(), function);
        let allowed = allowed(&needs);
        let refused: Vec<_> = done.difference(&allowed).collect();
        assert!(refused.is_empty(), "{function} would not be allowed {refused:?}");
        let unused = unused(&needs, done);
        assert!(unused.is_empty(), "{function} declares what it does not do: {unused:?}");
    }
}

fn allowed(needs: &Needs) -> Done {
    fn each<U: Copy>(
        allowed: &mut Done,
        needed: &BTreeMap<String, BTreeSet<U>>,
        actions: impl Fn(U) -> &'static [&'static str],
    ) {
        for (name, uses) in needed {
            let actions = uses.iter().flat_map(|used| actions(*used));
            allowed.extend(actions.map(|action| ((*action).to_owned(), name.clone())));
        }
    }
    let mut allowed = Done::new();
    each(&mut allowed, &needs.tables, |used| used.actions());
    each(&mut allowed, &needs.queues, |used| used.actions());
    each(&mut allowed, &needs.buckets, |used| used.actions());
    each(&mut allowed, &needs.topics, |used| used.actions());
    allowed
}

/// The uses that nothing was done for. The actions that only stand by (to look at what was in the way of a write) are none.
fn unused(needs: &Needs, done: &Done) -> Vec<String> {
    let of_table = |used: TableUse| -> &[&str] {
        match used {
            TableUse::Get => &["dynamodb:BatchGetItem", "dynamodb:GetItem"],
            TableUse::Query => &["dynamodb:Query"],
            TableUse::Commit => &["dynamodb:PartiQLInsert", "dynamodb:PartiQLUpdate", "dynamodb:PutItem"],
        }
    };
    let of_bucket = |used: BucketUse| -> &[&str] {
        match used {
            BucketUse::Put => &["s3:PutObject"],
            BucketUse::Get => &["s3:GetObject"],
            BucketUse::List => &["s3:ListBucket"],
        }
    };
    let did = |name: &String, actions: &[&str]| {
        actions.iter().any(|action| done.contains(&((*action).to_owned(), name.clone())))
    };
    let tables = needs.tables.iter().flat_map(|(name, uses)| uses.iter().map(move |used| (name, *used)));
    let buckets = needs.buckets.iter().flat_map(|(name, uses)| uses.iter().map(move |used| (name, *used)));
    let tables = tables.filter(|(name, used)| !did(name, of_table(*used)));
    let buckets = buckets.filter(|(name, used)| !did(name, of_bucket(*used)));
    let tables = tables.map(|(name, used)| format!("{name}: {used:?}"));
    tables.chain(buckets.map(|(name, used)| format!("{name}: {used:?}"))).collect()
}
