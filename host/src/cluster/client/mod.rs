//! Sending what the gate has let through.

mod body;
mod payload;
mod retry;
mod send;

pub use body::AnswerBody;
pub use payload::{Answer, Payload};
