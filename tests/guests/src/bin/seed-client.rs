//! Code as it is written for a container, with an ordinary HTTP client and no word of Attaché: it reads the CA, the
//! token and the namespace where every pod has them, and lists the namespace's pods by the API server's usual name.
//!
//! ```text
//! NS=$(cat /var/run/secrets/kubernetes.io/serviceaccount/namespace)
//! curl -H "Authorization: Bearer $TOKEN" https://kubernetes/api/v1/namespaces/$NS/pods
//! ```

use serde_json::Value;
use wstd::http::{Body, Client, Request};

const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    wstd::runtime::block_on(list())
}

async fn list() -> Result<(), Box<dyn std::error::Error>> {
    let read = |file: &str| std::fs::read_to_string(format!("{ACCOUNT}/{file}"));
    let (authority, token, namespace) = (read("ca.crt")?, read("token")?, read("namespace")?);
    let begin = authority.lines().next().unwrap_or_default();
    println!("the CA begins with {begin}");

    let request = Request::get(format!("https://kubernetes/api/v1/namespaces/{namespace}/pods"))
        .header("Authorization", format!("Bearer {token}"))
        .body(Body::empty())?;
    let mut response = Client::new().send(request).await?;
    println!("status {}", response.status().as_u16());
    let list: Value = serde_json::from_slice(response.body_mut().contents().await?)?;
    for pod in list["items"].as_array().into_iter().flatten() {
        println!("pod {}", pod["metadata"]["name"].as_str().unwrap_or_default());
    }
    Ok(())
}
