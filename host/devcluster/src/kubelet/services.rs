//! The variables with the addresses of the namespace's services, and of the API server
//! [`pkg/kubelet/envvars/envvars.go`; `pkg/kubelet/kubelet_pods.go`, `getServiceEnvVarMap`].

use std::collections::BTreeSet;

use http::StatusCode;
use serde_json::{Value, json};

use super::client::{Address, Call, Client, ClientError};
use super::env::Environment;
use super::pod::{Pod, text};

/// The service that every container has variables of: the API server's.
const API_SERVER: &str = "kubernetes";

/// The variables of services.
#[derive(Debug, Default)]
pub(super) struct Services {
    pub(super) variables: Environment,
    /// The names of the variables in the manner of Docker links: all but a service's address and its first port.
    pub(super) links: BTreeSet<String>,
}

impl Services {
    /// Reads the services that the pod gets variables of. An account that may not list services gets none, so that a
    /// token with fewer rights than a node's will do.
    pub(super) async fn read(client: &Client, pod: &Pod<'_>) -> Result<Self, ClientError> {
        if pod.object.pointer("/spec/enableServiceLinks") == Some(&Value::Bool(false)) {
            return Ok(Self::of(client.address(), &[]));
        }
        let path = format!("/api/v1/namespaces/{}/services", pod.text("/metadata/namespace"));
        match client.object(&path, Call::Get).await {
            Ok(list) => Ok(Self::of(client.address(), list["items"].as_array().map(Vec::as_slice).unwrap_or_default())),
            Err(ClientError::Refused { code: StatusCode::FORBIDDEN, .. }) => Ok(Self::of(client.address(), &[])),
            Err(error) => Err(error),
        }
    }

    fn of(server: &Address, list: &[Value]) -> Self {
        let mut services = Self::default();
        for service in list.iter().filter(|service| text(&service["metadata"], "name") != API_SERVER) {
            let address = text(&service["spec"], "clusterIP");
            if !matches!(address, "" | "None") {
                let ports = service["spec"]["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
                services.add(text(&service["metadata"], "name"), address, ports);
            }
        }
        services.add(API_SERVER, &server.host, &[json!({"name": "https", "port": server.port})]);
        services
    }

    fn add(&mut self, service: &str, host: &str, ports: &[Value]) {
        let prefix = named(service);
        self.variables.insert(format!("{prefix}_SERVICE_HOST"), host.to_owned());
        for (index, port) in ports.iter().enumerate() {
            let number = port["port"].as_u64().unwrap_or_default();
            if index == 0 {
                self.variables.insert(format!("{prefix}_SERVICE_PORT"), number.to_string());
            }
            let name = text(port, "name");
            if !name.is_empty() {
                self.link(format!("{prefix}_SERVICE_PORT_{}", named(name)), number.to_string());
            }
            let protocol = Some(text(port, "protocol")).filter(|protocol| !protocol.is_empty()).unwrap_or("TCP");
            let authority = if host.contains(':') { format!("[{host}]:{number}") } else { format!("{host}:{number}") };
            let (lower, upper) = (protocol.to_lowercase(), protocol.to_uppercase());
            let url = format!("{lower}://{authority}");
            if index == 0 {
                self.link(format!("{prefix}_PORT"), url.clone());
            }
            let port = format!("{prefix}_PORT_{number}_{upper}");
            self.link(format!("{port}_PROTO"), lower);
            self.link(format!("{port}_PORT"), number.to_string());
            self.link(format!("{port}_ADDR"), host.to_owned());
            self.link(port, url);
        }
    }

    fn link(&mut self, name: String, value: String) {
        self.links.insert(name.clone());
        self.variables.insert(name, value);
    }
}

/// Returns a service's name as a part of a variable's name.
fn named(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::Services;
    use crate::kubelet::client::Client;

    #[test]
    fn the_api_server_is_a_service() {
        let client =
            Client::new("https://[::1]:6443", std::sync::Arc::new(super::super::client::ClientIdentity::default))
                .unwrap();
        let services = Services::of(client.address(), &[]).variables;
        assert_eq!(services["KUBERNETES_SERVICE_HOST"], "::1");
        assert_eq!(services["KUBERNETES_SERVICE_PORT"], "6443");
        assert_eq!(services["KUBERNETES_SERVICE_PORT_HTTPS"], "6443");
        assert_eq!(services["KUBERNETES_PORT"], "tcp://[::1]:6443");
        assert_eq!(services["KUBERNETES_PORT_6443_TCP"], "tcp://[::1]:6443");
        assert_eq!(services.len(), 8);
    }

    #[test]
    fn a_service_with_an_address_is_told() {
        let client =
            Client::new("https://h:1", std::sync::Arc::new(super::super::client::ClientIdentity::default)).unwrap();
        let service = |name: &str, address: &str, ports| json!({"metadata": {"name": name}, "spec": {"clusterIP": address, "ports": ports}});
        let list = [
            service(
                "redis-primary",
                "10.0.0.11",
                json!([{"port": 6379}, {"name": "m-x", "port": 53, "protocol": "UDP"}]),
            ),
            service("headless", "None", json!([{"port": 1}])),
            service("external", "", json!([])),
            service("kubernetes", "10.0.0.1", json!([{"port": 443}])),
        ];
        let services = Services::of(client.address(), &list);
        let of_redis = services.variables.iter().filter(|(name, _)| name.starts_with("REDIS"));
        let of_redis: Vec<_> = of_redis.map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            of_redis,
            [
                "REDIS_PRIMARY_PORT=tcp://10.0.0.11:6379",
                "REDIS_PRIMARY_PORT_53_UDP=udp://10.0.0.11:53",
                "REDIS_PRIMARY_PORT_53_UDP_ADDR=10.0.0.11",
                "REDIS_PRIMARY_PORT_53_UDP_PORT=53",
                "REDIS_PRIMARY_PORT_53_UDP_PROTO=udp",
                "REDIS_PRIMARY_PORT_6379_TCP=tcp://10.0.0.11:6379",
                "REDIS_PRIMARY_PORT_6379_TCP_ADDR=10.0.0.11",
                "REDIS_PRIMARY_PORT_6379_TCP_PORT=6379",
                "REDIS_PRIMARY_PORT_6379_TCP_PROTO=tcp",
                "REDIS_PRIMARY_SERVICE_HOST=10.0.0.11",
                "REDIS_PRIMARY_SERVICE_PORT=6379",
                "REDIS_PRIMARY_SERVICE_PORT_M_X=53",
            ]
        );
        assert_eq!(services.variables["KUBERNETES_SERVICE_HOST"], "h");
        assert!(services.variables.keys().all(|name| name.starts_with("REDIS") || name.starts_with("KUBERNETES")));
        assert!(
            services.links.contains("REDIS_PRIMARY_PORT") && !services.links.contains("REDIS_PRIMARY_SERVICE_PORT")
        );
    }
}
