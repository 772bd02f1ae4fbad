//! Requests, from an HTTP API and from a function URL.

use crate::{
    aws::{Aws, base64},
    fixture,
    function::{Function, TRACE_ID},
};
use serde_json::{Value, json};

/// A request as an HTTP API hands it over that has the route.
pub fn api(route: &str, path: &str, parameters: Value, body: &str) -> Value {
    let mut event = fixture("http_api");
    event["routeKey"] = json!(route);
    event["requestContext"]["routeKey"] = json!(route);
    event["requestContext"]["http"]["method"] = json!(route.split(' ').next().unwrap());
    event["requestContext"]["http"]["path"] = json!(path);
    event["rawPath"] = json!(path);
    event["pathParameters"] = parameters;
    event["headers"]["content-type"] = json!("application/json");
    event["body"] = json!(body);
    event
}

/// `POST /orders`.
pub fn post(orders: &Value) -> Value {
    api("POST /orders", "/orders", json!({}), &orders.to_string())
}

/// A request as a function URL hands it over.
fn url(method: &str, path: &str, body: &str) -> Value {
    let mut event = fixture("function_url");
    event["requestContext"]["http"]["method"] = json!(method);
    event["requestContext"]["http"]["path"] = json!(path);
    event["rawPath"] = json!(path);
    event["headers"]["content-type"] = json!("application/json");
    event["body"] = json!(body);
    event
}

fn order(id: &str, number: i64) -> Value {
    json!({"record_id": id, "parameter_1": "abc", "parameter_2": number})
}

/// The body of an answer.
fn body(answer: &Value) -> Value {
    serde_json::from_str(answer["body"].as_str().unwrap()).unwrap()
}

