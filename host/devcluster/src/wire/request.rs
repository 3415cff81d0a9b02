//! Requests: the API server's reading of method, path and query.
//!
//! The rules are those of `k8s.io/apiserver/pkg/endpoints/request/requestinfo.go`.

use http::Method;
use percent_encoding::percent_decode_str;

/// The attributes of a request, as the API server judges it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct RequestInfo {
    pub(crate) verb: &'static str,
    /// The decoded path.
    pub(crate) path: String,
    /// The resource; `None` for a path that names none.
    pub(crate) resource: Option<ResourcePath>,
}

/// A resource in a path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ResourcePath {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) plural: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) subresource: String,
    /// The path behind the subresource, such as the proxied path.
    pub(crate) tail: String,
}

/// The parameters of a query, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        Self(form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    /// Returns the first value of a parameter, or nothing.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    /// Returns whether the parameter is set at all.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key == name)
    }

    /// Returns a flag by the API's own conversion: set unless it is `0` or `false`.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.has(name) && !["0", "false"].contains(&self.get(name).to_ascii_lowercase().as_str())
    }

    /// Returns a number, or nothing if the parameter is missing or not a number.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.get(name).parse().ok()
    }
}

/// The subresources of a namespace, which are not resources within it.
const OF_NAMESPACE: &[&str] = &["status", "finalize"];

impl RequestInfo {
    /// Parses a request. Nothing is refused here: a path without a resource is judged as a path.
    pub(crate) fn parse(method: &Method, path: &str, query: &Query) -> Self {
        let path = percent_decode_str(path).decode_utf8_lossy().into_owned();
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let resource = resource_of(&segments);
        let legacy = segments.get(if segments.first() == Some(&"apis") { 3 } else { 2 });
        let legacy_watch = legacy == Some(&"watch");
        let verb = match &resource {
            Some(resource) => resource_verb(method, resource, query, legacy_watch),
            None => plain_verb(method),
        };
        Self { verb, path, resource }
    }

    /// Returns the one object of a list, watch or deletecollection whose selector names it. A client that may touch
    /// that object may do so.
    pub(crate) fn named_by(&self, query: &Query) -> Option<ResourcePath> {
        let at = self.resource.as_ref().filter(|at| at.name.is_empty())?;
        if !matches!(self.verb, "list" | "watch" | "deletecollection") {
            return None;
        }
        let terms = query.get("fieldSelector").split(',').map(str::trim);
        let name = terms.filter_map(|term| term.strip_prefix("metadata.name=")).next_back()?;
        let name = name.strip_prefix('=').unwrap_or(name);
        let is_segment = !["", ".", ".."].contains(&name) && !name.contains(['/', '%']);
        is_segment.then(|| ResourcePath { name: name.to_owned(), ..at.clone() })
    }
}

fn plain_verb(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::HEAD => "head",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::OPTIONS => "options",
        _ => "",
    }
}

fn resource_verb(method: &Method, resource: &ResourcePath, query: &Query, legacy_watch: bool) -> &'static str {
    let collection = resource.name.is_empty();
    match *method {
        Method::GET | Method::HEAD if legacy_watch => "watch",
        Method::GET | Method::HEAD if !collection => "get",
        Method::GET | Method::HEAD if query.flag("watch") => "watch",
        Method::GET | Method::HEAD => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if collection => "deletecollection",
        Method::DELETE => "delete",
        _ => "",
    }
}

fn resource_of(segments: &[&str]) -> Option<ResourcePath> {
    let (group, version, mut rest) = match segments {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return None,
    };
    if let ["watch" | "proxy", tail @ ..] = rest
        && !tail.is_empty()
    {
        rest = tail;
    }
    let mut namespace = "";
    if let ["namespaces", name, tail @ ..] = rest {
        namespace = name;
        match tail {
            [first, ..] if !OF_NAMESPACE.contains(first) => rest = tail,
            _ => {}
        }
    }
    let [plural, tail @ ..] = rest else { return None };
    let text = |at: usize| tail.get(at).copied().unwrap_or_default().to_owned();
    Some(ResourcePath {
        group: group.to_owned(),
        version: version.to_owned(),
        plural: (*plural).to_owned(),
        namespace: namespace.to_owned(),
        name: text(0),
        subresource: text(1),
        tail: tail.get(2..).unwrap_or_default().join("/"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: &Method, target: &str) -> (String, String) {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let info = RequestInfo::parse(method, path, &Query::parse(query));
        let resource = info.resource.unwrap_or_default();
        let shown = [resource.group, resource.plural, resource.namespace, resource.name, resource.subresource];
        (info.verb.to_owned(), shown.join("|"))
    }

    #[test]
    fn a_selector_of_one_name_names_it() {
        let named = |method: Method, target: &str| {
            let (path, query) = target.split_once('?').unwrap_or((target, ""));
            let query = Query::parse(query);
            RequestInfo::parse(&method, path, &query).named_by(&query).map(|at| at.name)
        };
        let pods = "/api/v1/namespaces/demo/pods";
        let cases = [
            (Method::GET, format!("{pods}?fieldSelector=metadata.name%3Da"), Some("a")),
            (Method::DELETE, format!("{pods}?fieldSelector=spec.nodeName%3Dn,metadata.name%3D%3Da"), Some("a")),
            (Method::GET, format!("{pods}?fieldSelector=metadata.name!%3Da"), None),
            (Method::GET, format!("{pods}?fieldSelector=metadata.name%3D"), None),
            (Method::GET, format!("{pods}?fieldSelector=metadata.name%3Da%2Fb"), None),
            (Method::POST, format!("{pods}?fieldSelector=metadata.name%3Da"), None),
            (Method::GET, format!("{pods}/b?fieldSelector=metadata.name%3Da"), None),
        ];
        for (method, target, expected) in cases {
            assert_eq!(named(method, &target).as_deref(), expected, "{target}");
        }
    }

    #[test]
    fn requests_are_read_as_requestinfo_does() {
        let cases = [
            (Method::GET, "/api/v1/pods", "list", "|pods|||"),
            (Method::GET, "/api/v1/namespaces/demo/pods?watch=1", "watch", "|pods|demo||"),
            (Method::GET, "/api/v1/namespaces/demo/pods?watch=false", "list", "|pods|demo||"),
            (Method::GET, "/api/v1/watch/namespaces/demo/pods", "watch", "|pods|demo||"),
            (Method::GET, "/api/v1/namespaces/demo/pods/a/log", "get", "|pods|demo|a|log"),
            (Method::GET, "/api/v1/namespaces/demo", "get", "|namespaces|demo|demo|"),
            (Method::PUT, "/api/v1/namespaces/demo/status", "update", "|namespaces|demo|demo|status"),
            (Method::GET, "/api/v1/namespaces", "list", "|namespaces|||"),
            (Method::DELETE, "/apis/apps/v1/namespaces/x/deployments", "deletecollection", "apps|deployments|x||"),
            (Method::DELETE, "/apis/apps/v1/namespaces/x/deployments/d", "delete", "apps|deployments|x|d|"),
            (Method::PATCH, "/apis/apps/v1/namespaces/x/deployments/d/scale", "patch", "apps|deployments|x|d|scale"),
            (Method::POST, "/version", "post", "||||"),
            (Method::GET, "/apis/apps", "get", "||||"),
            (Method::GET, "/api/v1", "get", "||||"),
        ];
        for (method, target, verb, resource) in cases {
            assert_eq!(read(&method, target), (verb.to_owned(), resource.to_owned()), "{target}");
        }
    }
}
