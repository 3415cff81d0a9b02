//! Reasons why a request is not understood.

use thiserror::Error;

/// The reason why a request is refused before it is judged.
///
/// Each case is one way in which two readers of the same bytes could differ, or which the API server would refuse
/// anyway. Nothing of such a request reaches the server.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidRequest {
    /// The method is not GET, HEAD, POST, PUT, PATCH or DELETE, so it cannot be judged.
    #[error("the method {0} is not one of GET, HEAD, POST, PUT, PATCH, DELETE")]
    Method(String),
    /// The target is longer than [`MAX_TARGET`](super::MAX_TARGET).
    #[error("the target is longer than {limit} bytes")]
    TooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The target does not start with a slash: absolute form, authority form or `*`.
    #[error("the target must be a path that starts with `/`")]
    NotAPath,
    /// A `#`. Servers never see fragments, so a fragment in a target is an attempt to hide the rest.
    #[error("the target holds a fragment")]
    Fragment,
    /// A byte that may not stand in a target as it is: a control character, a space, a backslash, a quote, non-ASCII.
    #[error("the byte {byte:#04x} at {at} may not stand in a target")]
    Byte {
        /// The byte.
        byte: u8,
        /// Its offset in the target.
        at: usize,
    },
    /// A `%` without two hexadecimal digits after it, or escapes that are not UTF-8.
    #[error("broken percent-encoding in `{0}`")]
    Escape(String),
    /// An escape in the path that hides a slash, a dot, a percent sign, a control character or the like.
    #[error("the path hides the byte {byte:#04x} behind percent-encoding")]
    HiddenByte {
        /// The byte that the escape stands for.
        byte: u8,
    },
    /// Two slashes in a row.
    #[error("the path holds an empty segment")]
    EmptySegment,
    /// A `.` or `..` segment.
    #[error("the path holds a dot segment")]
    DotSegment,
    /// `/watch` or `/proxy` with nothing after it.
    #[error("nothing follows the prefix `{0}`")]
    BarePrefix(&'static str),
    /// The old `/watch/` prefix with another method than GET.
    #[error("the prefix `watch` takes no {0}")]
    WatchMethod(String),
    /// A parameter with one value on the server stands more than once.
    #[error("the parameter `{0}` is given more than once")]
    Doubled(String),
    /// A query parameter without a name.
    #[error("a query parameter has no name")]
    Nameless,
    /// A control character in a query parameter.
    #[error("the parameter `{0}` holds a control character")]
    Control(String),
    /// There are more query parameters than the limit.
    #[error("more than {limit} query parameters")]
    TooManyParameters {
        /// The limit.
        limit: usize,
    },
    /// `watch` has a value that readers understand differently, or that contradicts the path.
    #[error("`watch={0}` is neither true nor false here")]
    Watch(String),
    /// The server could not parse the field selector either, or it names two objects.
    #[error("the field selector `{0}` is not valid")]
    FieldSelector(String),
    /// A part of a path is not one path segment.
    #[error("`{value}` is not a valid {what}")]
    Part {
        /// The part: `namespace`, `name`, `group` and so on.
        what: &'static str,
        /// The text of the part, cut to a readable length.
        value: String,
    },
}
