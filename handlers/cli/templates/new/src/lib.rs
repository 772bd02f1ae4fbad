//! The tea shop: an order is taken, the kitchen brews it, and it is served.

use async_trait::async_trait;
#[cfg(feature = "command")]
use quadrille::sim::{Property, eventually, sometimes};
use quadrille::{
    Choreography, Committed, Consumer, Context, Definition, Failure, Handled, Outcome, Route,
    Service, Setting, Stored, System, Table, Uses, Wire,
    http::{Problem, Request, Response},
    input::{Input, field, read_request, text},
    system::{DEAD_LETTERED, Demo},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;

const BODY_BYTES_MAX: usize = 4_096;

// What there is: an entity is one item of a table.

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Taken,
    Brewed,
    Served,
}

#[derive(Serialize, Deserialize)]
pub struct Order {
    pub id: String,
    pub tea: String,
    pub state: State,
}
quadrille::entity!(Order: "order", by id, status: state);

// What happens: an event is told to an entity. A step handles it.

#[derive(Serialize, Deserialize)]
pub struct OrderTaken {
    pub id: String,
}
quadrille::event!(OrderTaken: "order.taken", to Order by id);

#[derive(Serialize, Deserialize)]
pub struct OrderBrewed {
    pub id: String,
}
quadrille::event!(OrderBrewed: "order.brewed", to Order by id);

// What is outside: a service stands behind a trait.

#[async_trait]
pub trait Kitchen: Send + Sync {
    /// Brews the tea of an order. A message may come twice: asked again for the same order, the kitchen does nothing more.
    async fn brew(&self, order: &str, tea: &str) -> Result<(), Failure>;
}

/// The kitchen where there is none: it has every tea but one.
struct SimulatedKitchen {
    sold_out: String,
    wire: Wire,
}

#[async_trait]
impl Kitchen for SimulatedKitchen {
    async fn brew(&self, order: &str, tea: &str) -> Result<(), Failure> {
        let answer = async {
            if tea == self.sold_out {
                // Permanent: no retry mends it. The message becomes a dead letter with this reason.
                return Err(Failure::permanent("sold_out", "the kitchen is out of it"));
            }
            Ok(())
        };
        // In a simulation the kitchen may be out of reach, slow, or heard too late.
        self.wire.call(order, answer).await
    }
}

// The handlers. One commit writes the entity and the events that it emits, all or nothing.

fn new_order(input: &Input<'_>) -> Option<Order> {
    let fields = (field("id", text(1..=64)), field("tea", text(1..=64)));
    let state = State::Taken;
    input.object(fields, |(id, tea)| Order { id, tea, state })
}

async fn take(request: Request, cx: Context<(OrderTaken,)>) -> Result<Response, Failure> {
    let order = match read_request(&request, "order", BODY_BYTES_MAX, new_order) {
        Ok(order) => order,
        Err(problem) => return Ok(problem.into()),
    };
    let id = order.id.clone();
    let commit = Stored::new(order).commit("taken");
    Ok(match cx.commit(commit.emit(OrderTaken { id })).await? {
        Committed::Applied => Response::json(202, &json!({ "outcome": "taken" })),
        Committed::Conflict => Problem::new(409, "order_exists", "its id is taken").into(),
    })
}

async fn brew(
    mut order: Stored<Order>,
    event: OrderTaken,
    cx: Context<(OrderBrewed,)>,
) -> Outcome<(OrderBrewed,)> {
    if order.state != State::Taken {
        return Ok(Handled::already("brewed")); // a duplicate ends here
    }
    let kitchen = cx.service::<dyn Kitchen>()?;
    kitchen.brew(&order.id, &order.tea).await?;
    order.state = State::Brewed;
    let brewed = OrderBrewed { id: event.id };
    Ok(order.commit("brewed").emit(brewed).into())
}

async fn serve(mut order: Stored<Order>, _: OrderBrewed, _: Context<()>) -> Outcome<()> {
    if order.state != State::Brewed {
        return Ok(Handled::already("served"));
    }
    order.state = State::Served;
    Ok(order.commit("served").into())
}

/// The system: the command, the engine, the functions and the infrastructure are made from it.
pub struct Shop;

impl System for Shop {
    fn name(&self) -> &'static str {
        "tea-shop"
    }

    fn about(&self) -> &'static str {
        "An order is taken, the kitchen brews it, and it is served."
    }

    fn define(&self) -> Definition {
        let sold_out = Setting::text("sold_out").help("The tea that the kitchen is out of.");
        let kitchen = Service::<dyn Kitchen>::new(|around| {
            let sold_out = around.setting("sold_out")?;
            let wire = around.wire();
            Ok(Arc::new(SimulatedKitchen { sold_out, wire }))
        });
        // It only simulates, so that `dlq plan` may ask it. A real kitchen would brew.
        let kitchen = kitchen.tried_where(|_| Ok(true));
        Choreography::define(self.name())
            .table(Table::new("orders").holds::<Order>())
            .setting(sold_out.default("mate"))
            .service(kitchen.uses(Uses::new().setting("sold_out")))
            .route(Route::post("/orders", "take", take).uses(Uses::new().commits::<Order>()))
            .on(Consumer::new("brew", brew).uses(Uses::new().service::<dyn Kitchen>()))
            .on(Consumer::new("serve", serve))
            .notify_by("alerts")
    }

    fn dead_letter_queue(&self) -> Option<&'static str> {
        Some("brew-dlq")
    }

    fn demo(&self) -> Option<Box<dyn Demo>> {
        Some(Box::new(ShopDemo))
    }

    // What `sim` checks, beside all that it checks of every system.
    #[cfg(feature = "command")]
    fn properties(&self) -> Vec<Property> {
        vec![
            eventually("the kitchen brews what is served", |world| {
                let is_asked =
                    |id: &str| world.asked("Kitchen").iter().any(|asked| asked.what == id);
                match world
                    .entities::<Order>()
                    .iter()
                    .find(|order| order.state != State::Taken && !is_asked(&order.id))
                {
                    Some(order) => Err(format!("nobody brewed {}", order.id)),
                    None => Ok(()),
                }
            }),
            sometimes("an order is served", |world| {
                world
                    .entities::<Order>()
                    .iter()
                    .any(|order| order.state != State::Taken)
            }),
        ]
    }
}

/// What `demo` plays: orders, some of them for a tea that is sold out.
struct ShopDemo;

impl Demo for ShopDemo {
    fn subjects(&self) -> &'static str {
        "orders"
    }

    fn title(&self) -> &'static str {
        "A tea shop on one machine"
    }

    fn kind(&self) -> &'static str {
        "order"
    }

    fn step(&self) -> &'static str {
        "take"
    }

    fn body(&self, ids: &[String]) -> Value {
        let id = ids.concat(); // one order a request
        let is_mate = id.ends_with(['4', '8']);
        json!({ "id": id, "tea": if is_mate { "mate" } else { "assam" } })
    }

    fn ends(&self) -> &'static [&'static str] {
        &["served", DEAD_LETTERED]
    }
}
