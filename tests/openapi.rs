//! `/v1/openapi.json` says what the routes and the error table say: no route is forgotten or made up, and
//! every error code is described with its status and its effect (H3).

use lockstep::api::{Effect, ErrorCode};
use lockstep::cache::{Policy, limits};
use lockstep::http::OPENAPI;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const ROUTES: &str =
    concat!(include_str!("../src/http/routes.rs"), include_str!("../src/http/compat/routes.rs"));
/// For tests of the cluster, for nodes among themselves, and for what is not there: no part of the API.
const UNDESCRIBED: [&str; 5] =
    ["/v1/debug/links", "/v1/debug/corrupt", "/v1/introduction", "/api/cache/", "/api/{*rest}"];
const METHODS: [&str; 6] = ["get", "head", "put", "post", "delete", "patch"];

/// Paths and their methods.
type Table = BTreeMap<String, BTreeSet<String>>;

fn document() -> Value {
    serde_json::from_str(OPENAPI).expect("the description is JSON")
}

/// What the source of the routes says: `.route("path", get(handler).put(handler))`.
fn routes(source: &str) -> Table {
    let mut table = Table::new();
    for route in source.split(".route(").skip(1) {
        let (path, rest) = route.trim_start().trim_start_matches('"').split_once('"').expect("a path");
        // Up to the end of this call.
        let mut depth = 1;
        let end = rest.find(|c| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            depth == 0
        });
        let methods = &rest[..end.expect("the call ends")];
        let named = |method: &str| {
            let words = methods.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '(');
            words.filter_map(|word| word.split_once('(')).any(|(name, _)| name == method)
        };
        // A path may stand in several calls: what needs a body's limit is routed apart from what does not.
        let of_path: &mut BTreeSet<String> = table.entry(path.into()).or_default();
        of_path.extend(METHODS.into_iter().filter(|method| named(method)).map(Into::into));
    }
    for path in UNDESCRIBED {
        assert!(table.remove(path).is_some(), "{path} is no route any more");
    }
    table
}

fn operations(document: &Value) -> impl Iterator<Item = (&String, &String, &Value)> {
    let paths = document["paths"].as_object().expect("paths").iter();
    paths.flat_map(|(path, item)| {
        let item = item.as_object().expect("a path's methods").iter();
        item.filter(|(name, _)| *name != "parameters")
            .map(move |(method, operation)| (path, method, operation))
    })
}

/// What the description says. `HEAD` comes with `GET`, so it may be described or not.
fn described(document: &Value) -> Table {
    let mut table = Table::new();
    for (path, method, _) in operations(document) {
        table.entry(path.clone()).or_default().insert(method.clone());
    }
    for methods in table.values_mut().filter(|methods| methods.contains("get")) {
        methods.remove("head");
    }
    table
}

/// Every object in the description, with where it is.
fn walk<'a>(value: &'a Value, at: &str, visit: &mut dyn FnMut(&str, &'a Value)) {
    visit(at, value);
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, v)| walk(v, &format!("{at}/{name}"), visit))
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, item)| walk(item, &format!("{at}/{i}"), visit));
        }
        _ => {}
    }
}

fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(reference) => {
            let pointer = reference.strip_prefix('#').expect("references stay in the document");
            document.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere"))
        }
        None => value,
    }
}

#[test]
fn every_route_is_described_and_none_made_up() {
    assert_eq!(described(&document()), routes(ROUTES));
}

#[test]
fn the_routes_are_read_as_they_are_written() {
    let source = r#"
        .route("/a/{x}", get(a::get).put(a::output).delete(get_it))
        .route(
            "/b",
            post(b::delete),
        )
        .route("/v1/debug/links", get(x)).route("/v1/debug/corrupt", get(x)).route("/v1/introduction", get(x))
        .route("/api/{*rest}", any(x)).route("/api/cache/", delete(x))
        .route("/b", get(b::list))
    "#;
    let expected = [("/a/{x}", vec!["delete", "get", "put"]), ("/b", vec!["get", "post"])];
    let expected =
        expected.map(|(path, methods)| (path.into(), methods.into_iter().map(Into::into).collect()));
    assert_eq!(routes(source), Table::from(expected));
}

/// H3, its first half: every error code is documented, with its status and its effect.
#[test]
fn every_error_code_is_described_as_the_table_has_it() {
    let document = document();
    let described = document.pointer("/components/schemas/ErrorCode/oneOf").expect("the codes");
    let described: Vec<(&str, &str)> = described
        .as_array()
        .expect("a list")
        .iter()
        .map(|code| {
            (code["const"].as_str().expect("a code"), code["description"].as_str().expect("a sentence"))
        })
        .collect();
    let codes: Vec<&str> = described.iter().map(|(code, _)| *code).collect();
    let all: Vec<&str> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(codes, all);
    for (code, (_, sentence)) in ErrorCode::ALL.iter().zip(&described) {
        let effect = if code.effect() == Effect::None { "none" } else { "unknown" };
        let start = format!("{}, effect {effect}: ", code.status());
        assert!(sentence.starts_with(&start), "{code}: `{sentence}` starts with `{start}`");
        assert!(sentence.len() > start.len() + 10, "{code} is described");
    }
}

