//! `kind: Extension`: one extension that a host keeps, with its component, its grant and its trigger.
//!
//! Threat: a manifest that runs more than its author intended. It is read as strictly as a grant, by the same reader,
//! and a grant inside it is decoded by the same code.

use std::time::Duration;

use super::document::{self, Cursor, Fields, Kind};
use super::duration::GoDuration;
use super::{ComponentPin, DocumentError, Grant, Problem};

/// The kind of the document.
pub const EXTENSION_KIND: &str = "Extension";

/// The document of an extension.
const EXTENSION: Kind = Kind {
    names: &[EXTENSION_KIND],
    article: "an",
    noun: "extension",
    spec: &["component", "grant", "grantFile", "trigger", "instance", "restart", "args", "env"],
};

/// The most arguments or values of `env` that one extension is given: a guest holds them all.
const MAX_VALUES: usize = 256;

/// The longest pause that a backoff or an idle instance may have.
const MAX_PAUSE: Duration = Duration::from_hours(24);

/// One extension that a host keeps.
///
/// ```
/// use attache_policy::{ExtensionManifest, Trigger};
///
/// let manifest = ExtensionManifest::parse("
/// apiVersion: attache.dev/v1alpha1
/// kind: Extension
/// metadata: {name: config-sync}
/// spec:
///   component: {file: config-sync.wasm}
///   grant: {podinfo: {}}
///   trigger: {command: {args: [--follow]}}
/// ")?;
/// assert_eq!(manifest.name, "config-sync");
/// assert!(matches!(manifest.trigger, Trigger::Command { .. }));
/// # Ok::<(), attache_policy::DocumentError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExtensionManifest {
    /// `metadata.name`.
    pub name: String,
    /// The component's file, relative to the manifest's folder.
    pub file: String,
    /// The digests that the component's file must have; a grant may pin them as well.
    pub pin: Option<ComponentPin>,
    /// The rights of the extension.
    pub grant: GrantSource,
    /// The reason for which the host calls it.
    pub trigger: Trigger,
    /// Reuse of instances.
    pub instance: InstanceReuse,
    /// The rule for a command that has ended.
    pub restart: Restart,
    /// Arguments of each call.
    pub args: Vec<String>,
    /// Variables with values of the manifest's own, beside those that the grant passes on by name.
    pub env: Vec<(String, String)>,
}

/// The source of an extension's grant.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum GrantSource {
    /// In the manifest.
    Inline(Box<Grant>),
    /// In a file, relative to the manifest's folder.
    File(String),
}

/// The reason for which a host calls an extension.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trigger {
    /// `wasi:cli/run`, for as long as the pod runs.
    Command {
        /// Arguments, before those of the extension.
        args: Vec<String>,
    },
    /// `wasi:http/incoming-handler`, for each request.
    Http(HttpTrigger),
    /// `wasi:cli/run`, at certain times.
    Schedule(ScheduleTrigger),
    /// `wasi:cli/run`, whenever labels or annotations of the pod change, and once at the start.
    PodInfo {
        /// Arguments, before those of the extension.
        args: Vec<String>,
    },
}

impl Trigger {
    /// Returns the trigger's name, as the manifest has it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Command { .. } => "command",
            Self::Http(_) => "http",
            Self::Schedule(_) => "schedule",
            Self::PodInfo { .. } => "podinfo",
        }
    }
}

/// The address and the paths of an extension that serves HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpTrigger {
    /// The address, such as `127.0.0.1:8080`, or `unix:` and a path.
    pub listen: String,
    /// The prefix of the paths that it serves: whole segments. The default is `/`.
    pub path: String,
    /// The host that it serves, without a port; any if not set.
    pub host: Option<String>,
    /// The directory with `tls.crt` and `tls.key`, such as a Secret's volume; relative to the manifest's folder.
    pub tls: Option<String>,
}

/// The times at which an extension is called.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScheduleTrigger {
    /// Five fields of cron: minute, hour, day of the month, month, day of the week.
    pub cron: String,
    /// An IANA time zone; UTC if not set.
    pub time_zone: Option<String>,
    /// The rule for a call that is due while another runs.
    pub overlap: Overlap,
    /// The longest delay of a call; later it is missed. One minute if not set.
    pub start_within: Duration,
    /// Calls begin up to this much later, by chance; at once if not set.
    pub jitter: Duration,
    /// Arguments, before those of the extension.
    pub args: Vec<String>,
}

/// The rule for a call that is due while another runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overlap {
    /// The new call is missed.
    Forbid,
    /// Both run.
    Allow,
    /// The earlier call is ended.
    Replace,
}

/// The number of calls that one instance serves, and the time for which it is kept idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct InstanceReuse {
    /// Calls for each instance; 1, the default, makes each instance anew.
    pub calls: u64,
    /// The time for which an idle instance is kept; 30 seconds if not set.
    pub idle: Duration,
}

