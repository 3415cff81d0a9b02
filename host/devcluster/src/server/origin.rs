//! The author of a write.

use crate::rules::entries::Writer;
use crate::server::api::Call;

/// The author of a write, and its options.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) writer: Writer,
    pub(crate) dry_run: bool,
    /// True if the status of a new object is kept, as for a manifest, since no controller would make one.
    pub(crate) keep_status: bool,
    /// True if managed fields are recorded already, as by a server-side apply.
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
