//! Grants: the rights and the limits of one extension.
//!
//! Threat: a grant that opens more than its author intended. It is read strictly ([`document`](crate::document)).

use std::fmt;

use serde::{Serialize, Serializer};

use super::{
    CredentialsMode, CredentialsMount, Destination, DocumentError, Egress, Limits, PodInfoMount, Rule,
    document::{self, API_VERSION, Cursor, Fields, Kind},
    mounts::refuse_overlap,
    rules::in_one_line,
};

/// The kind of the document.
pub const KIND: &str = "Grant";

/// The document of a grant.
const GRANT: Kind = Kind { names: &[KIND], article: "a", noun: "grant", spec: SPEC };

/// The fields of its `spec`.
const SPEC: &[&str] = &["component", "podinfo", "env", "credentials", "api", "egress", "limits"];

/// The rights and the limits of one extension. Everything else is denied.
///
/// ```
/// use attache_policy::{Grant, Rule};
///
/// let mut grant = Grant::nothing("reader");
/// grant.env.push("POD_NAME".to_owned());
/// grant.api.push(Rule::default().api_groups([""]).resources(["pods"]).verbs(["get"]).namespaces(["demo"]));
/// grant.limits = grant.limits.memory(128 << 20);
/// assert_eq!(Grant::parse(&grant.to_yaml())?, grant);
/// # Ok::<(), attache_policy::DocumentError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// `metadata.name`.
    pub name: String,
    /// The component that it is for; `None` is any.
    pub component: Option<ComponentPin>,
    /// The Downward API volumes; none mounts nothing and opens no metadata of files.
    pub podinfo: Vec<PodInfoMount>,
    /// The environment variables that are passed on, by name.
    pub env: Vec<String>,
    /// The service-account volume.
    pub credentials: CredentialsMount,
    /// The rules for requests to the API server.
    pub api: Vec<Rule>,
    /// The other destinations that may be called.
    pub egress: Egress,
    /// The bounds on resources.
    pub limits: Limits,
}

impl Grant {
    /// Returns the grant that opens nothing: arguments, standard output and standard error only.
    pub fn nothing(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            component: None,
            podinfo: Vec::new(),
            env: Vec::new(),
            credentials: CredentialsMount::default(),
            api: Vec::new(),
            egress: Egress::default(),
            limits: Limits::default(),
        }
    }

    /// Reads one grant from YAML, strictly.
    ///
    /// # Errors
    /// [`DocumentError`] with line, column and field.
    pub fn parse(yaml: &str) -> Result<Self, DocumentError> {
        document::read(yaml, &GRANT, Self::decode_spec)
    }

    /// Reads the `spec` of a grant that stands in another document.
    pub(super) fn decode_inline(name: &str, at: Cursor<'_>) -> Result<Self, DocumentError> {
        Self::decode_spec(name.to_owned(), &at.fields(SPEC)?)
    }

    /// Reads the `spec` of a grant of this name.
    fn decode_spec(name: String, spec: &Fields<'_>) -> Result<Self, DocumentError> {
        let podinfo = spec.read("podinfo", |at| PodInfoMount::decode_all(&at))?.unwrap_or_default();
        let credentials = spec.read("credentials", CredentialsMount::decode)?.unwrap_or_default();
        if let Some(at) = spec.get("podinfo") {
            refuse_overlap(&at, &podinfo, &credentials)?;
        }
        Ok(Self {
            name,
            component: spec.read("component", ComponentPin::decode)?,
            podinfo,
            env: spec.read("env", |at| at.each(variable))?.unwrap_or_default(),
            credentials,
            api: spec.read("api", |at| at.each(Rule::decode))?.unwrap_or_default(),
            egress: Egress(spec.read("egress", |at| at.each(Cursor::parse::<Destination>))?.unwrap_or_default()),
            limits: spec.read("limits", Limits::decode)?.unwrap_or_default(),
        })
    }

    /// Returns the grant as YAML, which [`Grant::parse`] reads back.
    pub fn to_yaml(&self) -> String {
        // Writing text and numbers into a string cannot fail.
        serde_saphyr::to_string(self).unwrap_or_default()
    }
}

impl Serialize for Grant {
    /// Writes the document. Empty fields and defaults are left out.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Document {
            api_version: API_VERSION,
            kind: KIND,
            metadata: Metadata { name: &self.name },
            spec: Spec {
                component: self.component.as_ref(),
                podinfo: &self.podinfo,
                env: &self.env,
                credentials: Some(&self.credentials).filter(|mount| mount.mode != CredentialsMode::None),
                api: &self.api,
                egress: self.egress.destinations(),
                limits: Some(&self.limits).filter(|limits| **limits != Limits::default()),
            },
        }
        .serialize(serializer)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    api_version: &'a str,
    kind: &'a str,
    metadata: Metadata<'a>,
    spec: Spec<'a>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    name: &'a str,
}