impl Default for InstanceReuse {
    fn default() -> Self {
        Self { calls: 1, idle: Duration::from_secs(30) }
    }
}

/// The rule for a command that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restart {
    /// The ends after which the command is started again.
    pub policy: RestartPolicy,
    /// The first pause before a restart; one second if not set.
    pub first: Duration,
    /// The longest pause; five minutes if not set.
    pub most: Duration,
}

impl Default for Restart {
    fn default() -> Self {
        Self { policy: RestartPolicy::Always, first: Duration::from_secs(1), most: Duration::from_mins(5) }
    }
}

/// The ends after which a command is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RestartPolicy {
    /// After any end.
    Always,
    /// After a failure.
    OnFailure,
    /// After no end.
    Never,
}

impl ExtensionManifest {
    /// Reads one manifest from YAML, strictly.
    ///
    /// # Errors
    /// [`DocumentError`] with line, column and field.
    pub fn parse(yaml: &str) -> Result<Self, DocumentError> {
        document::read(yaml, &EXTENSION, Self::decode_spec)
    }

    /// Reads the `spec` of the extension of this name.
    fn decode_spec(name: String, spec: &Fields<'_>) -> Result<Self, DocumentError> {
        let (file, pin) = component(&spec.need("component")?)?;
        let trigger = trigger(&spec.need("trigger")?)?;
        let restart = spec.read("restart", |at| restart(&at))?;
        if let (Some(at), false) = (spec.get("restart"), matches!(trigger, Trigger::Command { .. })) {
            return Err(at.fail(Problem::Excludes("a trigger that is not `command`")));
        }
        let instance = spec.read("instance", |at| instance(&at))?;
        if let (Some(at), false) = (spec.get("instance"), matches!(trigger, Trigger::Http(_))) {
            return Err(at.fail(Problem::Excludes("a trigger that is not `http`")));
        }
        Ok(Self {
            grant: grant(&name, spec)?,
            name,
            file,
            pin,
            trigger,
            instance: instance.unwrap_or_default(),
            restart: restart.unwrap_or_default(),
            args: arguments(spec)?,
            env: spec.read("env", |at| values(&at))?.unwrap_or_default(),
        })
    }
}

fn component(at: &Cursor<'_>) -> Result<(String, Option<ComponentPin>), DocumentError> {
    let fields = at.clone().fields(&["file", "sha256", "artefactSha256"])?;
    let file = path(&fields.need("file")?)?;
    Ok((file, ComponentPin::read(&fields)?))
}

fn grant(name: &str, spec: &Fields<'_>) -> Result<GrantSource, DocumentError> {
    match (spec.get("grant"), spec.get("grantFile")) {
        (Some(at), Some(_)) => Err(at.fail(Problem::Excludes("grantFile"))),
        (Some(at), None) => Ok(GrantSource::Inline(Box::new(Grant::decode_inline(name, at)?))),
        (None, Some(at)) => Ok(GrantSource::File(path(&at)?)),
        (None, None) => Err(spec.need("grant").err().unwrap_or_else(|| spec.fail(Problem::Missing))),
    }
}

fn trigger(at: &Cursor<'_>) -> Result<Trigger, DocumentError> {
    const KINDS: &[&str] = &["command", "http", "schedule", "podinfo"];
    let fields = at.clone().fields(KINDS)?;
    let mut given = KINDS.iter().filter_map(|kind| fields.get(kind).map(|at| (*kind, at)));
    let Some((kind, at)) = given.next() else { return Err(at.fail(Problem::Missing)) };
    if let Some((other, _)) = given.next() {
        return Err(at.fail(Problem::Excludes(other)));
    }
    match kind {
        "command" => Ok(Trigger::Command { args: arguments(&at.fields(&["args"])?)? }),
        "podinfo" => Ok(Trigger::PodInfo { args: arguments(&at.fields(&["args"])?)? }),
        "http" => http(at).map(Trigger::Http),
        _ => schedule(at).map(Trigger::Schedule),
    }
}

fn http(at: Cursor<'_>) -> Result<HttpTrigger, DocumentError> {
    let fields = at.fields(&["listen", "path", "host", "tls"])?;
    let prefix = |at: Cursor<'_>| {
        let text = at.words()?;
        let plain = text.starts_with('/') && !text.contains("//") && !text.contains(['?', '#', '%', '\\']);
        let dotted = text.split('/').any(|segment| matches!(segment, "." | ".."));
        if plain && !dotted { Ok(text.to_owned()) } else { Err(at.invalid(text, "a path begins with `/`")) }
    };
    let host = |at: Cursor<'_>| {
        let text = at.words()?;
        let plain = !text.contains([':', '/', '*', ' ']);
        if plain { Ok(text.to_ascii_lowercase()) } else { Err(at.invalid(text, "a host is a name without a port")) }
    };
    let directory = |at: Cursor<'_>| path(&at.fields(&["directory"])?.need("directory")?);
    Ok(HttpTrigger {
        listen: fields.need("listen")?.words()?.to_owned(),
        path: fields.read("path", prefix)?.unwrap_or_else(|| "/".to_owned()),
        host: fields.read("host", host)?,
        tls: fields.read("tls", directory)?,
    })
}

