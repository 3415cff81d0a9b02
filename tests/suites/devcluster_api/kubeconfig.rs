//! The parts of a kubeconfig that name the server and the user.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::client::Client;

/// Returns the client and the bearer token, empty if there is a certificate instead, of a kubeconfig's current context.
pub(crate) fn client(file: &Path) -> Result<(Client, String)> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let config: Value = serde_saphyr::from_str(&text)?;
    let named = |list: &str, name: &Value| {
        let found = config[list].as_array().into_iter().flatten().find(|one| one["name"] == *name);
        found.cloned().with_context(|| format!("no {name} among the {list} of {}", file.display()))
    };
    let context = named("contexts", &config["current-context"])?["context"].clone();
    let cluster = named("clusters", &context["cluster"])?["cluster"].clone();
    let user = named("users", &context["user"])?["user"].clone();
    let beside = |path: &str| file.parent().unwrap_or(Path::new("")).join(path);
    let part = |of: &Value, name: &str| -> Result<Option<String>> {
        if let Some(data) = of[format!("{name}-data")].as_str() {
            return Ok(Some(String::from_utf8(STANDARD.decode(data)?)?));
        }
        of[name].as_str().map(|path| Ok(std::fs::read_to_string(beside(path))?)).transpose()
    };
    let server = cluster["server"].as_str().context("the cluster has no server")?;
    let address = server.strip_prefix("https://").context("the server is not one of HTTPS")?.trim_end_matches('/');
    let name = cluster["tls-server-name"].as_str().map(str::to_owned);
    let ca = part(&cluster, "certificate-authority")?.context("the cluster has no certificate-authority")?;
    let mut client = Client::at(address, name, ca);
    client.certificate = part(&user, "client-certificate")?.zip(part(&user, "client-key")?);
    let token = match (user["token"].as_str(), user["tokenFile"].as_str()) {
        (Some(token), _) => token.to_owned(),
        (None, Some(path)) => std::fs::read_to_string(beside(path))?.trim().to_owned(),
        (None, None) if client.certificate.is_some() => String::new(),
        _ => bail!("the user has neither a token nor a client certificate; exec and auth-provider are not run here"),
    };
    Ok((client, token))
}
