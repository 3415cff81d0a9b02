//! Permits of the host's own gates, which the host waits for.

use tokio::time::{Instant, sleep};

use super::connect::ApiClient;
use super::error::ClusterError;
use super::unavailable::Unavailable;
use crate::gate::{Channel, Gate, GateError, Permit};
use crate::policy::ApiRequest;

impl ApiClient {
    /// Returns a permit of one of the host's own gates.
    ///
    /// Waits while the gate's rate or that of the whole host is spent, within the client's deadline: plain discovery
    /// takes a request per group, and many guests may ask at once.
    pub(super) async fn admitted(&self, gate: &Gate, request: ApiRequest) -> Result<Permit, ClusterError> {
        let give_up = Instant::now().checked_add(self.deadline());
        let in_time = || give_up.is_none_or(|at| Instant::now() < at);
        loop {
            match gate.admit(Channel::Host, request.clone()) {
                Ok(permit) => return Ok(permit),
                Err(GateError::Throttled(wait) | GateError::HostThrottled(wait)) if in_time() => sleep(wait).await,
                Err(refusal @ (GateError::Throttled(_) | GateError::HostThrottled(_))) => {
                    return Err(Unavailable::Busy(refusal.to_string()).into());
                }
                Err(refusal) => return Err(ClusterError::Gate(refusal)),
            }
        }
    }
}