/// Failures are answered with the shared problem, under the statuses that its codes have; those of the `/api` routes
/// in the shape that Express gives them.
#[test]
fn every_failure_is_a_problem_and_names_its_codes() {
    let document = document();
    for (path, method, operation) in operations(&document) {
        let responses = operation["responses"].as_object().expect("responses");
        assert!(!responses.is_empty(), "{method} {path}");
        for (status, response) in responses {
            let status: u16 = status.parse().expect("a status");
            let response = resolve(&document, response);
            let description = response["description"].as_str().expect("a description");
            if status < 400 {
                continue;
            }
            if path.starts_with("/api/") {
                let body = response.pointer("/content/application~1json/schema/$ref");
                let bodies = ["Failure", "BulkReport", "NotToggled"];
                let is_one = |name| body == Some(&format!("#/components/schemas/{name}").into());
                assert!(bodies.into_iter().any(is_one), "{method} {path} {status}");
                continue;
            }
            let body = response.pointer("/content/application~1problem+json/schema/$ref");
            assert_eq!(body, Some(&"#/components/schemas/Problem".into()), "{method} {path} {status}");
            let named: BTreeSet<&str> = description.split('`').skip(1).step_by(2).collect();
            let codes = ErrorCode::ALL.iter().filter(|code| code.status() == status);
            for code in codes {
                assert!(named.contains(code.as_str()), "{method} {path} {status} names {code}");
            }
        }
    }
}

#[test]
fn references_lead_somewhere_and_everything_shared_is_used() {
    let document = document();
    let mut used = BTreeSet::new();
    walk(&document, "", &mut |_, value| {
        if let Some(reference) = value["$ref"].as_str() {
            resolve(&document, value);
            used.insert(reference.to_owned());
        }
    });
    for (kind, components) in document["components"].as_object().expect("components") {
        for name in components.as_object().expect("components").keys() {
            // Answers that no route gives belong to requests that found none.
            let of_no_route = kind == "responses" && name == "MethodNotAllowed";
            let is_asked_for = |named: &Value| kind == "securitySchemes" && named.get(name).is_some();
            let asked_for = document["security"].as_array().is_some_and(|all| all.iter().any(is_asked_for));
            let is_used = asked_for || used.contains(&format!("#/components/{kind}/{name}"));
            assert!(of_no_route || is_used, "{kind} {name}");
        }
    }
}

#[test]
fn every_operation_has_a_name_and_its_path_parameters() {
    let document = document();
    let mut names = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        let name = operation["operationId"].as_str().expect("a name");
        assert!(names.insert(name), "{name} is given twice");
        assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{method} {path}");
        let shared = document["paths"][path]["parameters"].as_array();
        let own = operation["parameters"].as_array();
        let parameters = shared.into_iter().chain(own).flatten().map(|one| resolve(&document, one));
        let in_path = parameters.filter(|one| one["in"] == "path").map(|one| one["name"].as_str());
        let in_path: BTreeSet<&str> = in_path.flatten().collect();
        let braces: BTreeSet<&str> = path.split(['{', '}']).skip(1).step_by(2).collect();
        assert_eq!(in_path, braces, "{method} {path}");
    }
}

#[test]
fn limits_and_policies_are_those_of_the_cache() {
    let document = document();
    let at = |pointer: &str| document.pointer(pointer).unwrap_or_else(|| panic!("{pointer} is there"));
    assert_eq!(at("/components/parameters/key/schema/maxLength"), limits::KEY_BYTES_MAX);
    assert_eq!(
        at("/components/parameters/IdempotencyKey/schema/maxLength"),
        limits::IDEMPOTENCY_KEY_BYTES_MAX
    );
    assert_eq!(at("/components/schemas/BatchRequest/properties/ops/maxItems"), limits::BATCH_OPS_MAX);
    let ttl = at("/components/schemas/ExpireRequest/properties/ttl_ms");
    assert_eq!((&ttl["minimum"], &ttl["maximum"]), (&limits::TTL_MS_MIN.into(), &limits::TTL_MS_MAX.into()));
    let slides = at("/components/schemas/Sliding/description").as_str().expect("a sentence");
    assert!(slides.contains(&limits::SLIDING_TTL_MS_MAX.to_string()), "{slides}");
    assert_eq!(at("/components/parameters/sliding/description"), slides);
    let policies: BTreeSet<&str> = at("/components/schemas/Policy/enum")
        .as_array()
        .expect("a list")
        .iter()
        .flat_map(Value::as_str)
        .collect();
    assert_eq!(policies, Policy::ALL.map(Policy::name).into());
}
