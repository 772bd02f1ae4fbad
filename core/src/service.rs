//! Services: what a flow needs of the outside, behind a trait of the user's.
//!
//! A payment gateway, a kitchen, whoever is told of alarms: a handler sees a trait and asks its
//! [`Context`](crate::Context) for it. The definition declares the trait and says how it is made of settings and ports; the
//! definition itself holds no live service, so that it is the same whoever looks at it. Whoever runs the choreography makes
//! the services, or puts others in their place: a simulated one, a faulty one.
//!
//! ```
//! use quadrille::{Service, Setting, Uses};
//! use std::sync::Arc;
//!
//! trait Kitchen: Send + Sync {}
//! struct HttpKitchen(String);
//! impl Kitchen for HttpKitchen {}
//!
//! let kitchen = Service::<dyn Kitchen>::new(|around| Ok(Arc::new(HttpKitchen(around.setting("kitchen_url")?))))
//!     .uses(Uses::new().setting("kitchen_url"));
//! ```

use crate::{
    failure::Failure,
    model::{Model, ServiceModel, Uses},
    port::{Bucket, Clock, Ports, Random},
    services::{Services, service_name},
    setting::{FromSetting, SettingError, Settings},
    wire::{Outside, Wire},
};
use std::{
    any::{Any, TypeId},
    collections::BTreeMap,
    fmt,
    sync::Arc,
};

/// What a service is made of.
pub struct Surroundings<'a> {
    name: &'a str,
    uses: &'a Uses,
    settings: &'a Settings,
    ports: &'a Ports,
    /// What is outside, in a simulation.
    outside: Option<Arc<dyn Outside>>,
}

impl fmt::Debug for Surroundings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings").field("service", &self.name).finish_non_exhaustive()
    }
}

impl Surroundings<'_> {
    /// The value of a setting that the service declares to use.
    ///
    /// # Errors
    /// [`SettingError::Undeclared`], or [`SettingError::Missing`] where it was left out.
    pub fn setting<T: FromSetting>(&self, name: &str) -> Result<T, SettingError> {
        if !self.uses.settings().contains(name) {
            return Err(SettingError::Undeclared(name.to_owned()));
        }
        self.settings.get(name)
    }

    pub(crate) fn settings(&self) -> &Settings {
        self.settings
    }

    /// The error of a setting's value that is well formed and still of no use.
    pub fn refuse(&self, name: &str, problem: impl fmt::Display, cure: impl fmt::Display) -> SettingError {
        self.settings.refuse(name, problem, cure)
    }

    /// A bucket that the service declares to use.
    ///
    /// # Errors
    /// [`SettingError::Undeclared`] where it declares none of that name.
    pub fn bucket(&self, name: &str) -> Result<Arc<dyn Bucket>, SettingError> {
        let undeclared = || SettingError::Undeclared(name.to_owned());
        if !self.uses.buckets().contains_key(name) {
            return Err(undeclared());
        }
        self.ports.bucket(name).map(Arc::clone).map_err(|_| undeclared())
    }

    /// The way to what the service stands for, where that is outside: whoever simulates it asks over this.
    pub fn wire(&self) -> Wire {
        Wire::to(self.name, self.outside.clone())
    }

    /// The time.
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.ports.clock)
    }

    /// Random numbers.
    pub fn random(&self) -> Arc<dyn Random> {
        Arc::clone(&self.ports.random)
    }
}

/// Whether what is made of these acts by ports and its wire alone.
type Tried = dyn Fn(&Surroundings<'_>) -> Result<bool, SettingError> + Send + Sync;

type Make<S> = dyn Fn(&Surroundings<'_>) -> Result<Arc<S>, SettingError> + Send + Sync;

/// A service of a definition: `S` is the trait, as in `Service::<dyn Kitchen>::new(…)`.
pub struct Service<S: ?Sized> {
    uses: Uses,
    make: Arc<Make<S>>,
    tried: Option<Arc<Tried>>,
}

impl<S: ?Sized + 'static> fmt::Debug for Service<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("name", &service_name::<S>())
            .field("uses", &self.uses)
            .finish_non_exhaustive()
    }
}

