//! The object that a field selector names.
//!
//! Threat: a selector that names one object for the gate, but selects others on the server. The grammar is that of
//! `apimachinery/pkg/fields/selector.go`. A selector that does not parse there is refused here.

use super::InvalidRequest;

/// The field that narrows a list to one object, in every type.
const NAME_FIELD: &str = "metadata.name";

/// The field that narrows a list over all namespaces to one of them.
pub(super) const NAMESPACE_FIELD: &str = "metadata.namespace";

/// Returns the name that a selector requires with `metadata.name=N`, if it does. Fails if `check` refuses the name.
pub(super) fn named_object(
    selector: &str,
    check: impl Fn(&str) -> Result<(), InvalidRequest>,
) -> Result<Option<String>, InvalidRequest> {
    let invalid = || InvalidRequest::FieldSelector(super::shown(selector));
    let mut named: Option<String> = None;
    for term in terms(selector) {
        let (field, equals, value) = term.ok_or_else(invalid)?;
        if field != NAME_FIELD || !equals || value.is_empty() {
            continue;
        }
        let contradicts = named.as_ref().is_some_and(|earlier| *earlier != value);
        if contradicts || check(&value).is_err() {
            return Err(invalid());
        }
        named = Some(value);
    }
    Ok(named)
}

/// Returns the value that a selector requires of a field, if it does.
pub(super) fn required(selector: &str, field: &str) -> Option<String> {
    let mut equal = terms(selector).flatten().filter(|(named, equals, _)| *named == field && *equals);
    equal.next().map(|(_, _, value)| value)
}

/// Returns the terms of a selector: field, whether it must be equal, and the unescaped value. `None` is an invalid
/// term.
fn terms(selector: &str) -> impl Iterator<Item = Option<(&str, bool, String)>> {
    split_terms(selector).filter(|term| !term.is_empty()).map(|term| {
        let (field, equals, value) = split_term(term)?;
        Some((field, equals, unescape(value)?))
    })
}

/// Splits a selector at commas that no backslash escapes.
fn split_terms(selector: &str) -> impl Iterator<Item = &str> {
    let mut escaped = false;
    selector.split(move |letter| {
        let splits = letter == ',' && !escaped;
        escaped = letter == '\\' && !escaped;
        splits
    })
}

/// Splits a term at the first of `!=`, `==` and `=`: field, whether it must be equal, and value.
fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    let at = term.find('=')?;
    let (before, after) = (term.get(..at)?, term.get(at.saturating_add(1)..)?);
    Some(match before.strip_suffix('!') {
        Some(field) => (field, false, after),
        None => (before, true, after.strip_prefix('=').unwrap_or(after)),
    })
}

/// Returns a value with `\\`, `\,` and `\=` unescaped; `None` for another escape and for a bare `=`.
fn unescape(value: &str) -> Option<String> {
    let mut letters = value.chars();
    let mut clear = String::with_capacity(value.len());
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => clear.push(letters.next().filter(|next| ['\\', ',', '='].contains(next))?),
            '=' | ',' => return None,
            _ => clear.push(letter),
        }
    }
    Some(clear)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::segments;
    use attache_base::names::is_label;

    fn named_object(selector: &str) -> Result<Option<String>, InvalidRequest> {
        super::named_object(selector, segments::check)
    }

    #[test]
    fn a_namespace_is_found_where_the_server_selects_by_it() {
        for (selector, namespace) in [
            ("metadata.namespace=a", Some("a")),
            ("x!=y,metadata.namespace==a", Some("a")),
            ("metadata.namespace!=a", None),
            ("metadata.namespace=a\\,b", None),
            ("metadata.name=a", None),
        ] {
            let found = required(selector, NAMESPACE_FIELD).filter(|found| is_label(found));
            assert_eq!(found.as_deref(), namespace, "{selector}");
        }
    }

    #[test]
    fn names_of_other_groups_may_be_any_path_segment() {
        let named = super::named_object("metadata.name=a|b (c)", segments::check_name).unwrap();
        assert_eq!(named.as_deref(), Some("a|b (c)"));
        assert!(super::named_object("metadata.name=a/b", segments::check_name).is_err());
    }

    #[test]
    fn a_name_is_found_where_the_server_finds_it() {
        for (selector, name) in [
            ("", None),
            (",", None),
            ("metadata.name=a", Some("a")),
            ("metadata.name==a", Some("a")),
            ("metadata.name!=a", None),
            ("metadata.name=", None),
            ("spec.nodeName=n,metadata.name=a", Some("a")),
            ("metadata.name=a,metadata.name=a", Some("a")),
            ("metadata.name=a,metadata.name!=b", Some("a")),
            ("metadata.namespace=a", None),
            (" metadata.name=a", None),
            ("metadata.Name=a", None),
            ("status.phase=a\\,b", None),
            ("status.phase=a\\,metadata.name\\=b", None),
        ] {
            assert_eq!(named_object(selector).unwrap().as_deref(), name, "{selector}");
        }
    }

    #[test]
    fn what_the_server_could_not_parse_or_names_two_is_refused() {
        for selector in [
            "metadata.name",
            "a",
            "a,metadata.name=b",
            "metadata.name=a,metadata.name=b",
            "metadata.name=a=b",
            "x=\\y",
            "x=\\",
            "metadata.name=a/b",
            "metadata.name=..",
            "metadata.name=a b",
            "metadata.name===a",
            "x=a%b,metadata.name=%2e",
        ] {
            assert!(named_object(selector).is_err(), "{selector}");
        }
    }
}
