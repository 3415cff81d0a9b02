//! Clients that people use, each taking its own steps against the devcluster: `tests/clients` has them, with the values
//! that a kube-apiserver 1.36 gave. With `KUBECONFIG` set, the scripts run against any other server in the same way.

use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use attache_built::clients;
use attache_devcluster::{DevCluster, DevClusterSettings};

fn take_steps(client: &str) -> Result<()> {
    let Some(python) = clients::python()? else { return Ok(()) };
    let cluster = DevCluster::start(DevClusterSettings::default())?;
    let folder = tempfile::tempdir()?;
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, cluster.kubeconfig())?;
    let output = Command::new(python)
        .arg(clients::steps().join(format!("steps_{client}.py")))
        .env("KUBECONFIG", &kubeconfig)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .output()?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success() && out.contains("done: "), "{}\n{out}\n{err}", output.status);
    Ok(())
}

#[test]
fn the_official_python_client_finds_what_a_real_server_gives() -> Result<()> {
    take_steps("kubernetes")
}

#[test]
fn lightkube_finds_what_a_real_server_gives() -> Result<()> {
    take_steps("lightkube")
}

#[test]
fn an_operator_with_kopf_works() -> Result<()> {
    take_steps("kopf")
}
