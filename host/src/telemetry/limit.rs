//! One record of a limit that an extension reached.

use jiff::Timestamp;
use serde::Serialize;

use super::audit::{Audit, to_the_microsecond};
use crate::policy::{LimitHit, LimitValue};

/// A limit that an extension reached.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct LimitRecord<'a> {
    /// The time of the record; RFC 3339 in UTC with microseconds.
    #[serde(serialize_with = "to_the_microsecond")]
    pub time: Timestamp,
    /// The name of the extension.
    pub extension: &'a str,
    /// The limit's name in a grant, such as `memory`.
    pub limit: &'static str,
    /// The value of the limit.
    pub allowed: LimitValue,
    /// True if the limit ended the call.
    pub ended: bool,
    /// The number of times since the last record; not written if it is one.
    #[serde(skip_serializing_if = "is_one")]
    pub times: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_one(number: &u64) -> bool {
    *number == 1
}

impl<'a> LimitRecord<'a> {
    /// Makes the record of a limit that was reached now.
    pub fn now(extension: &'a str, reached: LimitHit, ended: bool) -> Self {
        let LimitHit { limit, allowed } = reached;
        Self { time: Timestamp::now(), extension, limit: limit.name(), allowed, ended, times: 1 }
    }

    /// Reports the limit to the operator, in the log (target `attache::limits`) and the audit.
    pub(crate) fn report(&self, audit: &dyn Audit) {
        let Self { extension, limit, allowed, ended, times, .. } = self;
        tracing::warn!(target: "attache::limits", extension, limit, %allowed, ended, times, "an extension reached its limit");
        audit.limit(self);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::policy::Limit;

    #[test]
    fn a_record_names_the_limit_and_its_number() {
        let reached = LimitHit { limit: Limit::Memory, allowed: LimitValue::Bytes(64 << 20) };
        let record = LimitRecord { time: Timestamp::UNIX_EPOCH, ..LimitRecord::now("hog", reached, true) };
        assert_eq!(
            serde_json::to_string(&record).unwrap(),
            "{\"time\":\"1970-01-01T00:00:00.000000Z\",\"extension\":\"hog\",\"limit\":\"memory\",\"allowed\":\"64Mi\",\
             \"ended\":true}"
        );
    }
}
