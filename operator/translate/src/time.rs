//! Times and durations of manifests.

use headgate_crds::Duration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Creation time in seconds since the Unix epoch, 0 where the object has none, as in files.
pub(crate) fn created_at(metadata: &ObjectMeta) -> i64 {
    metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second())
}

/// Milliseconds of a duration of the Gateway API (GEP-2257), or what is wrong with it.
pub(crate) fn milliseconds(text: &str) -> Result<u64, String> {
    text.parse::<Duration>()
        .map(|duration| duration.milliseconds())
        .map_err(|_| format!("\"{text}\" is no duration; write numbers with the units h, m, s or ms, such as 1m30s"))
}