#[derive(Serialize)]
struct Spec<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    component: Option<&'a ComponentPin>,
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "one_or_list")]
    podinfo: &'a [PodInfoMount],
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "in_one_line")]
    env: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    credentials: Option<&'a CredentialsMount>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    api: &'a [Rule],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    egress: &'a [Destination],
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<&'a Limits>,
}

/// Writes a single mount without a list around it.
fn one_or_list<S: Serializer>(mounts: &[PodInfoMount], serializer: S) -> Result<S::Ok, S::Error> {
    match mounts {
        [mount] => mount.serialize(serializer),
        mounts => mounts.serialize(serializer),
    }
}

/// The digests of the one component that a grant is for.
///
/// ```
/// let pin = attache_policy::ComponentPin::new([7; 32]);
/// assert_eq!((pin.sha256(), pin.artefact_sha256()), (Some(&[7; 32]), None));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentPin {
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "digits")]
    sha256: Option<[u8; 32]>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "digits")]
    artefact_sha256: Option<[u8; 32]>,
}

impl ComponentPin {
    /// Pins the component with this SHA-256 digest of its file.
    pub fn new(sha256: [u8; 32]) -> Self {
        Self { sha256: Some(sha256), artefact_sha256: None }
    }

    /// Pins the artefact with this SHA-256 digest of its file, too: machine code, compiled elsewhere, which is trusted
    /// like the host itself.
    #[must_use]
    pub fn artefact(self, sha256: [u8; 32]) -> Self {
        Self { artefact_sha256: Some(sha256), ..self }
    }

    /// Returns the SHA-256 digest of the component's file; `None` if only an artefact is pinned, and then no component
    /// may run.
    pub fn sha256(&self) -> Option<&[u8; 32]> {
        self.sha256.as_ref()
    }

    /// Returns the SHA-256 digest of the artefact's file; `None` where no artefact may be loaded.
    pub fn artefact_sha256(&self) -> Option<&[u8; 32]> {
        self.artefact_sha256.as_ref()
    }

    /// Reads a pin from fields among others; `None` if there is none.
    pub(super) fn read(fields: &Fields<'_>) -> Result<Option<Self>, DocumentError> {
        let sha256 = fields.read("sha256", |at| digest(&at))?;
        let artefact_sha256 = fields.read("artefactSha256", |at| digest(&at))?;
        Ok((sha256.is_some() || artefact_sha256.is_some()).then_some(Self { sha256, artefact_sha256 }))
    }

    fn decode(at: Cursor<'_>) -> Result<Self, DocumentError> {
        let fields = at.fields(&["sha256", "artefactSha256"])?;
        let artefact_sha256 = fields.read("artefactSha256", |at| digest(&at))?;
        let sha256 = match artefact_sha256 {
            Some(_) => fields.read("sha256", |at| digest(&at))?,
            None => Some(digest(&fields.need("sha256")?)?),
        };
        Ok(Self { sha256, artefact_sha256 })
    }
}

fn digest(at: &Cursor<'_>) -> Result<[u8; 32], DocumentError> {
    let text = at.words()?;
    let mut sha256 = [0; 32];
    hex::decode_to_slice(text, &mut sha256)
        .map_err(|_| at.invalid(text, "a SHA-256 digest is 64 hexadecimal digits"))?;
    Ok(sha256)
}

#[expect(clippy::ref_option, reason = "serde calls it so")]
fn digits<S: Serializer>(digest: &Option<[u8; 32]>, serializer: S) -> Result<S::Ok, S::Error> {
    digest.map(hex::encode).serialize(serializer)
}

impl fmt::Debug for ComponentPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = |digest: Option<[u8; 32]>| digest.map(hex::encode);
        let mut debug = f.debug_struct("ComponentPin");
        debug.field("sha256", &hex(self.sha256)).field("artefact_sha256", &hex(self.artefact_sha256)).finish()
    }
}

/// Reads the name of an environment variable, never a pattern: the host's whole environment is never passed on.
fn variable(at: &Cursor<'_>) -> Result<String, DocumentError> {
    let text = at.words()?;
    if text.bytes().all(|byte| byte.is_ascii_graphic() && !b"=*".contains(&byte)) {
        return Ok(text.to_owned());
    }
    Err(at.invalid(text, "an environment variable is granted by its name"))
}