impl<S: ?Sized + Send + Sync + 'static> Service<S> {
    /// A service that `make` makes, in every process that runs a handler which uses it.
    pub fn new(
        make: impl Fn(&Surroundings<'_>) -> Result<Arc<S>, SettingError> + Send + Sync + 'static,
    ) -> Self {
        Self { uses: Uses::new(), make: Arc::new(make), tried: None }
    }

    /// Where it is safe to try: `is_safe` says of its surroundings whether what is made of them acts by its ports and its
    /// [wire](Surroundings::wire) alone, as one does that only simulates. There a trial, which holds back what ports are told, may
    /// ask it. Without this a trial never asks it, and nobody can tell what would become of a message that needs it.
    #[must_use]
    pub fn tried_where(
        mut self,
        is_safe: impl Fn(&Surroundings<'_>) -> Result<bool, SettingError> + Send + Sync + 'static,
    ) -> Self {
        self.tried = Some(Arc::new(is_safe));
        self
    }

    /// What it uses itself of settings and buckets. The functions of the handlers that use it get what that takes.
    #[must_use]
    pub fn uses(mut self, uses: Uses) -> Self {
        self.uses = self.uses.and(uses);
        self
    }

    pub(crate) fn into_parts(self) -> (ServiceModel, Arc<dyn Maker>) {
        let model = ServiceModel { name: service_name::<S>().to_owned(), uses: self.uses };
        (model, Arc::new(MakerOf::<S> { make: self.make, tried: self.tried }))
    }
}

/// Makes a service whose type is erased.
pub(crate) trait Maker: Send + Sync {
    fn of_trait(&self) -> TypeId;
    fn make(&self, around: &Surroundings<'_>) -> Result<Arc<dyn Any + Send + Sync>, SettingError>;
    /// Whether what it makes is safe to try.
    fn is_safe(&self, around: &Surroundings<'_>) -> Result<bool, SettingError>;
}

struct MakerOf<S: ?Sized> {
    make: Arc<Make<S>>,
    tried: Option<Arc<Tried>>,
}

impl<S: ?Sized + Send + Sync + 'static> Maker for MakerOf<S> {
    fn of_trait(&self) -> TypeId {
        TypeId::of::<S>()
    }

    fn make(&self, around: &Surroundings<'_>) -> Result<Arc<dyn Any + Send + Sync>, SettingError> {
        Ok(Arc::new((self.make)(around)?))
    }

    fn is_safe(&self, around: &Surroundings<'_>) -> Result<bool, SettingError> {
        self.tried.as_ref().map_or(Ok(false), |is_safe| is_safe(around))
    }
}

/// The failure of a handler that uses a service it does not declare.
pub(crate) fn undeclared(step: &str, service: &str) -> Failure {
    let detail = format_args!(
        "{step} uses the service {service}, which it does not declare: add `.service::<dyn {service}>()` to its uses"
    );
    Failure::permanent("undeclared_use", detail)
}

/// The failure of a handler whose service nobody made.
pub(crate) fn missing(service: &str) -> Failure {
    let detail = format_args!(
        "nobody made the service {service}: call `Choreography::equip`, or put it among the services of the ports"
    );
    Failure::permanent("no_service", detail)
}

/// Makes those services that are safe to try and whose settings are all there.
pub(crate) fn complete_to_try(
    services: &mut Services,
    model: &Model,
    makers: &BTreeMap<String, Arc<dyn Maker>>,
    ports: &Ports,
) -> Result<(), SettingError> {
    let settings = &*ports.settings;
    for service in &model.services {
        let Some(maker) = makers.get(&service.name) else { continue };
        let around =
            Surroundings { name: &service.name, uses: &service.uses, settings, ports, outside: None };
        let is_safe = match maker.is_safe(&around) {
            // Whoever looks has no settings but those of his own environment.
            Err(SettingError::Missing { .. }) => false,
            other => other?,
        };
        if is_safe && !services.has(maker.of_trait()) {
            services.put(maker.of_trait(), maker.make(&around)?);
        }
    }
    Ok(())
}

/// Makes those services that are missing of the ones that `wanted` names.
pub(crate) fn complete(
    services: &mut Services,
    model: &Model,
    makers: &BTreeMap<String, Arc<dyn Maker>>,
    wanted: impl Fn(&str) -> bool,
    settings: &Settings,
    ports: &Ports,
) -> Result<(), SettingError> {
    for service in model.services.iter().filter(|service| wanted(&service.name)) {
        let Some(maker) = makers.get(&service.name) else { continue };
        if services.has(maker.of_trait()) {
            continue;
        }
        let outside = services.get::<dyn Outside>();
        let around = Surroundings { name: &service.name, uses: &service.uses, settings, ports, outside };
        services.put(maker.of_trait(), maker.make(&around)?);
    }
    Ok(())
}
