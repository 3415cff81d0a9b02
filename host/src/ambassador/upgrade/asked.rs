//! The headers of a request for an upgrade, and of the answer that fits it.
//!
//! Threat: headers that one reader takes for an upgrade and the next one does not, so that the bytes behind them are
//! never judged. An upgrade to HTTP/2 or TLS hides requests. A WebSocket's subprotocol may carry credentials, which the
//! API server accepts in place of `Authorization`. Only the headers of Kubernetes clients are understood; all others
//! are refused.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::{
    CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use crate::ambassador::headers::HeaderFault;

/// The header in which an offer of SPDY names the protocol of its streams.
const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");

/// The beginning of the subprotocol in which a browser's client sends a bearer token
/// (`apiserver/pkg/authentication/request/websocket`).
const BEARER: &str = "base64url.bearer.authorization.k8s.io.";

/// The largest number of offered subprotocols. kubectl offers five.
const MAX_OFFERED: usize = 32;

/// The longest subprotocol, and the longest list of extensions, in bytes.
const MAX_NAME: usize = 256;

/// The text that the server appends to the client's key (RFC 6455 section 1.3).
const WEBSOCKET_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The bytes of a client's key before its encoding (RFC 6455 section 4.1).
const KEY_BYTES: usize = 16;

/// All headers of WebSocket that a client may send.
const OF_WEBSOCKET: [HeaderName; 4] =
    [SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_EXTENSIONS];

/// The protocols to which a connection may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    WebSocket,
    Spdy,
}

impl Protocol {
    fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Spdy => "SPDY/3.1",
        }
    }

    /// Returns the header that offers subprotocols and, in the answer, names the chosen one.
    fn offer(self) -> HeaderName {
        match self {
            Self::WebSocket => SEC_WEBSOCKET_PROTOCOL,
            Self::Spdy => STREAM_PROTOCOL,
        }
    }
}

/// A request for an upgrade.
#[derive(Debug)]
pub(super) struct Asked {
    protocol: Protocol,
    /// The headers for the server.
    headers: HeaderMap,
    /// The subprotocols that the client offers.
    offered: Vec<String>,
    /// The proof with which a WebSocket server answers.
    accept: Option<String>,
}

impl Asked {
    /// Reads the head of a request that asks for an upgrade.
    ///
    /// # Errors
    /// Returns [`HeaderFault::Upgrade`] for other protocols, [`HeaderFault::BearerProtocol`] for credentials, and
    /// [`HeaderFault::BadUpgrade`] for headers with two readings or none.
    pub(super) fn of(head: &Parts) -> Result<Self, HeaderFault> {
        let headers = &head.headers;
        check_connection(headers)?;
        let protocol = protocol(headers)?;
        check_framing(head)?;
        let offered = offered(headers, protocol)?;
        let mut sent = HeaderMap::new();
        sent.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        sent.insert(UPGRADE, HeaderValue::from_static(protocol.name()));
        for value in headers.get_all(protocol.offer()) {
            sent.append(protocol.offer(), value.clone());
        }
        let of_websocket = |name: &&HeaderName| name.as_str().starts_with("sec-websocket-");
        let accept = match protocol {
            Protocol::Spdy if headers.keys().any(|name| of_websocket(&name)) => {
                return Err(HeaderFault::BadUpgrade("headers of WebSocket beside another protocol"));
            }
            Protocol::Spdy => None,
            Protocol::WebSocket => {
                if headers.keys().filter(of_websocket).any(|name| !OF_WEBSOCKET.contains(name)) {
                    return Err(HeaderFault::BadUpgrade("a header of WebSocket that no client sends"));
                }
                Some(websocket(head, &mut sent)?)
            }
        };
        Ok(Self { protocol, headers: sent, offered, accept })
    }

