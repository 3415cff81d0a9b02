//! Powers: the rights that a `*` in a rule never covers.
//!
//! Threat: a wildcard that grants more than its author intended. `*` covers ordinary rights. Three kinds of rights are
//! granted by name or not at all: other identities, facts about others and their rights, and a position between other
//! clients and the API server.
//!
//! The list of verbs names those that `*` covers: the verbs that a request can have. So no rule covers a verb of a
//! later release, such as `impersonate:user-info` of 1.35.

/// The verbs that `*` covers, in the order in which people write them.
pub(super) const ORDINARY_VERBS: [&str; 8] =
    ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];

/// The verbs that change nothing.
const READING: [&str; 3] = ["get", "list", "watch"];

/// The subresources through which the API server relays bytes to somebody else. They act on a GET too.
const RELAYED: [&str; 4] = ["exec", "attach", "portforward", "proxy"];

/// The requests for a resource that hand out power.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    /// All requests, for its subresources too.
    All,
    /// The requests that change something.
    Writing,
    /// The requests for one of these subresources.
    Parts(&'static [&'static str]),
}

/// The resources that hand out power, in any API group, with the power. The subresources that do so for any type are in
/// [`is_power_of_any`]. `staging/src/k8s.io/api` of Kubernetes 1.36 documents each resource under its group.
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

/// Returns whether a request for this resource hands out power beyond itself: other identities, their secrets, code in
/// other containers, or a way round the API server.
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

/// Returns whether this subresource hands out power on any type: code, bytes or ports of another's container,
/// and another's token or certificate.
pub(super) fn is_power_of_any(subresource: &str) -> bool {
    acts_on_reading(subresource) || matches!(subresource, "ephemeralcontainers" | "token" | "approval")
}

/// Returns whether a GET of this subresource acts, too.
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
