//! On whose behalf an object is written.

use crate::rules::managed::Writer;
use crate::server::api::Call;

/// Who writes, and how.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) writer: Writer,
    pub(crate) dry_run: bool,
    /// Whether the status of a new object is kept, as a manifest's is when there is no controller to make one.
    pub(crate) keep_status: bool,
    /// Whether it is noted already who wrote what, as a server-side apply does.
    pub(crate) tracked: bool,
}

impl Origin {
    pub(crate) fn of(call: &Call<'_>) -> Self {
        let writer = Writer {
            manager: call.manager(),
            subresource: call.at.subresource.clone(),
            api_version: call.of.api_version(),
        };
        Self { writer, dry_run: call.dry_run(), keep_status: false, tracked: false }
    }
}
