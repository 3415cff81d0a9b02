//! The builder of a request from typed parts.
//!
//! Threat: a name, group or namespace from a guest that adds a segment or a query to the path. Each part must be one
//! plain path segment. The reader of requests then reads the result again.

use attache_base::names::{MAX_SUBDOMAIN, is_dns_name, is_label};
use http::Method;

use super::{
    ApiRequest, InvalidRequest, MAX_TARGET,
    query::Query,
    segments::{self, NAMESPACE_SUBRESOURCES, Segments},
};

/// The parts of a request's path and query. [`ApiRequest::builder`] makes it.
///
/// ```
/// use attache_policy::ApiRequest;
///
/// let pods = ApiRequest::builder().resource("", "v1", "pods").namespace(Some("demo")).query("limit", "5");
/// assert_eq!(pods.build(&http::Method::GET)?.target(), "/api/v1/namespaces/demo/pods?limit=5");
/// # Ok::<(), attache_policy::InvalidRequest>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct PathBuilder {
    group: String,
    version: String,
    plural: String,
    namespace: Option<String>,
    name: Option<String>,
    subresource: Option<String>,
    query: Vec<(String, String)>,
}

impl PathBuilder {
    /// Sets the type: group (empty for the core group), version, lower-case plural.
    #[must_use]
    pub fn resource(mut self, group: &str, version: &str, plural: &str) -> Self {
        (self.group, self.version, self.plural) = (group.into(), version.into(), plural.into());
        self
    }

    /// Sets the namespace; `None` for a cluster-scoped type or a list over all namespaces.
    #[must_use]
    pub fn namespace(mut self, namespace: Option<&str>) -> Self {
        self.namespace = namespace.map(str::to_owned);
        self
    }

    /// Sets the object's name.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the subresource of the named object.
    #[must_use]
    pub fn subresource(mut self, subresource: &str) -> Self {
        self.subresource = Some(subresource.into());
        self
    }

    /// Adds a query parameter, not encoded.
    #[must_use]
    pub fn query(mut self, key: &str, value: &str) -> Self {
        self.query.push((key.into(), value.into()));
        self
    }

    /// Builds the request.
    ///
    /// # Errors
    /// [`InvalidRequest::Part`] names the part that is not one path segment; otherwise as [`ApiRequest::parse`].
    pub fn build(self, method: &Method) -> Result<ApiRequest, InvalidRequest> {
        // A selector of a guest may have megabytes, so its length is checked before it is encoded.
        if self.query.iter().fold(0_usize, |sum, (_, value)| sum.saturating_add(value.len())) > MAX_TARGET {
            return Err(InvalidRequest::TooLong { limit: MAX_TARGET });
        }
        let list = self.segments()?;
        let mut query = Query::default();
        for (key, value) in self.query {
            query.push(key, value)?;
        }
        ApiRequest::assemble(method, &Segments { list, tail: None, trailing_slash: false }, &query)
    }

    fn segments(&self) -> Result<Vec<String>, InvalidRequest> {
        let mut list = if self.group.is_empty() {
            vec!["api".to_owned()]
        } else {
            vec!["apis".to_owned(), dns_name("group", &self.group)?]
        };
        list.push(label("version", &self.version)?);
        if let Some(namespace) = &self.namespace {
            list.push("namespaces".to_owned());
            list.push(label("namespace", namespace)?);
        }
        list.push(self.plural()?);
        match (&self.name, &self.subresource) {
            (None, Some(subresource)) => return Err(part("name", subresource)),
            (Some(name), subresource) => {
                list.push(self.segment("name", name)?);
                list.extend(subresource.as_deref().map(|sub| self.subresource_of(sub)).transpose()?);
            }
            (None, None) => {}
        }
        Ok(list)
    }

    /// Returns the segment of a subresource. `/namespaces/NAME/pods` are the pods in that namespace, and no subresource
    /// of it.
    fn subresource_of(&self, subresource: &str) -> Result<String, InvalidRequest> {
        let misread = self.plural == "namespaces" && !NAMESPACE_SUBRESOURCES.contains(&subresource);
        if misread { Err(part("subresource", subresource)) } else { self.segment("subresource", subresource) }
    }

    /// Returns the segment of the plural. Fails for the words that the server does not read as a plural there.
    fn plural(&self) -> Result<String, InvalidRequest> {
        let read_otherwise = match self.plural.as_str() {
            "watch" | "proxy" => self.namespace.is_none(),
            value => self.namespace.is_some() && NAMESPACE_SUBRESOURCES.contains(&value),
        };
        if read_otherwise { Err(part("resource", &self.plural)) } else { self.segment("resource", &self.plural) }
    }

    /// Returns the segment of a name. Names differ between types, such as `system:node` and `http_requests`; all are
    /// one path segment.
    fn segment(&self, what: &'static str, value: &str) -> Result<String, InvalidRequest> {
        if value.len() <= MAX_SUBDOMAIN && segments::naming(&self.group)(value).is_ok() {
            Ok(value.to_owned())
        } else {
            Err(part(what, value))
        }
    }
}

fn part(what: &'static str, value: &str) -> InvalidRequest {
    InvalidRequest::Part { what, value: super::shown(value) }
}

fn label(what: &'static str, value: &str) -> Result<String, InvalidRequest> {
    if is_label(value) { Ok(value.to_owned()) } else { Err(part(what, value)) }
}

fn dns_name(what: &'static str, value: &str) -> Result<String, InvalidRequest> {
    if is_dns_name(value) { Ok(value.to_owned()) } else { Err(part(what, value)) }
}
