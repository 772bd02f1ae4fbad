//! The model of the auction is a constant: whoever asks for it gets the same.

use quadrille::{
    Choreography, Pipeline, Services, Settings, System as _,
    choreography::Model,
    infrastructure::{File, Infrastructure},
    local::AlarmPolicy,
    memory::Memory,
    port::{SystemClock, SystemRandom},
    setting::Place,
    system::choreography,
};
use quadrille_cli::Node;
use std::sync::Arc;
use systems::auction::{Auction, platform::PLATFORM};

fn auction() -> Choreography {
    choreography(&Auction).unwrap()
}

/// The settings of `place`, where the platform is `platform`, and all other texts and numbers are `number`.
fn settings(place: Place, platform: &str, number: Option<&str>) -> Settings {
    let auction = auction();
    let said = |name: &str| match name {
        PLATFORM => Some(platform.to_owned()),
        "seed" | "not_ready" => number.map(str::to_owned),
        _ => None,
    };
    Settings::read(place, &auction.model().settings, |setting| said(&setting.name)).unwrap()
}

/// The model that handlers find which run with these settings.
fn equipped(settings: Settings) -> Model {
    let auction = auction();
    let memory = Memory::new(auction.model(), Arc::new(SystemClock), Arc::new(SystemRandom));
    let ports = auction.equip(memory.ports(), settings).unwrap();
    Pipeline::new(auction, ports).choreography().model().as_ref().clone()
}

/// The infrastructure, and the model that it was derived from.
fn deployed() -> (Vec<(String, String)>, Model) {
    let auction = auction();
    let files = Auction.infrastructure(Infrastructure::of(&auction)).render().unwrap();
    let files = files.into_iter().map(|File { name, text }| (name, text)).collect();
    (files, auction.model().as_ref().clone())
}

#[test]
fn whoever_asks_for_the_model_gets_the_same() {
    let model = auction().model().as_ref().clone();
    assert_eq!(*auction().model().as_ref(), model, "built again");
    for (place, platform, number) in [
        (Place::Command, "simulated", None),
        (Place::Command, "https://platform.example", Some("9")),
        (Place::Function, "simulated", Some("0")),
    ] {
        assert_eq!(equipped(settings(place, platform, number)), model, "{place:?}, {platform}, {number:?}");
    }
    let (files, deployed_model) = deployed();
    assert_eq!(deployed_model, model, "of the infrastructure");
    assert_eq!(deployed(), (files, deployed_model));
    assert!(systems::ALL.iter().any(|system| *choreography(*system).unwrap().model().as_ref() == model));
}

#[tokio::test]
async fn the_model_of_the_command_is_the_systems() {
    let model = auction().model().as_ref().clone();
    let folder = tempfile::tempdir().unwrap();
    let seen = |node: Node| {
        assert_eq!(*node.choreography.model().as_ref(), model);
        assert_eq!(*node.pipeline().choreography().model().as_ref(), model);
    };
    for platform in ["simulated", "https://platform.example"] {
        let settings = settings(Place::Command, platform, Some("9"));
        seen(
            Node::open(folder.path(), &auction(), settings, Services::new(), AlarmPolicy::default()).unwrap(),
        );
    }
    // With none of its settings known: to send messages, and to look.
    seen(Node::at_rest(folder.path(), &auction()).unwrap());
    seen(Node::to_look(folder.path(), &auction()).unwrap());
}
