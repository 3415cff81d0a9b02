//! A request to leave HTTP, and the connection that does.

use http::response::Parts;
use http::{Response, StatusCode};
use hyper::upgrade::OnUpgrade;

use super::body::AnswerBody;
use super::payload::Payload;
use crate::cluster::connect::ApiClient;
use crate::cluster::error::ClusterError;
use crate::gate::Permit;

/// The outcome of a request to leave HTTP.
pub(crate) enum Sent {
    /// The server answered in HTTP.
    Kept(Response<AnswerBody>),
    /// The server has changed to another protocol. The head is as the server sent it.
    Switched { head: Parts, connection: OnUpgrade, permit: Permit },
}

impl ApiClient {
    /// Sends as [`ApiClient::send`] does, for a payload with an [`Upgrade`](super::Upgrade).
    pub(crate) async fn send_upgrade(&self, mut permit: Permit, payload: Payload) -> Result<Sent, ClusterError> {
        let opened = self.head_by_deadline(&mut permit, payload, None).await;
        let opened = opened.inspect_err(|error| permit.record_error(error))?;
        if opened.head.status != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Sent::Kept(self.with_body(opened, permit)));
        }
        let mut switched = Response::from_parts(opened.head, ());
        let connection = hyper::upgrade::on(&mut switched);
        Ok(Sent::Switched { head: switched.into_parts().0, connection, permit })
    }
}
