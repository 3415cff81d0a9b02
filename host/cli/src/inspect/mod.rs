//! `attache inspect`: the imports and exports of a component, the rights that its grant lacks, and the rights that the
//! grant needs.

mod table;

use std::io::Write;
use std::path::Path;

use attache::extension::Inspection;
use attache::policy::{Account, Grant, Rule};
use attache::telemetry::legible_json;
use serde::Serialize;

use crate::args::{self, Format};
use crate::engine;
use crate::exit::Exit;
use crate::grants;
use crate::options::Server;
use crate::pod_volumes::PodVolumes;
use crate::surroundings::Surroundings;

/// The complete result.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    #[serde(flatten)]
    component: Option<Inspection>,
    /// The smallest grant that follows from the imports, in YAML.
    #[serde(skip_serializing_if = "Option::is_none")]
    draft: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access: Option<Access>,
}

/// The comparison of the grant with its service account.
#[derive(Serialize)]
struct Access {
    /// The API server that answered.
    server: String,
    /// The description of the account, for a human reader.
    account: &'static str,
    /// The rights that the grant opens and the account lacks.
    beyond: Vec<Rule>,
    /// Set where the server could not list all that the account may do.
    incomplete: bool,
}

pub(crate) async fn inspect(arguments: args::Inspect) -> anyhow::Result<Exit> {
    let component = arguments.component.as_deref();
    let grant = grants::read(arguments.grant.as_deref(), component.unwrap_or(Path::new("guest")))?;
    if let Some(account) = &arguments.rbac {
        return manifest(&grant, account, arguments.output.output);
    }
    let found = match component {
        Some(component) => {
            let runtime = engine::runtime(&arguments.artefacts)?.build()?;
            Some(runtime.inspect_file(component, &grant).await?)
        }
        None => None,
    };
    let draft = found.as_ref().map(|found| found.draft(&grant.name).to_string());
    if let (true, Some(draft)) = (arguments.draft, &draft) {
        write!(std::io::stdout(), "{draft}")?;
        return Ok(Exit::Done);
    }
    let access = if arguments.access { Some(access(&grant, &arguments.server).await?) } else { None };
    let report = Report { component: found, draft, access };
    print(&report, arguments.output.output)?;
    Ok(if report.fits() { Exit::Done } else { Exit::Refused })
}

impl Report {
    fn fits(&self) -> bool {
        self.component.as_ref().is_none_or(|found| found.lacks.is_empty())
            && self.access.as_ref().is_none_or(|access| access.beyond.is_empty())
    }
}

fn print(report: &Report, format: Format) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match format {
        Format::Json => writeln!(out, "{}", legible_json(&serde_json::to_string_pretty(report)?))?,
        Format::Table => table::write(report, &mut out)?,
    }
    Ok(())
}

/// Prints the roles and bindings that a grant needs.
fn manifest(grant: &Grant, account: &Account, format: Format) -> anyhow::Result<Exit> {
    let rbac = grant.to_rbac(account)?;
    let mut out = std::io::stdout().lock();
    match format {
        Format::Json => writeln!(out, "{}", legible_json(&serde_json::to_string_pretty(&rbac)?))?,
        Format::Table if rbac.is_empty() => writeln!(out, "# The grant asks nothing of the API server.")?,
        Format::Table => write!(out, "{}", rbac.to_yaml())?,
    }
    Ok(Exit::Done)
}

/// Asks the API server for the rights of the service account, in each namespace and scope that the grant opens.
async fn access(grant: &Grant, server: &Server) -> anyhow::Result<Access> {
    let surroundings = Surroundings::of_this_pod(server, PodVolumes::default())?;
    let grant = surroundings.resolve(grant.clone())?;
    let cluster = surroundings.connect().await?;
    let discovery = cluster.discovery().await.ok();
    let grant = match &discovery {
        Some(discovery) => grant.served(|group, resource| discovery.serves(group, resource)),
        None => grant,
    };
    let account = if server.from.is_chosen() { "the user of the kubeconfig" } else { "the service account" };
    let server = cluster.endpoint().to_string();
    let mut access = Access { server, account, beyond: Vec::new(), incomplete: false };
    for scope in grant.scopes() {
        let rules = cluster.account_rules(scope.as_deref()).await?;
        access.beyond.extend(grant.beyond(scope.as_deref(), &rules));
        access.incomplete |= rules.incomplete;
    }
    Ok(access)
}