    /// Returns the headers for the server.
    pub(super) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Returns the headers of an answer that changes to the requested protocol; `None` when the answer does not.
    pub(super) fn answered(&self, answer: &HeaderMap) -> Option<HeaderMap> {
        if !options(answer).any(|option| option.eq_ignore_ascii_case(b"upgrade")) {
            return None;
        }
        let fits = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(self.protocol.name().as_bytes());
        let mut headers = HeaderMap::new();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, single(answer, &UPGRADE)?.filter(|value| fits(value))?.clone());
        if let Some(taken) = single(answer, &self.protocol.offer())? {
            let taken_is_offered = self.offered.iter().any(|offered| taken.as_bytes() == offered.as_bytes());
            headers.insert(self.protocol.offer(), Some(taken).filter(|_| taken_is_offered)?.clone());
        }
        if let Some(accept) = &self.accept {
            let answered = single(answer, &SEC_WEBSOCKET_ACCEPT)?.filter(|value| value.as_bytes() == accept.as_bytes());
            headers.insert(SEC_WEBSOCKET_ACCEPT, answered?.clone());
            if let Some(extensions) = single(answer, &SEC_WEBSOCKET_EXTENSIONS)? {
                headers.insert(SEC_WEBSOCKET_EXTENSIONS, extensions.clone());
            }
        }
        Some(headers)
    }
}

