//! A handler of requests: by HTTP, or invoked directly with bare JSON.

use crate::{
    entity::Entity,
    event::Emits,
    handler::{Erased, ErasedRoute, RouteHandler},
    http::Method,
    model::{Backlog, RouteModel, Uses, Workload},
};
use std::{fmt, sync::Arc, time::Duration};

/// How long a request may take where nothing else is said.
const TIMEOUT: Duration = Duration::from_secs(29);

/// A handler of requests with its method and path. Every default can be set.
///
/// On AWS its function also takes bare JSON, as another program sends it that invokes the function itself: the JSON is then
/// the body of the request, and the answer's body is what the program gets.
pub struct Route {
    pub(super) model: RouteModel,
    pub(super) handler: Arc<dyn ErasedRoute>,
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route").field("model", &self.model).finish_non_exhaustive()
    }
}

impl Route {
    /// Requests of this method for `path`, which may hold parameters (`/orders/{id}`), answered by `handler`; `step` names
    /// it. Defaults: 29 s timeout, uses nothing.
    pub fn new<Em: Emits, H: RouteHandler<Em>>(
        method: Method,
        path: impl Into<String>,
        step: impl Into<String>,
        handler: H,
    ) -> Self {
        Self::with(Some((method, path.into())), step.into(), handler)
    }

    /// A function that is invoked directly, with bare JSON, and has no path. On one machine it is invoked by
    /// `POST /_quadrille/invoke/<step>`.
    pub fn direct<Em: Emits, H: RouteHandler<Em>>(step: impl Into<String>, handler: H) -> Self {
        Self::with(None, step.into(), handler)
    }

    /// GET requests: see [`new`](Self::new).
    pub fn get<Em: Emits, H: RouteHandler<Em>>(
        path: impl Into<String>,
        step: impl Into<String>,
        handler: H,
    ) -> Self {
        Self::new(Method::Get, path, step, handler)
    }

    /// POST requests: see [`new`](Self::new).
    pub fn post<Em: Emits, H: RouteHandler<Em>>(
        path: impl Into<String>,
        step: impl Into<String>,
        handler: H,
    ) -> Self {
        Self::new(Method::Post, path, step, handler)
    }

    /// PUT requests: see [`new`](Self::new).
    pub fn put<Em: Emits, H: RouteHandler<Em>>(
        path: impl Into<String>,
        step: impl Into<String>,
        handler: H,
    ) -> Self {
        Self::new(Method::Put, path, step, handler)
    }

    /// PATCH requests: see [`new`](Self::new).
    pub fn patch<Em: Emits, H: RouteHandler<Em>>(
        path: impl Into<String>,
        step: impl Into<String>,
        handler: H,
    ) -> Self {
        Self::new(Method::Patch, path, step, handler)
    }

    /// DELETE requests: see [`new`](Self::new).
    pub fn delete<Em: Emits, H: RouteHandler<Em>>(
        path: impl Into<String>,
        step: impl Into<String>,
        handler: H,
    ) -> Self {
        Self::new(Method::Delete, path, step, handler)
    }

    fn with<Em: Emits, H: RouteHandler<Em>>(at: Option<(Method, String)>, step: String, handler: H) -> Self {
        let emits = Em::types().into_iter().map(str::to_owned).collect();
        let (method, path) = match at {
            Some((method, path)) => (method, Some(path)),
            None => (Method::Post, None),
        };
        let model = RouteModel {
            method,
            path,
            step,
            physical: None,
            emits,
            uses: Uses::new(),
            timeout: TIMEOUT,
            memory: None,
            backlog: None,
            workload: Workload::new(),
            cancels: None,
        };
        Self { model, handler: Arc::new(Erased::<H, Em>::new(handler)) }
    }

    /// What the handler uses. Said twice, it uses both.
    #[must_use]
    pub fn uses(mut self, uses: Uses) -> Self {
        self.model.uses = self.model.uses.and(uses);
        self
    }

    /// The name of its function on AWS, where that can't be `<choreography>-<stack>-<step>`. There is then one stack an account
    /// and region.
    #[must_use]
    pub fn physical_name(mut self, name: impl Into<String>) -> Self {
        self.model.physical = Some(name.into());
        self
    }

    /// How its work grows with what enters the flow, for the command's word `scale`.
    #[must_use]
    pub fn workload(mut self, workload: Workload) -> Self {
        self.model.workload = workload;
        self
    }

    /// The longest a request may take, 1 s to 30 s; then it is answered with 503.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.model.timeout = timeout;
        self
    }

    /// Its requests are held back while too much of what it takes in waits: see [`Backlog`]. How much that is, the setting
    /// `backlog_max` says, which comes with this.
    #[must_use]
    pub fn backlog(mut self, backlog: Backlog) -> Self {
        self.model.backlog = Some(backlog);
        self
    }

    /// It cancels the entity that its path names, by its one parameter: an operator does so by the command's word `cancel`, and in
    /// the console. One kind is cancelled by one route.
    #[must_use]
    pub fn cancels<E: Entity>(mut self) -> Self {
        self.model.cancels = Some(E::KIND.to_owned());
        self
    }

    /// The memory of its function on AWS, 128 to 10,240 MB (Lambda), where it is not what all functions have.
    #[must_use]
    pub fn memory(mut self, megabytes: u32) -> Self {
        self.model.memory = Some(megabytes);
        self
    }
}
