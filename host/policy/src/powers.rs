//! What a `*` in a rule never covers.
//!
//! Threat: a wildcard that hands out more than its author thought of. `*` covers what is ordinary. What makes an
//! extension somebody else, shows it what others are or may do, or puts it in the way of others' requests is granted by
//! name or not at all. Verbs are the other way round: `*` covers those that a request can have and no others, so a verb
//! of a later release (`impersonate:user-info` of 1.35) is covered by no rule.

/// The verbs that `*` covers, in the order in which people write them.
pub(super) const ORDINARY_VERBS: [&str; 8] =
    ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];

/// The verbs that change nothing.
const READING: [&str; 3] = ["get", "list", "watch"];

/// The subresources through which the API server relays bytes to somebody else. They act on a GET too.
const RELAYED: [&str; 4] = ["exec", "attach", "portforward", "proxy"];

/// Which requests for a resource hand out power.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    /// All, its subresources' too.
    All,
    /// Those that change something.
    Writing,
    /// Those for one of these subresources.
    Parts(&'static [&'static str]),
}

/// The resources that hand out power, in whatever API group they are, and why. Subresources of any type that do are
/// those of
/// [`is_power_of_any`]. What each is, is told in `staging/src/k8s.io/api` of Kubernetes 1.36 under its group.
const POWERS: &[(&str, Of, &str)] = &[
    ("secrets", Of::All, "credentials of others"),
    ("serviceaccounts", Of::Parts(&["token"]), "a token of another account (authentication.k8s.io, TokenRequest)"),
    ("tokenreviews", Of::All, "whose a token is (authentication.k8s.io)"),
    ("subjectaccessreviews", Of::All, "what others may do (authorization.k8s.io)"),
    ("localsubjectaccessreviews", Of::All, "what others may do (authorization.k8s.io)"),
    (
        "certificatesigningrequests",
        Of::Parts(&["approval", "status"]),
        "a certificate in any name (certificates.k8s.io)",
    ),
    ("podcertificaterequests", Of::All, "a certificate in a pod's name (certificates.k8s.io)"),
    ("signers", Of::All, "certificates in any name: what `approve`, `sign` and `attest` are asked for"),
    ("clustertrustbundles", Of::Writing, "whom others trust (certificates.k8s.io)"),
    ("mutatingwebhookconfigurations", Of::Writing, "others' requests, seen and changed (admissionregistration.k8s.io)"),
    ("validatingwebhookconfigurations", Of::Writing, "others' requests, seen (admissionregistration.k8s.io)"),
    ("mutatingadmissionpolicies", Of::Writing, "others' requests, changed (admissionregistration.k8s.io)"),
    ("mutatingadmissionpolicybindings", Of::Writing, "others' requests, changed (admissionregistration.k8s.io)"),
    ("validatingadmissionpolicies", Of::Writing, "others' requests, refused (admissionregistration.k8s.io)"),
    ("validatingadmissionpolicybindings", Of::Writing, "others' requests, refused (admissionregistration.k8s.io)"),
    (
        "customresourcedefinitions",
        Of::Writing,
        "others' objects, seen and changed by conversion (apiextensions.k8s.io)",
    ),
    ("flowschemas", Of::Writing, "whose requests go first (flowcontrol.apiserver.k8s.io)"),
    ("prioritylevelconfigurations", Of::Writing, "whose requests go first (flowcontrol.apiserver.k8s.io)"),
    ("apiservices", Of::Writing, "answers in the API server's name (apiregistration.k8s.io)"),
];

/// Returns whether a request for this hands out power beyond itself: other identities, their secrets, code in other
/// containers, or a way round the API server.
pub(super) fn is_power(resource: &str, subresource: Option<&str>, verb: &str) -> bool {
    let hands_out = |of: Of| match of {
        Of::All => true,
        Of::Writing => !READING.contains(&verb),
        Of::Parts(parts) => subresource.is_some_and(|part| parts.contains(&part)),
    };
    !ORDINARY_VERBS.contains(&verb)
        || subresource.is_some_and(is_power_of_any)
        || POWERS.iter().any(|(named, of, _)| *named == resource && hands_out(*of))
}

/// Returns whether this subresource hands out power whatever type has it: code, bytes or ports of another's container,
/// and another's token or certificate.
pub(super) fn is_power_of_any(subresource: &str) -> bool {
    acts_on_reading(subresource) || matches!(subresource, "ephemeralcontainers" | "token" | "approval")
}

/// Returns whether a GET of this subresource acts too.
pub(super) fn acts_on_reading(subresource: &str) -> bool {
    RELAYED.contains(&subresource)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_power_has_a_reason_and_stands_once() {
        for (index, (resource, _, why)) in POWERS.iter().enumerate() {
            assert!(
                !why.is_empty() && POWERS.iter().skip(index + 1).all(|(other, ..)| other != resource),
                "{resource}"
            );
        }
    }

    #[test]
    fn a_verb_that_no_request_has_is_never_ordinary() {
        for verb in
            ["", "*", "use", "sign", "attest", "approve", "impersonate", "impersonate:user-info", "escalate", "proxy"]
        {
            assert!(is_power("pods", None, verb), "{verb}");
        }
    }
}
