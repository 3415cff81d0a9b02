//! The `User-Agent` of requests, which names the extension in the API server's own audit log.
//!
//! Threat: a name that ends the header, or stands for another extension. The host's own product comes last, with the
//! extension's name as its comment: `attache/0.1.0 (pod-card)`. A client behind the proxy keeps its own product in
//! front, since servers pretty-print JSON by that, but has no say in what follows.

use attache_base::untrusted::beginning;
use http::HeaderValue;

/// The product of this host. API servers pretty-print for names that begin like those of browsers and curl.
const PRODUCT: &str = concat!("attache/", env!("CARGO_PKG_VERSION"));

/// The most bytes of an extension's name. Names of Kubernetes have at most 253.
const MAX_NAME: usize = 253;

/// The most bytes of a client's own `User-Agent`. API servers cut the whole header at 1024 bytes in their audit log,
/// and the extension's name has to come before that.
const MAX_CLIENT: usize = 512;

/// Returns the `User-Agent` for a request of `extension`, on behalf of a `client` that may have sent its own.
pub(super) fn agent(extension: &str, client: Option<&HeaderValue>) -> HeaderValue {
    let own = format!("{PRODUCT} ({})", beginning(extension, MAX_NAME).replace(|letter| !fits(letter), "_"));
    let client = client.map(|client| client.as_bytes().get(..MAX_CLIENT).unwrap_or(client.as_bytes()));
    let whole = match client {
        Some(client) if !client.is_empty() => [client, b" ", own.as_bytes()].concat(),
        _ => own.into_bytes(),
    };
    HeaderValue::from_maybe_shared(bytes::Bytes::from(whole)).unwrap_or(HeaderValue::from_static(PRODUCT))
}

/// Returns whether a letter may stand in a comment of a header as it is (RFC 9110 section 5.6.5).
fn fits(letter: char) -> bool {
    letter.is_ascii_graphic() && !matches!(letter, '(' | ')' | '\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(extension: &str, client: Option<&str>) -> String {
        let client = client.and_then(|client| HeaderValue::from_str(client).ok());
        agent(extension, client.as_ref()).to_str().unwrap_or_default().replace(PRODUCT, "attache/V")
    }

    #[test]
    fn the_extension_is_named_after_the_product() {
        assert_eq!(text("pod-card", None), "attache/V (pod-card)");
        assert_eq!(text("attache", Some("")), "attache/V (attache)");
        assert_eq!(
            text("tools", Some("kubectl/v1.34.0 (linux/amd64)")),
            "kubectl/v1.34.0 (linux/amd64) attache/V (tools)"
        );
    }

    #[test]
    fn a_name_stays_within_its_comment() {
        assert_eq!(
            text("a) evil/1 (\r\nAuthorization: x\\é\u{202e}", None),
            "attache/V (a__evil/1____Authorization:_x___)"
        );
        let long = text(&"é".repeat(10_000), Some(&"x".repeat(10_000)));
        assert_eq!(long, format!("{} attache/V ({})", "x".repeat(MAX_CLIENT), "_".repeat(MAX_NAME / 2)));
        assert!(long.len() < 1024);
    }
}
