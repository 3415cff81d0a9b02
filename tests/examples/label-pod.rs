//! A replacement of `kubectl label --overwrite pod` for machines without kubectl.
//!
//! ```text
//! label-pod KUBECONFIG NAMESPACE POD KEY=VALUE
//! ```

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, namespace, pod, label] = arguments.as_slice() else {
        bail!("usage: label-pod KUBECONFIG NAMESPACE POD KEY=VALUE");
    };
    let (key, value) = label.split_once('=').context("a label is KEY=VALUE")?;
    let pods: Api<Pod> = Api::namespaced(client(file).await?, namespace);
    let mut change = Pod::default();
    change.metadata.labels = Some([(key.to_owned(), value.to_owned())].into());
    let patch = Patch::Merge(&change);
    pods.patch_metadata(pod, &PatchParams::default(), &patch).await?;
    Ok(())
}

async fn client(file: &str) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(file)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}
