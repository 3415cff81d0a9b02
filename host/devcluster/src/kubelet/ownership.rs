//! The permission bits that a pod's security context adds to its files.
//!
//! The real kubelet gives volumes to the pod's group, and tokens to its user. Here this process's user owns all files,
//! so only the bits follow the pod [`pkg/volume/projected/projected.go`; `pkg/volume/volume_linux.go`,
//! `SetVolumeOwnership`].

use serde_json::Value;

use super::pod::Pod;

/// The bits that each file of a read-only volume gets if the pod has an `fsGroup`.
const FOR_GROUP: u32 = 0o440;

/// The mode of a token that belongs to one user or one group.
const OF_TOKEN: u32 = 0o600;

/// Returns the mode of a token's file if it differs from the volume's. A token is not readable by everybody when the
/// user of the containers is known.
pub(super) fn token_mode(pod: &Pod<'_>) -> Option<u32> {
    (group(pod).is_some() || one_user(pod)).then_some(OF_TOKEN)
}

/// Returns the bits that are added to the mode of each file.
pub(super) fn added(pod: &Pod<'_>) -> u32 {
    if group(pod).is_some() { FOR_GROUP } else { 0 }
}

fn group(pod: &Pod<'_>) -> Option<i64> {
    pod.object.pointer("/spec/securityContext/fsGroup").and_then(Value::as_i64)
}

/// Returns whether all containers are set to run as one user.
fn one_user(pod: &Pod<'_>) -> bool {
    let of_pod = pod.object.pointer("/spec/securityContext/runAsUser").and_then(Value::as_i64);
    let user = |container: &Value| container.pointer("/securityContext/runAsUser").and_then(Value::as_i64).or(of_pod);
    let mut users = pod.containers().chain(pod.list("/spec/ephemeralContainers")).map(user);
    let first = users.next().flatten();
    first.is_some() && users.all(|user| user == first)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{added, token_mode};
    use crate::kubelet::pod::{Allocatable, Pod};

    #[test]
    fn a_token_is_for_the_one_user_or_group_that_is_named() {
        let user = |user: Value| json!({"securityContext": {"runAsUser": user}});
        let table = [
            (json!({"containers": [{}]}), None, 0),
            (json!({"containers": [{}], "securityContext": {"runAsUser": 65532}}), Some(0o600), 0),
            (json!({"containers": [user(json!(1)), user(json!(1))]}), Some(0o600), 0),
            (json!({"containers": [user(json!(1)), user(json!(2))]}), None, 0),
            (json!({"containers": [user(json!(1))], "initContainers": [{}]}), None, 0),
            (json!({"containers": [{}], "securityContext": {"fsGroup": 2000}}), Some(0o600), 0o440),
        ];
        for (spec, mode, bits) in table {
            let (object, node) = (json!({"spec": spec}), Allocatable::default());
            let pod = Pod { object: &object, node: &node };
            assert_eq!((token_mode(&pod), added(&pod)), (mode, bits), "{object}");
        }
    }
}
