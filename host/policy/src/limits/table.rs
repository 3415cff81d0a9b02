//! The macro that makes [`Limit`](super::Limit) and [`Limits`](super::Limits) from one table.
//!
//! One row is one limit: its docs, its variant, its name in a grant, its field and the field's type, the default, the
//! least value that a grant may write, and the ceiling. A new limit is a new row, and
//! the place that enforces it: `extension/bounds.rs` for the store, time and output, `gate/slots.rs` and
//! `gate/rate.rs` for requests, `capability/http/resource_limits.rs` for `wasi:http`. `extension/call_error.rs` finds
//! the limit behind a trap.

use std::time::Duration;

use attache_base::quantity::Quantity;

use super::limit::{LimitValue, binary};
use crate::document::{Cursor, DocumentError};
use crate::duration::GoDuration;

/// The type of a limit's value: how it is read and printed.
pub(super) trait Measure: Copy + Ord {
    /// Reads a value that is not below `least`.
    fn read(at: &Cursor<'_>, least: Self) -> Result<Self, DocumentError>;

    /// Returns the value with its unit.
    fn value(self) -> LimitValue;
}

/// Bytes, written as a Kubernetes quantity.
impl Measure for u64 {
    fn read(at: &Cursor<'_>, least: Self) -> Result<Self, DocumentError> {
        match at.parse::<Quantity>()?.to_u64_bytes() {
            Some(bytes) if bytes >= least => Ok(bytes),
            _ => Err(at.invalid(at.words()?, format!("must be from {} to 16 Ei", binary(least)))),
        }
    }

    fn value(self) -> LimitValue {
        LimitValue::Bytes(self)
    }
}

/// A number of things.
impl Measure for u32 {
    fn read(at: &Cursor<'_>, least: Self) -> Result<Self, DocumentError> {
        let count = at.parse::<Self>()?;
        if count >= least { Ok(count) } else { Err(at.invalid(at.words()?, format!("must be at least {least}"))) }
    }

    fn value(self) -> LimitValue {
        LimitValue::Count(self.into())
    }
}

/// A time, written as a Go duration.
impl Measure for Duration {
    fn read(at: &Cursor<'_>, least: Self) -> Result<Self, DocumentError> {
        let GoDuration(time) = at.parse()?;
        if time >= least { Ok(time) } else { Err(at.invalid(at.words()?, "must be longer than nothing")) }
    }

    fn value(self) -> LimitValue {
        LimitValue::Time(self)
    }
}

/// Makes `Limit`, `Limits`, their defaults, their ceiling and their reader from one table.
macro_rules! limits {
    (
        grant {
            $($(#[$doc:meta])* $variant:ident $name:literal $field:ident: $unit:ty
                = $default:expr, from $least:expr, up to $ceiling:expr;)*
        }
        host { $($(#[$host_doc:meta])* $host:ident $host_name:literal;)* }
    ) => {
        /// A limit, by the name that a grant gives it under `spec.limits`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Limit {
            $($(#[$doc])* $variant,)*
            $($(#[$host_doc])* #[doc = "\n\nIt is the host's, the same for all extensions."] $host,)*
        }

        impl Limit {
            /// The limits that a grant sets, in the order in which a grant is written.
            pub const ALL: [Self; FIELDS.len()] = [$(Self::$variant),*];

            /// Returns the name in a grant, in logs and in audit records.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                    $(Self::$host => $host_name,)*
                }
            }

            /// Returns whether the host sets the limit for all extensions, so that no grant varies it.
            pub const fn is_of_host(self) -> bool {
                matches!(self, $(Self::$host)|*)
            }
        }

        /// The fields of `spec.limits`.
        const FIELDS: &[&str] = &[$($name),*];

        /// Bounds on the resources of one extension. Each has a safe default and stands in the grant under the same
        /// name in camel case. A host caps each by its own ceiling.
        ///
        /// ```
        /// use attache_policy::Limits;
        ///
        /// let limits = Limits::default().memory(128 << 20).watches(2);
        /// assert_eq!(limits.capped_by(&Limits::ceiling()), limits);
        /// ```
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Limits {
            $(
                $(#[$doc])*
                #[doc = concat!("\n\nIn the grant: `", $name, "`. Default: `", stringify!($default),
                    "`; least: `", stringify!($least), "`; ceiling: `", stringify!($ceiling), "`.")]
                pub $field: $unit,
            )*
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($field: $default),* }
            }
        }

        impl Limits {
            /// Returns the limits that no grant exceeds on a host without a ceiling of its own: more than an extension
            /// needs, and too little to bring a host down when granted by mistake.
            ///
            /// A host sets another one, higher or lower, with `RuntimeBuilder::ceiling`. A ceiling for untrusted grants
            /// is far lower.
            pub fn ceiling() -> Self {
                Self { $($field: $ceiling),* }
            }

            /// Returns the smaller value of each limit: the grant's, or the host's ceiling.
            #[must_use]
            pub fn capped_by(&self, ceiling: &Self) -> Self {
                Self { $($field: self.$field.min(ceiling.$field)),* }
            }

            /// Returns the value of a limit; `None` for the host's own limits, such as the stack.
            pub fn allowed(&self, limit: Limit) -> Option<LimitValue> {
                match limit {
                    $(Limit::$variant => Some(self.$field.value()),)*
                    $(Limit::$host)|* => None,
                }
            }

            /// Reads `spec.limits`; missing fields keep their defaults.
            pub(crate) fn decode(at: Cursor<'_>) -> Result<Self, DocumentError> {
                let fields = at.fields(FIELDS)?;
                Ok(Self { $($field: fields.read($name, |at| Measure::read(&at, $least))?.unwrap_or($default)),* })
            }

            $(
                #[doc = concat!("Sets [`", stringify!($field), "`](field@Limits::", stringify!($field), ").")]
                #[must_use]
                pub fn $field(self, $field: $unit) -> Self {
                    Self { $field, ..self }
                }
            )*
        }
    };
}

pub(super) use limits;
