//! Server-side apply.

use std::sync::Arc;

use super::answer::Answer;
use super::api::{Api, Call};
use super::status::ApiError;

impl Api {
    pub(crate) fn apply(self: &Arc<Self>, _call: &Call<'_>) -> Result<Answer, ApiError> {
        Err(ApiError::unsupported_media("application/json-patch+json"))
    }
}
