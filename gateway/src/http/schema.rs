//! Forms of texts, for the OpenAPI document.
#![allow(dead_code)]

use serde::Deserialize;
use utoipa::ToSchema;

/// A duration: numbers and units (d, h, m, s, ms), such as 30s, 5m, 1h30m, 7d.
#[derive(Debug, ToSchema)]
#[schema(value_type = String, min_length = 2, example = "30s",
    pattern = "^([0-9]{1,5}d)?([0-9]{1,5}h)?([0-9]{1,7}m)?([0-9]{1,9}s)?([0-9]{1,12}ms)?([0-9]{1,12}us)?([0-9]{1,12}ns)?$")]
pub struct DurationText(String);

/// The name of a topic or group: 1 to 255 bytes of UTF-8 without control characters. In a path, percent-encode `/` and other
/// reserved characters.
#[derive(Debug, ToSchema)]
#[schema(value_type = String, min_length = 1, max_length = 255, pattern = r"^[^\u0000-\u001f\u007f-\u009f]+$", example = "orders")]
pub struct NameText(String);

/// A time: RFC 3339, or milliseconds since 1970.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(value_type = String, example = "2026-01-31T12:00:00Z",
    pattern = r"^([0-9]{1,13}|20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?(Z|[+-](0[0-9]|1[0-2]):[0-5][0-9]))$")]
pub struct TimeText(pub(super) String);

/// Names a request: the same key with the same message again gets the first result; with another message, 422.
#[derive(Debug, ToSchema)]
#[schema(value_type = String, min_length = 1, max_length = 255, example = "order-4711")]
pub struct IdempotencyKeyText(String);
