//! Grants in files, and warnings about names in a grant that open nothing here.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail};
use attache::policy::{Grant, PodInfoMount};
use attache::telemetry::legible_name;

use crate::surroundings::Variables;

/// The largest grant or list of items that is read, in bytes. A thousand rules need a small part of it.
const MAX_TEXT: u64 = 1 << 20;

/// Reads the grant in a file. Without a file, returns the grant that opens nothing, named after the component.
pub(crate) fn read(file: Option<&Path>, component: &Path) -> anyhow::Result<Grant> {
    let Some(file) = file else {
        let name = component.file_stem().map_or("guest".into(), |stem| legible_name(&stem.to_string_lossy()));
        return Ok(Grant::nothing(name));
    };
    let text = text(file).with_context(|| format!("cannot read the grant {}", file.display()))?;
    Grant::parse(&text).with_context(|| format!("the grant {} is not valid", file.display()))
}

/// Reads a small text.
pub(crate) fn text(file: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    File::open(file)?.take(MAX_TEXT + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_TEXT {
        bail!("it is larger than {MAX_TEXT} bytes");
    }
    Ok(text)
}

/// Logs the names of a grant that open nothing here. Without the warning, only the guest would notice.
pub(crate) fn warn_of_vain_names(grant: &Grant, variables: &Variables) {
    for name in grant.env.iter().filter(|name| !variables.contains_key(*name)) {
        tracing::warn!("the grant's `env` names {name}, which this pod does not have");
    }
    for destination in grant.egress.destinations() {
        if let Some(why) = destination.never_opens() {
            tracing::warn!("the grant's `egress` names {destination}, which nothing reaches: {why}");
        }
    }
}

/// Logs the files that a mount of a grant names but its volume lacks.
pub(crate) fn warn_of_missing_items(mount: &PodInfoMount, volume: &Path) {
    let missing = |item: &&String| !volume.join(item.as_str()).exists();
    for item in mount.items.iter().flatten().filter(missing) {
        let path = mount.mount_path.as_str();
        tracing::warn!("the grant's `podinfo` names the file {item}, which the volume at {path} does not have");
    }
}

/// The variables in which most programs look for a proxy, in either case.
const PROXIES: [&str; 3] = ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"];

/// Logs that egress does not use the proxy that a variable names. A proxy looks names up itself, so the host could not
/// check the addresses of a granted name.
pub(crate) fn warn_of_unused_proxy(grant: &Grant, variables: &Variables) {
    let set = |name: &str| variables.get(name).is_some_and(|value| !value.is_empty());
    let found = PROXIES.into_iter().find(|name| set(name) || set(&name.to_ascii_lowercase()));
    if let Some(name) = found.filter(|_| !grant.egress.is_empty()) {
        tracing::warn!(
            "{name} is set, and not used: the requests of the grant's `egress` go directly, since it is checked where their names \
             lead. Let this pod reach them directly, or name a gateway of yours in `egress`"
        );
    }
}
