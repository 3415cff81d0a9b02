//! Why a request was not understood.

use thiserror::Error;

/// Why a request is refused before it is judged.
///
/// Each case is one way in which two readers of the same bytes could come to different answers, or which the API server
/// would refuse anyway. Nothing of it reaches the server.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidRequest {
    /// The API server knows GET, HEAD, POST, PUT, PATCH and DELETE; what else it would do with others is not judged.
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
    /// A `#`: servers never see fragments, so one in a target is an attempt to hide the rest.
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
    /// A parameter that has one value on the server was given more than once.
    #[error("the parameter `{0}` is given more than once")]
    Doubled(String),
    /// A query parameter without a name.
    #[error("a query parameter has no name")]
    Nameless,
    /// A control character in a query parameter.
    #[error("the parameter `{0}` holds a control character")]
    Control(String),
    /// More query parameters than [`MAX_PARAMETERS`](super::MAX_PARAMETERS).
    #[error("more than {limit} query parameters")]
    TooManyParameters {
        /// The limit.
        limit: usize,
    },
    /// `watch` with a value that readers understand differently, or one that contradicts the path.
    #[error("`watch={0}` is neither true nor false here")]
    Watch(String),
    /// A field selector that the server could not parse either, or that names two objects.
    #[error("the field selector `{0}` is not valid")]
    FieldSelector(String),
    /// A part from which a path was to be built is not one path segment.
    #[error("`{value}` is not a valid {what}")]
    Part {
        /// Which part: `namespace`, `name`, `group` and so on.
        what: &'static str,
        /// The part as it was given, cut to a readable length.
        value: String,
    },
}
