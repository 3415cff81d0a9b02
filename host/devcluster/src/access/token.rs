//! Service-account tokens: signed, bound to objects, with an expiry.
//!
//! They are JSON Web Tokens with the claims of a real API server. The signature is ECDSA P-256 (`ES256`), one of the
//! two kinds that a real API server accepts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};

/// The issuer of tokens, and the default audience.
pub(crate) const AUDIENCE: &str = "https://kubernetes.default.svc.cluster.local";

/// The number of verified tokens that are kept, so that their signatures need not be verified again. A host has some
/// hundred; beyond the bound, a signature is verified each time.
const REMEMBERED: usize = 4096;

/// The claims of a token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) aud: Vec<String>,
    /// The expiry, in seconds of Unix time.
    pub(crate) exp: i64,
    pub(crate) iat: i64,
    pub(crate) iss: String,
    pub(crate) jti: String,
    #[serde(rename = "kubernetes.io")]
    pub(crate) bound: Bound,
    pub(crate) nbf: i64,
    pub(crate) sub: String,
}

/// The objects whose deletion revokes a token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Bound {
    pub(crate) namespace: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pod: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secret: Option<Reference>,
    pub(crate) serviceaccount: Reference,
}

/// The name and UID of a bound object.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) name: String,
    pub(crate) uid: String,
}

/// Signs tokens and verifies its own signatures.
pub(crate) struct Signer {
    key: KeyPair,
    id: String,
    known: Mutex<HashMap<Box<str>, Arc<Claims>>>,
}

impl Signer {
    pub(crate) fn new() -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate()?;
        let id = URL_SAFE_NO_PAD.encode(Sha256::digest(key.public_key_raw()));
        Ok(Self { key, id, known: Mutex::default() })
    }

    /// Signs the claims.
    pub(crate) fn sign(&self, claims: &Claims) -> Result<String, rcgen::Error> {
        let head = json!({"alg": "ES256", "kid": self.id});
        let claims = serde_json::to_vec(claims).unwrap_or_default();
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(head.to_string()), URL_SAFE_NO_PAD.encode(claims));
        let signature = self.key.sign(signed.as_bytes())?;
        let plain = from_der(&signature).ok_or(rcgen::Error::RemoteKeyError)?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(plain)))
    }

    /// Returns the claims of a token that this signer signed. An expired token has claims too.
    pub(crate) fn verify(&self, token: &str) -> Option<Arc<Claims>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(claims) = known.get(token) {
            return Some(Arc::clone(claims));
        }
        let claims = Arc::new(self.check(token)?);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(token.into(), Arc::clone(&claims));
        Some(claims)
    }

    fn check(&self, token: &str) -> Option<Claims> {
        let (signed, signature) = token.rsplit_once('.')?;
        let signature = to_der(&URL_SAFE_NO_PAD.decode(signature).ok()?)?;
        let provider = rustls::crypto::ring::default_provider();
        let algorithms = provider.signature_verification_algorithms.all;
        let public = self.key.der_bytes();
        let genuine = algorithms
            .iter()
            .any(|algorithm| algorithm.verify_signature(public, signed.as_bytes(), &signature).is_ok());
        let (_, claims) = signed.split_once('.')?;
        let claims = URL_SAFE_NO_PAD.decode(claims).ok()?;
        if genuine { serde_json::from_slice(&claims).ok() } else { None }
    }

    /// Returns the public key in the form of OpenID Connect discovery.
    pub(crate) fn key_set(&self) -> serde_json::Value {
        let point = self.key.public_key_raw();
        let half = |range| URL_SAFE_NO_PAD.encode(point.get::<std::ops::Range<usize>>(range).unwrap_or_default());
        let (x, y) = (half(1..33), half(33..65));
        json!({"keys": [{"use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": "ES256", "x": x, "y": y}]})
    }
}

/// The length of each of the two numbers of an ECDSA signature, in bytes.
const NUMBER: usize = 32;

/// Converts a signature from X.509's form (a DER sequence of two integers) to that of JSON Web Tokens (two numbers of
/// fixed length).
fn from_der(der: &[u8]) -> Option<[u8; 2 * NUMBER]> {
    let mut plain = [0; 2 * NUMBER];
    let mut rest = der.get(2..)?;
    for half in plain.chunks_exact_mut(NUMBER) {
        let length = usize::from(*rest.get(1)?);
        let number = rest.get(2..length.checked_add(2)?)?;
        rest = rest.get(length.checked_add(2)?..)?;
        let number = number.get(number.len().saturating_sub(NUMBER)..)?;
        half.get_mut(NUMBER.checked_sub(number.len())?..)?.copy_from_slice(number);
    }
    Some(plain)
}

fn to_der(plain: &[u8]) -> Option<Vec<u8>> {
    if plain.len() != 2 * NUMBER {
        return None;
    }
    let mut body = Vec::new();
    for half in plain.chunks_exact(NUMBER) {
        let start = half.iter().position(|byte| *byte != 0).unwrap_or(NUMBER - 1);
        let number = half.get(start..)?;
        let padded = number.first().is_some_and(|byte| byte & 0x80 != 0);
        body.extend([2, u8::try_from(number.len()).ok()?.checked_add(u8::from(padded))?]);
        body.extend(padded.then_some(0));
        body.extend_from_slice(number);
    }
    let mut der = vec![0x30, u8::try_from(body.len()).ok()?];
    der.extend(body);
    Some(der)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn claims() -> Claims {
        let account = Reference { name: "ext".into(), uid: "1".into() };
        let bound = Bound { namespace: "demo".into(), node: None, pod: None, secret: None, serviceaccount: account };
        Claims {
            aud: vec![AUDIENCE.into()],
            exp: 10,
            iat: 0,
            iss: AUDIENCE.into(),
            jti: "j".into(),
            bound,
            nbf: 0,
            sub: "system:serviceaccount:demo:ext".into(),
        }
    }

    #[test]
    fn a_signer_knows_its_own_tokens_and_no_others() {
        let (one, other) = (Signer::new().unwrap(), Signer::new().unwrap());
        for _ in 0..50 {
            let token = one.sign(&claims()).unwrap();
            assert_eq!(one.verify(&token).unwrap().sub, "system:serviceaccount:demo:ext");
            assert!(other.verify(&token).is_none());
            let mut forged = token.clone();
            forged.insert(forged.find('.').unwrap() + 5, 'A');
            assert!(one.verify(&forged).is_none());
        }
        assert!(one.verify("not-a-token").is_none());
    }
}