/// Returns the options of `Connection`.
fn options(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lists = headers.get_all(CONNECTION).iter();
    lists.flat_map(|list| list.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

/// Returns the one value of a header, if it has any; `None` where it has several.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Option<&'a HeaderValue>> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    values.next().is_none().then_some(first)
}

/// Checks that `Connection` names no header but `Upgrade`. The next server removes each named header, `Authorization`
/// included.
fn check_connection(headers: &HeaderMap) -> Result<(), HeaderFault> {
    let known = |option: &[u8]| [&b"upgrade"[..], b"keep-alive"].iter().any(|name| option.eq_ignore_ascii_case(name));
    let upgrades = options(headers).filter(|option| option.eq_ignore_ascii_case(b"upgrade")).count();
    if single(headers, &CONNECTION).is_none() || upgrades > 1 || !options(headers).all(known) {
        return Err(HeaderFault::BadUpgrade("`Connection` says more than `Upgrade`"));
    }
    if upgrades == 0 { Err(HeaderFault::BadUpgrade("`Connection` does not say `Upgrade`")) } else { Ok(()) }
}

fn protocol(headers: &HeaderMap) -> Result<Protocol, HeaderFault> {
    if headers.contains_key("http2-settings") {
        return Err(HeaderFault::Upgrade);
    }
    let asked = single(headers, &UPGRADE).flatten().ok_or(HeaderFault::BadUpgrade("not one `Upgrade`"))?;
    let is = |protocol: &Protocol| asked.as_bytes().eq_ignore_ascii_case(protocol.name().as_bytes());
    [Protocol::WebSocket, Protocol::Spdy].into_iter().find(is).ok_or(HeaderFault::Upgrade)
}

/// Checks that there is no body. Readers differ about where a body ends and the other protocol begins.
fn check_framing(head: &Parts) -> Result<(), HeaderFault> {
    let empty = |value: &HeaderValue| value.as_bytes() == b"0";
    if head.version != Version::HTTP_11 {
        return Err(HeaderFault::BadUpgrade("it is not HTTP/1.1"));
    }
    if head.headers.contains_key(TRANSFER_ENCODING) || !head.headers.get_all(CONTENT_LENGTH).iter().all(empty) {
        return Err(HeaderFault::BadUpgrade("it has a body"));
    }
    if head.headers.contains_key("expect") {
        Err(HeaderFault::BadUpgrade("it expects an answer before"))
    } else {
        Ok(())
    }
}

/// Returns the subprotocols that a client offers, none of which carries credentials.
fn offered(headers: &HeaderMap, protocol: Protocol) -> Result<Vec<String>, HeaderFault> {
    let plain = |name: &&str| {
        !name.is_empty() && name.len() <= MAX_NAME && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"')
    };
    let mut all = Vec::new();
    for list in headers.get_all(protocol.offer()) {
        let list = list.to_str().map_err(|_| HeaderFault::BadUpgrade("a subprotocol that is no text"))?;
        let names = list.split(',').map(str::trim);
        for name in names {
            if name.get(..BEARER.len()).is_some_and(|start| start.eq_ignore_ascii_case(BEARER)) {
                return Err(HeaderFault::BearerProtocol);
            }
            let name = Some(name).filter(plain).ok_or(HeaderFault::BadUpgrade("a subprotocol that is no name"))?;
            all.push(name.to_owned());
        }
    }
    if all.len() > MAX_OFFERED { Err(HeaderFault::BadUpgrade("too many subprotocols")) } else { Ok(all) }
}

/// Copies the headers of a WebSocket's client. Returns the proof that the server has to give.
fn websocket(head: &Parts, sent: &mut HeaderMap) -> Result<String, HeaderFault> {
    if head.method != Method::GET {
        return Err(HeaderFault::BadUpgrade("a WebSocket begins with GET"));
    }
    let one = |name| single(&head.headers, name).flatten();
    let version = one(&SEC_WEBSOCKET_VERSION).filter(|version| version.as_bytes() == b"13");
    let version = version.ok_or(HeaderFault::BadUpgrade("not WebSocket's version 13"))?;
    let sixteen = |key: &&HeaderValue| BASE64_STANDARD.decode(key).is_ok_and(|key| key.len() == KEY_BYTES);
    let key = one(&SEC_WEBSOCKET_KEY).filter(sixteen).ok_or(HeaderFault::BadUpgrade("not one WebSocket key"))?;
    sent.insert(SEC_WEBSOCKET_VERSION, version.clone());
    sent.insert(SEC_WEBSOCKET_KEY, key.clone());
    match single(&head.headers, &SEC_WEBSOCKET_EXTENSIONS) {
        Some(Some(extensions)) if extensions.len() <= MAX_NAME => {
            sent.insert(SEC_WEBSOCKET_EXTENSIONS, extensions.clone());
        }
        Some(None) => {}
        _ => return Err(HeaderFault::BadUpgrade("not one list of extensions")),
    }
    let proof = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key.as_bytes(), WEBSOCKET_GUID.as_bytes()].concat());
    Ok(BASE64_STANDARD.encode(proof))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http::Request;

    const KEY: (&str, &str) = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    const VERSION: (&str, &str) = ("sec-websocket-version", "13");
    const WEBSOCKET: [(&str, &str); 4] = [("connection", "Upgrade"), ("upgrade", "websocket"), KEY, VERSION];
    const SPDY: [(&str, &str); 2] = [("connection", "Upgrade"), ("upgrade", "SPDY/3.1")];

    fn head(method: &Method, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::new(());
        request.method_mut().clone_from(method);
        *request.headers_mut() = map(headers);
        request.into_parts().0
    }

    fn map(list: &[(&str, &str)]) -> HeaderMap {
        list.iter().map(|(name, value)| (HeaderName::try_from(*name).unwrap(), value.parse().unwrap())).collect()
    }

    fn read(method: &Method, headers: &[(&str, &str)]) -> Result<Asked, HeaderFault> {
        Asked::of(&head(method, headers))
    }

    #[test]
    fn what_clients_of_kubernetes_send_is_understood() {
        let exec = [&WEBSOCKET[..], &[("sec-websocket-protocol", "v5.channel.k8s.io, v4.channel.k8s.io")]].concat();
        let asked = read(&Method::GET, &exec).unwrap();
        assert_eq!(asked.offered, ["v5.channel.k8s.io", "v4.channel.k8s.io"]);
        assert_eq!(asked.accept.as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "the example of RFC 6455");
        let forward = [&WEBSOCKET[..], &[("sec-websocket-protocol", "SPDY/3.1+portforward.k8s.io")]].concat();
        assert_eq!(read(&Method::GET, &forward).unwrap().offered, ["SPDY/3.1+portforward.k8s.io"]);
        let firefox = [("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket"), KEY, VERSION];
        let extended = [&firefox[..], &[("sec-websocket-extensions", "permessage-deflate")]].concat();
        assert_eq!(read(&Method::GET, &extended).unwrap().headers().len(), 5);
        let many =
            [("x-stream-protocol-version", "v4.channel.k8s.io"), ("x-stream-protocol-version", "channel.k8s.io")];
        let old = [&SPDY[..], &many, &[("content-length", "0")]].concat();
        let asked = read(&Method::POST, &old).unwrap();
        assert_eq!((asked.offered.len(), asked.headers().get_all("x-stream-protocol-version").iter().count()), (2, 2));
    }

    #[test]
    fn nothing_but_the_two_protocols_is_passed_on() {
        for protocol in ["h2c", "TLS/1.0", "HTTP/2.0", "IRC/6.9", "websocket, h2c", "h2c, websocket", "SPDY/3", "", "*"]
        {
            let headers = [("connection", "upgrade"), ("upgrade", protocol), KEY, VERSION];
            assert_eq!(read(&Method::GET, &headers).unwrap_err(), HeaderFault::Upgrade, "{protocol}");
        }
        let settings = [&WEBSOCKET[..], &[("http2-settings", "AAMAAABkAARAAAAAAAIAAAAA")]].concat();
        assert_eq!(read(&Method::GET, &settings).unwrap_err(), HeaderFault::Upgrade);
    }

    #[test]
    fn a_token_in_a_subprotocol_is_a_credential() {
        for list in [
            "base64url.bearer.authorization.k8s.io.c2VjcmV0",
            "v4.channel.k8s.io,base64url.bearer.authorization.k8s.io.c2VjcmV0",
            "Base64URL.bearer.authorization.k8s.io.",
        ] {
            let headers = [&WEBSOCKET[..], &[("sec-websocket-protocol", list)]].concat();
            assert_eq!(read(&Method::GET, &headers).unwrap_err(), HeaderFault::BearerProtocol, "{list}");
        }
    }

    #[test]
    fn what_has_two_readings_is_refused() {
        let more = |header| [&WEBSOCKET[..], &[header]].concat();
        for headers in [
            vec![("upgrade", "websocket"), KEY, VERSION],
            vec![("connection", "close"), ("upgrade", "websocket"), KEY, VERSION],
            vec![("connection", "upgrade, authorization"), ("upgrade", "websocket"), KEY, VERSION],
            vec![("connection", "upgrade, close"), ("upgrade", "websocket"), KEY, VERSION],
            vec![("connection", "upgrade, upgrade"), ("upgrade", "websocket"), KEY, VERSION],
            vec![("connection", "upgrade"), KEY, VERSION],
            more(("connection", "keep-alive")),
            more(("upgrade", "websocket")),
            more(KEY),
            more(VERSION),
            more(("sec-websocket-accept", "x")),
            more(("sec-websocket-extensions", &"x".repeat(300))),
            more(("sec-websocket-protocol", "a,,b")),
            more(("sec-websocket-protocol", "a b")),
            more(("sec-websocket-protocol", &["a"; 33].join(","))),
            more(("content-length", "5")),
            more(("transfer-encoding", "chunked")),
            more(("expect", "100-continue")),
            vec![("connection", "upgrade"), ("upgrade", "websocket"), VERSION],
            vec![("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-key", "c2hvcnQ="), VERSION],
            vec![("connection", "upgrade"), ("upgrade", "websocket"), KEY, ("sec-websocket-version", "8")],
            [&SPDY[..], &[KEY]].concat(),
        ] {
            let fault = read(&Method::GET, &headers).unwrap_err();
            assert!(matches!(fault, HeaderFault::BadUpgrade(_)), "{headers:?}: {fault}");
        }
        assert!(matches!(read(&Method::POST, &WEBSOCKET), Err(HeaderFault::BadUpgrade(_))));
        let mut old = head(&Method::GET, &WEBSOCKET);
        old.version = Version::HTTP_10;
        assert!(matches!(Asked::of(&old), Err(HeaderFault::BadUpgrade(_))));
    }

    #[test]
    fn an_answer_changes_to_what_was_asked_for_or_to_nothing() {
        let accept = ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let good = [("connection", "Upgrade"), ("upgrade", "websocket"), accept];
        let asked = read(&Method::GET, &[&WEBSOCKET[..], &[("sec-websocket-protocol", "a, b")]].concat()).unwrap();
        let passed =
            asked.answered(&map(&[&good[..], &[("sec-websocket-protocol", "b"), ("set-cookie", "x=1")]].concat()));
        assert_eq!(passed.unwrap(), map(&[&good[..], &[("sec-websocket-protocol", "b")]].concat()));
        assert!(asked.answered(&map(&good)).is_some());
        for answer in [
            vec![],
            vec![good[0], good[1]],
            vec![good[0], good[2]],
            vec![good[1], good[2]],
            vec![good[0], ("upgrade", "h2c"), accept],
            vec![good[0], ("upgrade", "SPDY/3.1"), accept],
            vec![good[0], good[1], good[1], accept],
            vec![good[0], good[1], ("sec-websocket-accept", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=")],
            [&good[..], &[("sec-websocket-protocol", "c")]].concat(),
            [&good[..], &[("sec-websocket-protocol", "a"), ("sec-websocket-protocol", "b")]].concat(),
        ] {
            assert_eq!(asked.answered(&map(&answer)), None, "{answer:?}");
        }
    }
}