fn schedule(at: Cursor<'_>) -> Result<ScheduleTrigger, DocumentError> {
    let fields = at.fields(&["cron", "timeZone", "overlap", "startWithin", "jitter", "args"])?;
    let overlap = |at: Cursor<'_>| {
        Ok(match at.one_of(&["Forbid", "Allow", "Replace"])? {
            "Allow" => Overlap::Allow,
            "Replace" => Overlap::Replace,
            _ => Overlap::Forbid,
        })
    };
    Ok(ScheduleTrigger {
        cron: fields.need("cron")?.words()?.to_owned(),
        time_zone: fields.read("timeZone", |at| at.words().map(str::to_owned))?,
        overlap: fields.read("overlap", overlap)?.unwrap_or(Overlap::Forbid),
        start_within: fields.read("startWithin", |at| pause(&at))?.unwrap_or(Duration::from_mins(1)),
        jitter: fields.read("jitter", |at| pause(&at))?.unwrap_or_default(),
        args: arguments(&fields)?,
    })
}

fn instance(at: &Cursor<'_>) -> Result<InstanceReuse, DocumentError> {
    let fields = at.clone().fields(&["calls", "idle"])?;
    let default = InstanceReuse::default();
    let calls = |at: Cursor<'_>| match at.parse::<u64>()? {
        0 => Err(at.invalid("0", "an instance serves at least one call")),
        calls => Ok(calls),
    };
    Ok(InstanceReuse {
        calls: fields.read("calls", calls)?.unwrap_or(default.calls),
        idle: fields.read("idle", |at| pause(&at))?.unwrap_or(default.idle),
    })
}

fn restart(at: &Cursor<'_>) -> Result<Restart, DocumentError> {
    let fields = at.clone().fields(&["policy", "backoff"])?;
    let mut restart = Restart::default();
    if let Some(at) = fields.get("policy") {
        restart.policy = match at.one_of(&["Always", "OnFailure", "Never"])? {
            "OnFailure" => RestartPolicy::OnFailure,
            "Never" => RestartPolicy::Never,
            _ => RestartPolicy::Always,
        };
    }
    if let Some(at) = fields.get("backoff") {
        let backoff = at.clone().fields(&["first", "most"])?;
        restart.first = backoff.read("first", |at| pause(&at))?.unwrap_or(restart.first);
        restart.most = backoff.read("most", |at| pause(&at))?.unwrap_or(restart.most);
        if restart.first.is_zero() || restart.first > restart.most {
            return Err(at.invalid("backoff", "`first` is more than 0 and at most `most`"));
        }
    }
    Ok(restart)
}

fn arguments(fields: &Fields<'_>) -> Result<Vec<String>, DocumentError> {
    let args = fields.read("args", |at| at.each(|at| at.text().map(str::to_owned)))?.unwrap_or_default();
    match fields.get("args") {
        Some(at) if args.len() > MAX_VALUES => Err(at.invalid("args", format!("there are at most {MAX_VALUES}"))),
        _ => Ok(args),
    }
}

/// Values of variables, as a list of `name` and `value`, as in a Pod.
fn values(at: &Cursor<'_>) -> Result<Vec<(String, String)>, DocumentError> {
    let values = at.each(|at| {
        let fields = at.clone().fields(&["name", "value"])?;
        let name = fields.need("name")?;
        let text = name.words()?;
        if text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'=') {
            return Ok((text.to_owned(), fields.need("value")?.text()?.to_owned()));
        }
        Err(name.invalid(text, "a variable's name has no `=` and no spaces"))
    })?;
    if values.len() > MAX_VALUES {
        return Err(at.invalid("env", format!("there are at most {MAX_VALUES}")));
    }
    Ok(values)
}

fn path(at: &Cursor<'_>) -> Result<String, DocumentError> {
    let text = at.words()?;
    if text.contains('\0') { Err(at.invalid(text, "a path has no zero byte")) } else { Ok(text.to_owned()) }
}

fn pause(at: &Cursor<'_>) -> Result<Duration, DocumentError> {
    let GoDuration(pause) = at.parse()?;
    if pause > MAX_PAUSE {
        return Err(at.invalid(at.words()?, "this is at most 24h"));
    }
    Ok(pause)
}

#[cfg(test)]
mod tests;
