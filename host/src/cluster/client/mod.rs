//! Requests that the gate has let through, on their way to the server and back.

mod agent;
mod body;
mod payload;
mod retry;
mod send;
mod upgrade;

pub use body::AnswerBody;
pub(in crate::cluster) use payload::Outbound;
pub use payload::{Answer, ForwardedHeaders, Payload, StreamBody, Upgrade};
pub(in crate::cluster) use retry::retry_after;
pub(crate) use upgrade::Sent;
