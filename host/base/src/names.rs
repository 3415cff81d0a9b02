//! Names by the rules of RFC 1123, as Kubernetes has them.
//!
//! Kubernetes reports the form of a name and its length apart, so both are checked here on their own, too. Written from
//! `apimachinery/pkg/util/validation/validation.go`.

/// The longest DNS label, in bytes: a namespace, the name of a container, the name part of a label's key.
pub const MAX_LABEL: usize = 63;

/// The longest DNS subdomain, in bytes: the name of most objects, an API group.
pub const MAX_SUBDOMAIN: usize = 253;

/// Returns whether a text is a DNS label: lower-case letters, digits and inner hyphens, at most [`MAX_LABEL`] bytes.
pub fn is_label(text: &str) -> bool {
    text.len() <= MAX_LABEL && has_label_form(text)
}

/// Returns whether a text is a DNS name: labels joined by dots, at most [`MAX_SUBDOMAIN`] bytes.
///
/// DNS bounds each label, and Kubernetes bounds the whole name alone ([`has_subdomain_form`]).
pub fn is_dns_name(text: &str) -> bool {
    text.len() <= MAX_SUBDOMAIN && text.split('.').all(is_label)
}

/// Returns whether a text has the form of a DNS label, of any length.
pub fn has_label_form(text: &str) -> bool {
    has_form(text, |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit(), b"-")
}

/// Returns whether a text has the form of a DNS subdomain, of any length.
pub fn has_subdomain_form(text: &str) -> bool {
    text.split('.').all(has_label_form)
}

/// Returns whether a text has the form of a label's value, or of the name part of its key, of any length.
pub fn has_qualified_form(text: &str) -> bool {
    has_form(text, |byte| byte.is_ascii_alphanumeric(), b"-_.")
}

/// Returns whether a text begins and ends with a byte of `edge` and has no others but those of `inner` between.
fn has_form(text: &str, edge: fn(u8) -> bool, inner: &[u8]) -> bool {
    let ends = text.bytes().next().zip(text.bytes().next_back());
    ends.is_some_and(|(first, last)| edge(first) && edge(last))
        && text.bytes().all(|byte| edge(byte) || inner.contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_has_lower_case_letters_digits_and_inner_hyphens() {
        for text in ["a", "0", "a-b", "a--b", "1-a"] {
            assert!(is_label(text) && is_dns_name(text), "{text}");
        }
        for text in ["", "-", "-a", "a-", "A", "a.b", "a_b", "é", "a b", "a\n", "$(A)", "*"] {
            assert!(!is_label(text), "{text}");
        }
        assert!(is_label(&"a".repeat(MAX_LABEL)) && !is_label(&"a".repeat(MAX_LABEL + 1)));
    }

    #[test]
    fn a_name_is_made_of_labels_and_dns_bounds_each() {
        for text in ["", ".", "a.", ".a", "a..b", "a.-b", "A.b"] {
            assert!(!is_dns_name(text) && !has_subdomain_form(text), "{text}");
        }
        let long = "a".repeat(MAX_LABEL + 1);
        assert!(has_subdomain_form(&long) && !is_dns_name(&long));
        let names = |bytes: usize| format!("{}b", "a.".repeat(bytes / 2));
        assert!(is_dns_name(&names(MAX_SUBDOMAIN)) && !is_dns_name(&names(MAX_SUBDOMAIN + 2)));
    }

    #[test]
    fn a_qualified_name_begins_and_ends_with_a_letter_or_a_digit() {
        for (text, fits) in [("a", true), ("A_b.C-9", true), ("", false), ("_a", false), ("a.", false), ("a/b", false)]
        {
            assert_eq!(has_qualified_form(text), fits, "{text}");
        }
    }
}
