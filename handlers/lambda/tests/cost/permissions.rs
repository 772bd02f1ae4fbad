//! What the functions did, held against what the infrastructure's policies are derived from: nothing was done that they do
//! not allow. That they need all of it, `tests/permissions` shows, for each system.

use crate::definition::needs;
use quadrille::needs::Needs;
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
