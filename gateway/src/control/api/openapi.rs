//! The API's description, made of the handlers and wire types themselves. `deploy/openapi.json` is a
//! copy of it for those who build clients.

use std::collections::BTreeMap;

use axum::Json;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::schema::{AllOfBuilder, ObjectBuilder, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Content, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{Modify, OpenApi};

use crate::control::events::Event;

use super::action::wire::Refused;
use super::code::Code;
use super::problem::ProblemDocument;
use super::wire::{SessionOrder, SessionState};

/// What the description says beside the calls.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Portcullis",
        description = "Console gateway: brokers, instances, sessions and events. Every call but this \
                       description needs the API key. Unknown fields and parameters are refused.",
    ),
    components(schemas(ProblemDocument, Refused, Event, SessionState, SessionOrder)),
    modifiers(&Keys),
    security(("key" = []), ("bearer" = [])),
    tags(
        (name = "brokers", description = "One address and port that lead to one console"),
        (name = "instances", description = "The machines whose consoles are asked for"),
        (name = "sessions", description = "Who is, or was, connected"),
        (name = "events", description = "What happens"),
        (name = "status", description = "How the gateway is"),
        (name = "actions", description = "The same in the action style of older clouds"),
    ),
)]
pub struct Frame;

struct Keys;

impl Modify for Keys {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let header = ApiKey::Header(ApiKeyValue::new("X-API-Key"));
        components.add_security_scheme("key", SecurityScheme::ApiKey(header));
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    }
}

/// The description itself: it holds no secret, so it needs no key.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "describe",
    security(()),
    responses((status = 200, description = "This document", body = serde_json::Value)),
)]
pub async fn show() -> Json<utoipa::openapi::OpenApi> {
    Json(super::document())
}

/// Problem documents with these codes; those about the key, which every call may answer, come along.
pub fn problem_documents(codes: &[Code]) -> BTreeMap<String, RefOr<Response>> {
    refusals(codes, "application/problem+json", "Problem")
}

/// Answers with these codes and those about the key, in a body of `schema`.
pub fn refusals(codes: &[Code], kind: &str, schema: &str) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status = BTreeMap::<u16, Vec<Code>>::new();
    for code in codes.iter().chain(&[Code::NoKey, Code::WrongKey]) {
        by_status.entry(code.status()).or_default().push(*code);
    }
    let described = |codes: Vec<Code>| {
        let names: Vec<_> = codes.iter().map(|code| code.name()).collect();
        let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
        let code = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names));
        let body = AllOfBuilder::new()
            .item(Ref::from_schema_name(schema))
            .item(ObjectBuilder::new().property("code", code).required("code"));
        let response = ResponseBuilder::new()
            .description(quoted.join(", "))
            .content(kind, Content::new(Some(RefOr::T(body.build().into()))));
        if !codes.contains(&Code::NoFreePort) {
            return response.build().into();
        }
        let seconds = HeaderBuilder::new()
            .description(Some("Seconds until a port may be free; with `no_free_port` only"))
            .schema(Some(ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1))));
        response.header("Retry-After", seconds.build()).build().into()
    };
    by_status.into_iter().map(|(status, codes)| (status.to_string(), described(codes))).collect()
}

/// A name for the problems that a call may answer, for the attribute of its handler.
macro_rules! problems {
    ($(#[$about:meta])* $name:ident: $($code:ident),* $(,)?) => {
        $(#[$about])*
        pub struct $name;

        impl utoipa::IntoResponses for $name {
            fn responses()
            -> std::collections::BTreeMap<String, utoipa::openapi::RefOr<utoipa::openapi::Response>> {
                $crate::control::api::openapi::problem_documents(&[$($crate::control::api::code::Code::$code),*])
            }
        }
    };
}
pub(super) use problems;

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn the_copy_is_true() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/openapi.json");
        let copy = std::fs::read_to_string(&path).unwrap_or_default();
        let now = super::super::document().to_pretty_json().expect("JSON");
        let renew = "target/debug/portcullis openapi > deploy/openapi.json";
        assert!(copy.trim_end() == now, "deploy/openapi.json is not what the API is now; renew it: {renew}");
    }

    #[test]
    fn what_it_refers_to_is_there() {
        let text = super::super::document().to_json().expect("JSON");
        let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        for part in text.split("\"#").skip(1) {
            let place = part.split('"').next().expect("a part");
            assert!(document.pointer(place).is_some(), "there is no {place}");
        }
    }

    #[test]
    fn requests_refuse_unknown_fields() {
        let document = serde_json::to_value(super::super::document()).expect("JSON");
        for name in ["CreateBroker", "PutInstance"] {
            let schema = &document["components"]["schemas"][name];
            assert_eq!(schema["additionalProperties"], false, "{name}: {schema}");
        }
    }
}
