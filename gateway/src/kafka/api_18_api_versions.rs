//! ApiVersions (key 18), versions 0 to 4.
//!
//! - Made from the table in [`super::api`]. An unknown version is answered in the form of version 0 with UNSUPPORTED_VERSION and
//!   the versions of ApiVersions itself (KIP-511).
//! - Version 3 on names the client's software; a name or version not of KIP-511's form gets INVALID_REQUEST.
//! - No features are told of (KIP-584): none is finalized.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};

use super::api::{Api, TABLE, Versions, versions};
use super::codec::{Frame, Malformed, RequestHeader, encode};
use super::context::Context;

pub(super) const VERSIONS: Versions = versions(0, 4);

pub(super) async fn handle(context: &Context<'_>, request: ApiVersionsRequest) -> ApiVersionsResponse {
    let software = [&request.client_software_name, &request.client_software_version];
    if context.version() >= 3 && !software.iter().all(|text| is_software(text)) {
        return ApiVersionsResponse::default().with_error_code(ResponseError::InvalidRequest.code());
    }
    ApiVersionsResponse::default().with_api_keys(TABLE.iter().map(describe).collect())
}

/// The answer to an ApiVersions request of a version that is not served.
pub(super) fn refusal(frame: &[u8]) -> Result<Frame, Malformed> {
    let (_, _, correlation) = RequestHeader::peek(frame)?;
    let this = Api { key: ApiKey::ApiVersions, versions: VERSIONS };
    let response = ApiVersionsResponse::default()
        .with_error_code(ResponseError::UnsupportedVersion.code())
        .with_api_keys(vec![describe(&this)]);
    encode(ApiKey::ApiVersions, 0, correlation, &response).ok_or(Malformed::Undecodable)
}

fn describe(api: &Api) -> ApiVersion {
    ApiVersion::default()
        .with_api_key(api.key as i16)
        .with_min_version(api.versions.min)
        .with_max_version(api.versions.max)
}

/// `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?`
fn is_software(text: &str) -> bool {
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    ends(bytes.first())
        && ends(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}
