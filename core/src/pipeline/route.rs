//! HTTP requests, and the routes that answer them.

use super::{Pipeline, admit::kept};
use crate::{
    commit::Carried,
    context::About,
    failure::Failure,
    http::{Method, Problem, Request, Response},
    model::RouteModel,
    panics::{PANICKED, caught},
    path_parameters::{matched, parameter},
    trace::{begin_trace_as, trace_id},
};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, sync::Arc};

impl Pipeline {
    /// Answers any request: as its route does, with 405 where a route has its path and another method, and else with
    /// 404. Of the routes, only those of `step` count where it is given.
    pub async fn answer(&self, step: Option<&str>, method: &str, path: &str, request: Request) -> Response {
        let parsed = Method::parse(method);
        if let Some(method) = parsed
            && let Some(response) = self.route(step, method, path, request).await
        {
            return response;
        }
        // A path that is a route's own and still was not answered (its parameter is no UTF-8) names nothing.
        let routes = self.choreography.model().routes.iter();
        let others: Vec<Method> = routes
            .filter(|route| step.is_none_or(|step| step == route.step))
            .filter(|route| Some(route.method) != parsed)
            .filter(|route| route.path.as_ref().is_some_and(|shape| has_shape(path, shape)))
            .map(|route| route.method)
            .collect();
        if others.is_empty() {
            return Problem::new(404, "not_found", "there is nothing here").into();
        }
        let names = |method: Method| if method == Method::Get { "GET, HEAD" } else { method.as_str() };
        let allowed = Method::ALL.into_iter().filter(|method| others.contains(method));
        let allowed: Vec<&str> = allowed.map(names).collect();
        Problem::method_not_allowed(method, &allowed.join(", "))
    }

    /// Answers a request. `None` where no route matches path and method.
    pub async fn respond(&self, method: Method, path: &str, request: Request) -> Option<Response> {
        self.route(None, method, path, request).await
    }

    /// Answers a request to the handler `step`, as who invokes its function directly asks it. The parameters of its path are
    /// the fields of that name in the body, an object.
    ///
    /// # Errors
    /// A permanent [`Failure`] `no_step` where no handler of requests has this name.
    pub async fn invoke(&self, step: &str, mut request: Request) -> Result<Response, Failure> {
        let route = self.choreography.model().routes.iter().find(|route| route.step == step);
        if let Some(path) = route.and_then(|route| route.path.as_deref()) {
            request.parameters.extend(named(path, &request.body));
        }
        let answering = async { self.ask(route?, request).await };
        let unknown =
            || Failure::permanent("no_step", format_args!("no handler of requests is named {step:?}"));
        answering.await.ok_or_else(unknown)
    }

    async fn route(
        &self,
        step: Option<&str>,
        method: Method,
        path: &str,
        mut request: Request,
    ) -> Option<Response> {
        let routes = self.choreography.model().routes.iter();
        let (route, parameters) = routes
            .filter(|route| route.method == method && step.is_none_or(|step| step == route.step))
            .find_map(|route| {
                Some((route, matched(route.path.as_ref()?, path, &request.query).transpose()?))
            })?;
        match parameters {
            Ok(parameters) => request.parameters = parameters,
            Err(problem) => return Some(problem.into()),
        }
        self.ask(route, request).await
    }

    async fn ask(&self, route: &RouteModel, request: Request) -> Option<Response> {
        let handler = self.choreography.routes.get(&route.step)?;
        if let Some(response) = self.held_back(route).await {
            return Some(response);
        }
        let traceparent =
            request.header("traceparent").filter(|given| trace_id(given).is_some()).map(str::to_owned);
        let traceparent = traceparent.or_else(|| self.invocation.traceparent.clone());
        let random = &self.ports.random;
        let about = About {
            attempt: 1,
            correlation_id: Some(random.id()),
            traceparent: traceparent.or_else(|| Some(begin_trace_as(&random.id()))),
            carried: Carried::default(),
            input: kept(self.choreography.model(), &request.body),
            redriven: None,
            called_at: self.ports.clock.now().into(),
        };
        let about = Arc::new(about);
        let call = self.call(route.step.as_str().into(), Arc::clone(&about));
        let clock = &self.ports.clock;
        // The call itself is inside: a handler may panic before it gives a future.
        let answering = caught(async { handler.call(request, call).await });
        let answered = tokio::select! {
            biased;
            answered = answering => answered.unwrap_or_else(|text| Err(Failure::permanent(PANICKED, text))),
            () = clock.sleep_until(self.end_of(route.timeout)) => {
                Err(Failure::transient("timeout", format_args!("no answer within {:?}", route.timeout)))
            }
        };
        let correlation_id = about.correlation_id.as_deref().unwrap_or_default();
        let trace = about.traceparent.as_deref().and_then(trace_id).unwrap_or_default();
        let failure = match answered {
            Ok(response) => {
                let status = response.status;
                tracing::debug!(step = %route.step, status, correlation_id, trace_id = trace, "answered");
                return Some(response);
            }
            Err(failure) => failure,
        };
        tracing::warn!(step = %route.step, %failure, correlation_id, trace_id = trace, "a request failed");
        let status = if failure.is_permanent() { 500 } else { 503 };
        Some(
            Problem::new(
                status,
                failure.reason(),
                "the request could not be finished; it is safe to send it again",
            )
            .into(),
        )
    }
}

/// The parameters of a route's path, by the fields of an object in JSON.
fn named(pattern: &str, body: &[u8]) -> BTreeMap<String, String> {
    let names = pattern.split('/').filter_map(parameter);
    let mut names = names.peekable();
    let is_fixed = names.peek().is_none();
    let fields = if is_fixed { None } else { serde_json::from_slice::<Map<String, Value>>(body).ok() };
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let fields = fields.unwrap_or_default();
    names.filter_map(|name| Some((name.to_owned(), text(fields.get(name)?)?))).collect()
}

/// Whether a path has the segments of a route's, whatever its parameters are.
fn has_shape(path: &str, route: &str) -> bool {
    let (mut parts, mut wanted) = (path.split('/'), route.split('/'));
    loop {
        match (parts.next(), wanted.next()) {
            (None, None) => return true,
            (Some(part), Some(wanted)) if parameter(wanted).is_some() || part == wanted => {}
            _ => return false,
        }
    }
}