fn problem(answer: &Value) -> (u64, String) {
    assert_eq!(answer["headers"]["content-type"], "application/problem+json", "{answer}");
    let body = body(answer);
    assert_eq!(body["status"], answer["statusCode"]);
    (answer["statusCode"].as_u64().unwrap(), body["type"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn orders_are_taken_once_and_the_answer_is_exactly_this() {
    let aws = Aws::start().await;
    let mut function = Function::start("post_orders", &aws.variables()).await;
    let event = post(&json!([order("a", 1), order("b", 2)]));
    let rows = |outcomes: [&str; 2]| json!([{"record_id": "a", "outcome": outcomes[0]}, {"record_id": "b", "outcome": outcomes[1]}]);
    let answer = function.invoke(&event).await.unwrap();
    let expected = json!({
        "statusCode": 202,
        "headers": {"content-type": "application/json", "cache-control": "no-store",
            "x-content-type-options": "nosniff"},
        "body": answer["body"],
        "isBase64Encoded": false
    });
    assert_eq!(answer, expected);
    assert_eq!(body(&answer), json!({"results": rows(["stored", "stored"])}));
    let stored = aws.order("a").unwrap();
    assert_eq!(
        (&stored["state"]["status"], &stored["state"]["parameter_2"]),
        (&json!("received"), &json!(1))
    );
    // The request had no trace context of its own: X-Ray's goes on.
    assert_eq!(stored["traceparent"].as_str().unwrap()[3..35], *TRACE_ID);
    // The same again, by another invocation: a client that lost the answer.
    let again = function.invoke(&event).await.unwrap();
    assert_eq!(body(&again), json!({"results": rows(["unchanged", "unchanged"])}));
    assert_eq!(aws.version("order/a").unwrap(), "1");
    let conflict = function.invoke(&post(&json!([order("a", 3), order("c", 3)]))).await.unwrap();
    assert_eq!(problem(&conflict), (409, "/problems/conflict".into()));
    assert_eq!(aws.order("a").unwrap()["state"]["parameter_2"], 1);
    assert!(aws.order("c").is_some());
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_told_and_nothing_is_stored() {
    let aws = Aws::start().await;
    let mut function = Function::start("post_orders", &aws.variables()).await;
    let invalid = function.invoke(&post(&json!([order("", 1), order("b", 2)]))).await.unwrap();
    assert_eq!(problem(&invalid), (400, "/problems/invalid_orders".into()));
    assert_eq!(body(&invalid)["errors"][0]["pointer"], "/0/record_id");
    let mut plain = post(&json!([order("a", 1)]));
    plain["headers"]["content-type"] = json!("text/plain");
    let plain = function.invoke(&plain).await.unwrap();
    assert_eq!(problem(&plain), (415, "/problems/unsupported_media_type".into()));
    let large = api("POST /orders", "/orders", json!({}), &" ".repeat(1_048_577));
    assert_eq!(problem(&function.invoke(&large).await.unwrap()), (413, "/problems/body_too_large".into()));
    let mut encoded = api("POST /orders", "/orders", json!({}), &base64(&" ".repeat(1_048_577)));
    encoded["isBase64Encoded"] = json!(true);
    assert_eq!(problem(&function.invoke(&encoded).await.unwrap()), (413, "/problems/body_too_large".into()));
    let mut broken = api("POST /orders", "/orders", json!({}), "no base64!");
    broken["isBase64Encoded"] = json!(true);
    assert_eq!(problem(&function.invoke(&broken).await.unwrap()), (400, "/problems/malformed_body".into()));
    assert!(aws.state().items.is_empty());
}

#[tokio::test]
async fn a_body_in_base64_is_the_same_body() {
    let aws = Aws::start().await;
    let mut function = Function::start("post_orders", &aws.variables()).await;
    let orders = json!([{"record_id": "é", "parameter_1": "abc", "parameter_2": 2.1}]).to_string();
    let mut event = url("POST", "/orders", &base64(&orders));
    event["isBase64Encoded"] = json!(true);
    let answer = function.invoke(&event).await.unwrap();
    assert_eq!(answer["statusCode"], 202, "{answer}");
    assert!(aws.order("é").is_some());
}

#[tokio::test]
async fn a_function_url_answers_its_route_alone() {
    let aws = Aws::start().await;
    let mut function = Function::start("post_orders", &aws.variables()).await;
    let wrong_method = function.invoke(&url("GET", "/orders", "")).await.unwrap();
    assert_eq!(problem(&wrong_method), (405, "/problems/method_not_allowed".into()));
    assert_eq!(wrong_method["headers"]["allow"], "POST");
    for (method, path) in [("POST", "/order"), ("GET", "/orders/a"), ("DELETE", "/"), ("GET", "")] {
        let none = function.invoke(&url(method, path, "")).await.unwrap();
        assert_eq!(problem(&none), (404, "/problems/not_found".into()), "{method} {path}");
    }
    let health = function.invoke(&url("GET", "/healthz", "")).await.unwrap();
    assert_eq!((&health["statusCode"], body(&health)), (&json!(200), json!({"status": "ok"})));
}

#[tokio::test]
async fn an_order_is_told_of_by_whatever_its_id_is() {
    let aws = Aws::start().await;
    let mut posting = Function::start("post_orders", &aws.variables()).await;
    let id = "a/b?%2F ü";
    assert_eq!(posting.invoke(&post(&json!([order(id, 4)]))).await.unwrap()["statusCode"], 202);
    let mut function = Function::start("get_order", &aws.variables()).await;
    // A function URL hands the path over as it was sent. An HTTP API decodes it: the address of such an id it leaves as it is.
    let template = "/orders/{record_id}";
    let address = quadrille::http::address(template, |_| id);
    let (path, query) = address.split_once('?').unwrap();
    let mut by_api = api(&format!("GET {template}"), path, json!({"record_id": "-"}), "");
    let mut by_url = url("GET", path, "");
    by_api["rawQueryString"] = json!(query);
    by_url["rawQueryString"] = json!(query);
    for event in [by_api, by_url, url("GET", "/orders/a%2Fb%3F%252F%20%C3%BC", "")] {
        let answer = function.invoke(&event).await.unwrap();
        assert_eq!(answer["statusCode"], 200, "{answer}");
        let told = body(&answer);
        assert_eq!((&told["record_id"], &told["parameter_2"]), (&json!(id), &json!(4)));
        assert_eq!(told["trail"][0]["what"], "received");
        assert_eq!(told["trace_id"], TRACE_ID);
    }
    for (raw, parameter) in [(format!("/orders/{id}"), id), ("/orders/a%25".to_owned(), "a%25")] {
        let ambiguous = api(&format!("GET {template}"), &raw, json!({"record_id": parameter}), "");
        let refused = function.invoke(&ambiguous).await.unwrap();
        assert_eq!(problem(&refused), (400, "/problems/ambiguous_path".into()));
        let detail = body(&refused)["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("/orders/-?record_id.hex=HEX"), "{detail}");
    }
    let none = function.invoke(&url("GET", "/orders/none", "")).await.unwrap();
    assert_eq!(problem(&none), (404, "/problems/no_such_order".into()));
}

#[tokio::test]
async fn a_program_that_invokes_the_function_with_bare_json_gets_the_body_and_of_a_refusal_an_error() {
    let aws = Aws::start().await;
    let mut function = Function::start("post_orders", &aws.variables()).await;
    let answer = function.invoke(&json!([order("a", 1)])).await.unwrap();
    assert_eq!(answer, json!({"results": [{"record_id": "a", "outcome": "stored"}]}));
    assert_eq!(aws.order("a").unwrap()["traceparent"].as_str().unwrap()[3..35], *TRACE_ID);
    for (refused, error_type, told) in [
        (json!([order("", 1)]), "status_400", "/0/record_id"),
        (json!({"record_id": "b"}), "status_400", "/problems/invalid_orders"),
        (json!([order("a", 2)]), "status_409", "/problems/conflict"),
    ] {
        let error = function.invoke(&refused).await.unwrap_err();
        let message = error["errorMessage"].as_str().unwrap();
        assert!(error["errorType"] == error_type && message.contains(told), "{error}");
    }
    aws.fail("PutItem", &[crate::aws::Fault::Throttle; 20]);
    let error = function.invoke(&json!([order("c", 1)])).await.unwrap_err();
    assert_eq!(error["errorType"], "status_503", "{error}");
    aws.recover();
    // It goes on serving.
    assert!(function.invoke(&json!([order("c", 1)])).await.is_ok());
}

/// A program that invokes a function sends no path.
#[tokio::test]
async fn the_parameters_of_a_path_are_fields_of_bare_json() {
    let aws = Aws::start().await;
    let mut posting = Function::start("post_orders", &aws.variables()).await;
    posting.invoke(&json!([order("a/b", 4)])).await.unwrap();
    let mut function = Function::start("get_order", &aws.variables()).await;
    let told = function.invoke(&json!({"record_id": "a/b"})).await.unwrap();
    assert_eq!((&told["record_id"], &told["parameter_2"]), (&json!("a/b"), &json!(4)));
    for none in [json!({"record_id": "c"}), json!({}), json!("a/b"), json!(null)] {
        assert_eq!(function.invoke(&none).await.unwrap_err()["errorType"], "status_404", "{none}");
    }
}

#[tokio::test]
async fn an_event_of_another_source_is_an_error_with_a_name() {
    let aws = Aws::start().await;
    let mut function = Function::start("post_orders", &aws.variables()).await;
    let mut rest = fixture("http_api");
    rest["requestContext"]["http"] = json!("GET");
    let error = function.invoke(&rest).await.unwrap_err();
    assert_eq!(error["errorType"], "unexpected_event", "{error}");
    // A batch of a queue is bare JSON to a route: its own to judge.
    let error = function.invoke(&fixture("queue")).await.unwrap_err();
    assert_eq!(error["errorType"], "status_400", "{error}");
    // It goes on serving.
    assert_eq!(function.invoke(&post(&json!([order("a", 1)]))).await.unwrap()["statusCode"], 202);
}
