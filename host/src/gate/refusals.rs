//! The rate at which refusals are recorded.
//!
//! Threat: an extension that asks as fast as it can once its rate is spent. Each refusal costs it a microsecond and the
//! operator a line, and where the log cannot keep up, the lines of other extensions are lost. So refusals that no rate
//! bounds are recorded at a rate of their own, and the next record has the number of those left out.

use std::num::NonZeroU32;

use crate::telemetry::Sampled;

/// Records a second of one extension's unmetered refusals, and at once after a pause: enough to see what it tries.
const A_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);
const AT_ONCE: NonZeroU32 = NonZeroU32::MIN.saturating_add(99);

/// Makes the meter for the refusals of one gate.
pub(super) fn sampled() -> Sampled {
    Sampled::new(A_SECOND, AT_ONCE)
}
