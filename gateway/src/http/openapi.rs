//! The OpenAPI document, made from the handlers' own annotations together with the router.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Method, header};
use axum::middleware;
use axum::response::Response;
use axum::routing::MethodRouter;
use bytes::Bytes;
use utoipa::OpenApi;
use utoipa::openapi::path::Operation;
use utoipa::openapi::{self, ContentBuilder, Ref, ResponseBuilder};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};
use utoipa_axum::routes;

use super::error::Problem;
use super::state::Http;
use super::{browse, group_stream, groups, lag, publish, publish_batch, pull, seek, settle, topic_stream, topics};

/// Where the API is: names are of the caller's own namespace.
pub(super) const PREFIX: &str = "/v1";
/// The same, naming the namespace.
pub(super) const PREFIX_NAMESPACE: &str = "/v1/namespaces/{namespace}";

#[derive(OpenApi)]
#[openapi(
    info(title = "Tidegate HTTP API", license(name = "Apache-2.0", identifier = "Apache-2.0"),
        description = "Publish, read and consume messages. Names in paths are percent-encoded. Durations are texts such as `30s`, `5m`, `7d`; times are RFC 3339. Every error is a problem (RFC 9457) with a `code` for programs; `retryable` says whether the same request may succeed later."),
    servers((url = "/v1", description = "Names are of the caller's namespace"),
        (url = "/v1/namespaces/{namespace}", description = "The namespace is named", variables(("namespace" = (default = "default", description = "The caller's own"))))),
    paths(pull::pull, settle::ack, settle::nack, settle::extend, seek::seek),
    components(schemas(Problem)),
    tags((name = "topics", description = "What there is to publish to"), (name = "publish", description = "Messages in"),
        (name = "read", description = "Messages out, changing nothing"), (name = "groups", description = "Named progress"),
        (name = "consume", description = "Messages out, each once settled"))
)]
struct Api;

/// The routes below the prefixes, and the document that describes them.
pub(super) fn routes() -> (Vec<(String, MethodRouter<Http>)>, openapi::OpenApi) {
    let (schemas, paths, group) =
        routes!(groups::put_group, groups::get_group, groups::patch_group, groups::delete_group);
    let described = [
        routes!(topics::list_topics),
        routes!(topics::put_topic, topics::get_topic, topics::patch_topic, topics::delete_topic),
        routes!(publish::publish, browse::browse),
        routes!(publish_batch::publish_batch),
        routes!(browse::get_message),
        routes!(topic_stream::stream_topic),
        routes!(groups::list_groups),
        // Actions are documented one by one: the router does not split segments.
        (schemas, paths, group.route_layer(middleware::from_fn(groups::refuse_actions)).post(groups::act)),
        routes!(group_stream::stream_group),
        routes!(lag::get_lag),
    ];
    let of_path = |(_, paths, methods): &UtoipaMethodRouter<Http>| {
        paths.paths.keys().map(|path| (path.clone(), methods.clone())).collect::<Vec<_>>()
    };
    let routes = described.iter().flat_map(of_path).collect();
    let describing = OpenApiRouter::with_openapi(Api::openapi());
    let mut document = described.into_iter().fold(describing, OpenApiRouter::routes).into_openapi();
    document.info.version = env!("CARGO_PKG_VERSION").to_owned();
    for operation in operations_mut(&mut document) {
        describe_errors(operation);
    }
    (routes, document)
}

fn operations_mut(document: &mut openapi::OpenApi) -> impl Iterator<Item = &mut Operation> {
    document.paths.paths.values_mut().flat_map(|item| {
        [&mut item.get, &mut item.put, &mut item.post, &mut item.patch, &mut item.delete].into_iter().flatten()
    })
}

/// Every operation can fail in the same form.
fn describe_errors(operation: &mut Operation) {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let problem = ResponseBuilder::new().description("A problem").content("application/problem+json", content).build();
    operation.responses.responses.insert("default".to_owned(), problem.into());
}

/// Methods and paths of the document.
pub(super) fn operations(document: &openapi::OpenApi) -> Vec<(Method, String)> {
    let mut operations = Vec::new();
    for (path, item) in &document.paths.paths {
        let methods = [
            (Method::GET, &item.get),
            (Method::PUT, &item.put),
            (Method::POST, &item.post),
            (Method::PATCH, &item.patch),
            (Method::DELETE, &item.delete),
        ];
        let given = methods.into_iter().filter(|(_, operation)| operation.is_some());
        operations.extend(given.map(|(method, _)| (method, path.clone())));
    }
    operations
}

/// The document as it is served.
#[must_use]
pub fn document() -> String {
    let (_, document) = routes();
    let mut json = document.to_pretty_json().unwrap_or_default();
    json.push('\n');
    json
}

/// `GET /openapi.json`.
pub(super) async fn serve_document(State(http): State<Http>) -> Response {
    let mut response = Response::new(Body::from(http.document.clone()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Serialized once.
pub(super) fn document_bytes() -> Bytes {
    document().into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::http::groups::Action;

    #[test]
    fn the_committed_document_is_the_generated_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../openapi/tidegate.json");
        if std::env::var_os("UPDATE_OPENAPI").is_some() {
            std::fs::write(path, document()).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap();
        assert!(committed == document(), "openapi/tidegate.json is out of date: see openapi/README.md");
    }

    #[test]
    fn every_action_of_a_group_is_documented_and_no_other() {
        let (_, document) = routes();
        let mut documented: Vec<_> = operations(&document)
            .into_iter()
            .filter_map(|(_, path)| path.strip_prefix("/groups/{group}:").map(str::to_owned))
            .collect();
        documented.sort();
        let mut actions = Action::ALL.map(Action::name);
        actions.sort_unstable();
        assert_eq!(documented, actions);
    }

    #[test]
    fn operation_ids_are_unique() {
        let (_, mut document) = routes();
        let mut ids: Vec<_> = operations_mut(&mut document).map(|operation| operation.operation_id.clone()).collect();
        let count = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!((ids.len(), ids.contains(&None)), (count, false));
    }
}
