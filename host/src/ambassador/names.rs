//! The API server's names for a sandboxed program.
//!
//! Threat: a name that means the API server to a guest and another host to this one, so that a request bypasses the
//! gate. A destination is compared whole. It either is one of these names, and then judged as a request to the API, or
//! it is egress.

use crate::cluster::{Endpoint, EndpointSource};
use crate::policy::Destination;

/// The names of the service as a pod resolves them: the bare name in the namespace `default`, the others everywhere.
const SERVICE: [&str; 4] =
    ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"];

/// The address of an ambassador container, with the port of `kubectl proxy`.
const AMBASSADOR: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];
const AMBASSADOR_PORT: u16 = 8001;

/// The API server's names: those of its service, those of an ambassador container, and the host's own.
#[derive(Clone, Debug)]
pub struct ServerNames {
    all: Vec<Destination>,
    own: Vec<Destination>,
}

impl Default for ServerNames {
    /// Returns the names that hold in every pod.
    fn default() -> Self {
        let service = SERVICE.map(|name| Destination::of("https", name, None));
        let ambassador = AMBASSADOR.map(|name| Destination::of("http", name, Some(AMBASSADOR_PORT)));
        Self { all: service.into_iter().chain(ambassador).flatten().collect(), own: Vec::new() }
    }
}

impl ServerNames {
    /// Adds the name by which this host calls the server.
    #[must_use]
    pub fn with_endpoint(self, endpoint: &Endpoint) -> Self {
        let scheme = if endpoint.is_encrypted() { "https" } else { "http" };
        self.with(Destination::of(scheme, endpoint.host(), Some(endpoint.port())).ok())
    }

    /// Adds the address in the pod's `KUBERNETES_SERVICE_HOST` and `_PORT`. `variable` looks them up.
    #[must_use]
    pub fn with_variables(self, variable: impl Fn(&str) -> Option<String>) -> Self {
        match Endpoint::find(variable) {
            Ok(endpoint) if endpoint.source() == EndpointSource::Environment => self.with_endpoint(&endpoint),
            // Variables that make no address here make none in a guest either.
            _ => self,
        }
    }

    fn with(mut self, name: Option<Destination>) -> Self {
        if let Some(name) = name.filter(|name| !self.own.contains(name)) {
            self.own.push(name.clone());
            self.all.push(name);
        }
        self
    }

    /// Returns whether a destination is the API server.
    pub fn contain(&self, destination: &Destination) -> bool {
        self.all.contains(destination)
    }

    /// Returns all names.
    pub fn all(&self) -> &[Destination] {
        &self.all
    }

    /// Returns the added names: the addresses at which this host finds the server.
    pub fn own(&self) -> &[Destination] {
        &self.own
    }

    /// Returns the names to whose addresses no other name may lead: the addresses at which this host finds the server,
    /// and the service that every pod knows. The other names of the service have these addresses too.
    pub fn shielded(&self) -> Vec<Destination> {
        let service = Destination::of("https", SERVICE[2], None).ok().filter(|service| !self.own.contains(service));
        self.own.iter().cloned().chain(service).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn means_server(names: &ServerNames, url: &str) -> bool {
        url.parse().is_ok_and(|destination| names.contain(&destination))
    }

    #[test]
    fn every_usual_name_means_the_server() {
        let names = ServerNames::default()
            .with_endpoint(&Endpoint::given("https://api.example:6443").unwrap())
            .with_variables(|name| Some(if name.ends_with("PORT") { "443" } else { "fd00:10:96::1" }.to_owned()));
        for url in [
            "https://kubernetes",
            "https://Kubernetes.Default",
            "https://kubernetes.default.svc:443",
            "https://kubernetes.default.svc.cluster.local",
            "http://localhost:8001",
            "http://127.0.0.1:8001",
            "http://[::1]:8001",
            "https://api.example:6443",
            "https://[fd00:10:96:0::1]",
        ] {
            assert!(means_server(&names, url), "{url}");
        }
    }

    #[test]
    fn no_other_name_does() {
        let names = ServerNames::default();
        for url in [
            "http://kubernetes",
            "https://kubernetes:6443",
            "https://kubernetes.default.svc.evil.example",
            "https://kubernetes.evil",
            "https://localhost:8001",
            "http://localhost",
            "http://127.0.0.2:8001",
            "https://kubernetes.default.svc.",
        ] {
            assert!(!means_server(&names, url), "{url}");
        }
    }
}
