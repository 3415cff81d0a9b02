//! Upgrades: requests that leave HTTP for WebSocket or SPDY, as `kubectl exec`, `cp` and `port-forward` do.
//!
//! Upgrades come through the local proxy alone, whose clients have connections of their own. They are judged, metered
//! and recorded as all requests are. Bytes are forwarded as they come in both directions, but only after the server's
//! 101.
//!
//! Threats, and the defence against each:
//!
//! - One reader takes a request for an upgrade, and another one does not (see `asked`).
//! - A server changes to another protocol than requested. Its 101 is compared with the request.
//! - Requests follow a refused upgrade. The connection is closed after the answer.
//! - The target is no session (see [`ApiRequest::upgraded`](crate::policy::ApiRequest::upgraded)).

mod asked;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use http::request::Parts;
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::headers::{self, HeaderFault};
use super::request_error::RequestError;
use super::upload::Upload;
use super::{Ambassador, AnswerBody, own_body, target};
use crate::cluster::{Payload, Sent, Unavailable, Upgrade};
use crate::gate::Permit;
use crate::policy::{ApiRequest, InvalidRequest};
use crate::telemetry::Decision;
use asked::Asked;

/// The slot for the two connections of an upgrade. The server of a connection puts one into the extensions of a
/// request. A request without a slot is not upgraded.
#[derive(Clone)]
pub(super) struct Slot {
    switched: Arc<Mutex<Option<Switched>>>,
    room: Arc<Semaphore>,
}

impl Slot {
    /// Makes a slot for one connection. `room` bounds all connections together.
    pub(super) fn new(room: Arc<Semaphore>) -> Self {
        Self { switched: Arc::default(), room }
    }

    /// Takes the two connections out, once HTTP is over.
    pub(super) fn take(&self) -> Option<Switched> {
        self.switched.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, switched: Switched) {
        *self.switched.lock().unwrap_or_else(PoisonError::into_inner) = Some(switched);
    }
}

/// Two connections that have left HTTP, to be joined.
pub(super) struct Switched {
    pub(super) client: OnUpgrade,
    pub(super) server: OnUpgrade,
    pub(super) permit: Permit,
    /// The end of the session, whatever is in progress.
    pub(super) ends: Option<Instant>,
    pub(super) room: OwnedSemaphorePermit,
}

impl Ambassador {
    /// Answers a request for an upgrade, on a connection that may be upgraded.
    pub(super) async fn upgrade(
        &self,
        head: &Parts,
        slot: &Slot,
        read: Result<ApiRequest, InvalidRequest>,
    ) -> Result<Response<AnswerBody>, RequestError> {
        let target = target(&head.method, &head.uri);
        let refuse = |fault| self.refuse(head, &target, fault);
        headers::check_apart_from_upgrade(&head.headers).map_err(refuse)?;
        self.authorize(head, &target)?;
        let request = self.understood(head, &target, read)?;
        let request = request.upgraded().ok_or(HeaderFault::Upgrade).map_err(refuse)?;
        let asked = Asked::of(head).map_err(refuse)?;
        let client = head.extensions.get::<OnUpgrade>().cloned().ok_or(HeaderFault::Upgrade).map_err(refuse)?;
        let room = self.room(head, &target, slot)?;
        let mut permit = self.gate.admit(self.way, request)?;
        let cluster =
            self.cluster.as_ref().ok_or(RequestError::NotConnected).inspect_err(|why| permit.record_error(why))?;
        let ends = permit.upgrade_deadline().and_then(|after| Instant::now().checked_add(after));
        let payload = self.payload(head, Upload::nothing());
        let upgrade = Some(Upgrade::with(asked.headers().clone()));
        let payload = Payload { upgrade, deadline: ends.map(Into::into), ..payload };
        let (answer, server, mut permit) = match cluster.send_upgrade(permit, payload).await? {
            Sent::Kept(response) => return Ok(response.map(BodyExt::boxed_unsync)),
            Sent::Switched { head, connection, permit } => (head, connection, permit),
        };
        let Some(answered) = asked.answered(&answer.headers) else {
            let why = Unavailable::Switched { address: cluster.endpoint().address() };
            permit.record_error(&why);
            return Err(RequestError::Cluster(why.into()));
        };
        slot.put(Switched { client, server, permit, ends, room });
        let mut response = Response::new(own_body(""));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *response.headers_mut() = answered;
        Ok(response)
    }

    fn room(&self, head: &Parts, target: &str, slot: &Slot) -> Result<OwnedSemaphorePermit, RequestError> {
        if let Ok(room) = Arc::clone(&slot.room).try_acquire_owned() {
            return Ok(room);
        }
        let refused = RequestError::TooManyUpgrades;
        self.gate.refuse(self.way, &head.method, target, Decision::TooMany, &refused.to_string())?;
        Err(refused)
    }
}
