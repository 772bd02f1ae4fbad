//! Services and settings reach the handlers that declare them, and nobody else.

use super::support::*;
use async_trait::async_trait;
use quadrille::{
    Consumer, Context, Definition, Failure, Outcome, Pipeline, Service, Services, Setting, Settings, Stored,
    Uses, choreography::Model, setting::Place,
};
use std::{sync::Arc, time::Duration};

/// Whoever carries parcels.
#[async_trait]
trait Carrier: Send + Sync {
    async fn carry(&self, parcel: &str) -> Result<String, Failure>;
}

struct By(String);

#[async_trait]
impl Carrier for By {
    async fn carry(&self, parcel: &str) -> Result<String, Failure> {
        Ok(format!("{parcel} by {}", self.0))
    }
}

async fn carry(parcel: Stored<Parcel>, _: Scanned, cx: Context<()>) -> Outcome<()> {
    let carried = cx.service::<dyn Carrier>()?.carry(&parcel.id).await?;
    stop(parcel, &carried)
}

fn carried(uses: Uses) -> Definition {
    parcels::<(Scanned,)>()
        .setting(Setting::text("vehicle").default("van"))
        .setting(Setting::duration("patience").default("5s"))
        .service(
            Service::<dyn Carrier>::new(|around| Ok(Arc::new(By(around.setting("vehicle")?))))
                .uses(Uses::new().setting("vehicle")),
        )
        .on(Consumer::new("scan", carry).uses(uses))
        .on(Consumer::new("other", idle::<Scanned>)
            .uses(Uses::new().service::<dyn Carrier>().setting("patience")))
}

fn settings(model: &Model) -> Settings {
    Settings::read(Place::Command, &model.settings, |_| None).unwrap()
}

fn equipped(uses: Uses, services: Services) -> World {
    let mut world = World::new(carried(uses));
    let mut ports = world.ports.clone();
    ports.services = services;
    let values = settings(world.choreography.model());
    world.ports = world.choreography.equip(ports, values).unwrap();
    world
}

#[tokio::test]
async fn a_handler_calls_the_service_that_its_definition_makes() {
    let world = equipped(Uses::new().service::<dyn Carrier>(), Services::new());
    world.post(&["1"]).await;
    world.tell("scan", Scanned::new("1", "oslo")).await;
    world.deliver("scan").await;
    assert_eq!(world.stops("1").await, ["1 by van"]);
}

#[tokio::test]
async fn whoever_runs_it_can_put_another_service_in_its_place() {
    let bicycle: Arc<dyn Carrier> = Arc::new(By("bicycle".into()));
    let world = equipped(Uses::new().service::<dyn Carrier>(), Services::new().with(bicycle));
    world.post(&["1"]).await;
    world.tell("scan", Scanned::new("1", "oslo")).await;
    world.deliver("scan").await;
    assert_eq!(world.stops("1").await, ["1 by bicycle"]);
}

#[tokio::test]
async fn a_service_or_setting_that_is_not_declared_is_an_undeclared_use() {
    let world = equipped(Uses::new(), Services::new());
    world.post(&["1"]).await;
    world.tell("scan", Scanned::new("1", "oslo")).await;
    let verdicts = world.deliver("scan").await;
    assert_eq!(reason(&verdicts[0]), Some("undeclared_use"));
    let detail = format!("{:?}", verdicts[0]);
    assert!(detail.contains("add `.service::<dyn Carrier>()` to its uses"), "{detail}");

    async fn patient(parcel: Stored<Parcel>, _: Scanned, cx: Context<()>) -> Outcome<()> {
        let patience: Duration = cx.setting("patience")?;
        stop(parcel, &format!("{patience:?}"))
    }
    let definition = |uses| {
        parcels::<(Scanned,)>()
            .setting(Setting::duration("patience").default("5s"))
            .on(Consumer::new("scan", patient).uses(uses))
            .on(Consumer::new("other", idle::<Scanned>).uses(Uses::new().setting("patience")))
    };
    for (uses, expected) in [(Uses::new(), None), (Uses::new().setting("patience"), Some("5s"))] {
        let mut world = World::new(definition(uses));
        let values = settings(world.choreography.model());
        world.ports = world.choreography.equip(world.ports.clone(), values).unwrap();
        world.post(&["1"]).await;
        world.tell("scan", Scanned::new("1", "oslo")).await;
        let verdicts = world.deliver("scan").await;
        match expected {
            Some(stop) => assert_eq!(world.stops("1").await, [stop]),
            None => assert_eq!(reason(&verdicts[0]), Some("undeclared_use")),
        }
    }
}

#[tokio::test]
async fn a_service_that_nobody_made_says_so() {
    let world = World::new(carried(Uses::new().service::<dyn Carrier>()));
    world.post(&["1"]).await;
    world.tell("scan", Scanned::new("1", "oslo")).await;
    assert_eq!(reason(&world.deliver("scan").await[0]), Some("no_service"));
}

#[test]
fn for_one_function_just_the_services_of_its_handler_are_made() {
    let definition = parcels::<(Scanned,)>()
        .service(Service::<dyn Carrier>::new(|around| Err(around.refuse("vehicle", "is broken", "mend it"))))
        .on(Consumer::new("scan", carry).uses(Uses::new().service::<dyn Carrier>()))
        .on(Consumer::new("other", idle::<Scanned>));
    let world = World::new(definition);
    let equip = |step| world.choreography.equip_for(step, world.ports.clone(), Settings::default());
    assert!(equip("other").is_ok() && equip("post").is_ok());
    assert!(equip("scan").is_err());
}

#[test]
fn the_model_is_the_same_whoever_asks_and_whatever_is_set() {
    let model = |definition: Definition| definition.build().unwrap().model().as_ref().clone();
    let uses = || Uses::new().service::<dyn Carrier>();
    let plain = model(carried(uses()));
    let world = equipped(uses(), Services::new().with::<dyn Carrier>(Arc::new(By("x".into()))));
    assert_eq!(**world.choreography.model(), plain);
    let pipeline = Pipeline::new(world.choreography.clone(), world.ports.clone());
    assert_eq!(**pipeline.choreography().model(), plain);
    assert_eq!(model(carried(uses())), plain);
}
