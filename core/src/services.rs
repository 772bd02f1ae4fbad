//! The services of a running choreography, by their traits.

use std::{
    any::{Any, TypeId, type_name},
    collections::BTreeMap,
    fmt,
    sync::Arc,
};

/// The name of a service in the model: that of its trait, without its path.
pub fn service_name<S: ?Sized + 'static>() -> &'static str {
    let name = type_name::<S>();
    let name = name.strip_prefix("dyn ").unwrap_or(name);
    // Of `a::B<c::D>` the path before `B` goes, and not what stands in the angle brackets.
    let (path, _) = name.split_once('<').unwrap_or((name, ""));
    path.rsplit("::").next().unwrap_or(path)
}

/// The services of a running choreography, by their traits.
#[derive(Clone, Default)]
pub struct Services {
    by_trait: BTreeMap<TypeId, Arc<dyn Any + Send + Sync>>,
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").field("count", &self.by_trait.len()).finish_non_exhaustive()
    }
}

impl Services {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `service` there, also in place of the one that the definition would make.
    #[must_use]
    pub fn with<S: ?Sized + Send + Sync + 'static>(mut self, service: Arc<S>) -> Self {
        self.by_trait.insert(TypeId::of::<S>(), Arc::new(service));
        self
    }

    /// The service behind the trait `S`.
    pub fn get<S: ?Sized + Send + Sync + 'static>(&self) -> Option<Arc<S>> {
        self.by_trait.get(&TypeId::of::<S>())?.downcast_ref::<Arc<S>>().cloned()
    }

    pub(crate) fn has(&self, of_trait: TypeId) -> bool {
        self.by_trait.contains_key(&of_trait)
    }

    pub(crate) fn put(&mut self, of_trait: TypeId, service: Arc<dyn Any + Send + Sync>) {
        self.by_trait.insert(of_trait, service);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    trait Kitchen: Send + Sync {
        fn cooks(&self) -> u32;
    }

    struct Three;

    impl Kitchen for Three {
        fn cooks(&self) -> u32 {
            3
        }
    }

    trait Of<T>: Send + Sync + AsRef<T> {}

    #[test]
    fn a_service_has_the_name_of_its_trait() {
        assert_eq!(service_name::<dyn Kitchen>(), "Kitchen");
        assert_eq!(service_name::<dyn Of<std::time::Duration>>(), "Of");
        assert_eq!(service_name::<Three>(), "Three");
    }

    #[test]
    fn a_service_is_found_by_its_trait_and_the_last_one_counts() {
        let services = Services::new().with::<dyn Kitchen>(Arc::new(Three));
        assert_eq!(services.get::<dyn Kitchen>().map(|kitchen| kitchen.cooks()), Some(3));
        assert!(services.get::<Three>().is_none());
    }
}
