//! The cluster's own certificate authority, its server's certificate, and client certificates.

use std::net::IpAddr;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest as _, Sha256};

use crate::model::identity::Identity;

/// The DNS names of the API server inside a pod.
const NAMES: &[&str] = &[
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
];

/// An error while certificates are made.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A key or a certificate could not be made.
    #[error("cannot make a certificate")]
    Certificate(#[from] rcgen::Error),
    /// TLS refused the certificates that were made.
    #[error("TLS refuses the certificate that was made for the server")]
    Tls(#[from] rustls::Error),
    /// The verifier of client certificates could not be made.
    #[error("cannot check client certificates")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// A CA and the certificate that it signed for the server.
pub(crate) struct Pki {
    issuer: Issuer<'static, KeyPair>,
    ca_pem: String,
    tls: Arc<rustls::ServerConfig>,
    /// The identity of each client certificate that was signed, by the certificate's SHA-256 hash.
    clients: Vec<([u8; 32], Identity)>,
    /// The announced CA, while both are published.
    next: Option<Box<Pki>>,
}

/// A client's certificate and its key, both PEM.
#[derive(Debug, Clone)]
pub struct ClientCertificate {
    /// The certificate, signed by the cluster's CA.
    pub certificate_pem: String,
    /// The private key (PKCS #8).
    pub key_pem: String,
}

impl Pki {
    /// Makes a CA and signs a certificate for a server on `address`.
    pub(crate) fn new(address: IpAddr) -> Result<Self, PkiError> {
        let key = KeyPair::generate()?;
        let params = authority();
        let certificate = params.self_signed(&key)?;
        let issuer = Issuer::new(params, key);
        let tls = server_config(&issuer, certificate.der(), address)?;
        Ok(Self { issuer, ca_pem: certificate.pem(), tls: Arc::new(tls), clients: Vec::new(), next: None })
    }

    /// Returns the CA's certificate, followed by the announced CA's certificate if there is one.
    pub(crate) fn published(&self) -> String {
        let next = self.next.as_ref().map(|next| next.ca_pem.as_str());
        [self.ca_pem.as_str(), next.unwrap_or_default()].concat()
    }

    /// Publishes `next` beside this CA from now on.
    pub(crate) fn announce(&mut self, next: Pki) {
        self.next = Some(Box::new(next));
    }

    /// Takes the announced CA.
    pub(crate) fn announced(&mut self) -> Option<Pki> {
        self.next.take().map(|next| *next)
    }

    /// Returns the TLS settings of the listener.
    pub(crate) fn tls(&self) -> Arc<rustls::ServerConfig> {
        Arc::clone(&self.tls)
    }

    /// Signs a certificate for `identity`.
    pub(crate) fn client(&mut self, identity: &Identity) -> Result<ClientCertificate, PkiError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, identity.user.as_str());
        for group in &identity.groups {
            params.distinguished_name.push(DnType::OrganizationName, group.as_str());
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        validity(&mut params);
        let certificate = params.signed_by(&key, &self.issuer)?;
        self.clients.push((Sha256::digest(certificate.der()).into(), identity.clone()));
        Ok(ClientCertificate { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }

    /// Returns the identity of a client certificate that TLS accepted.
    pub(crate) fn identify(&self, certificate: &CertificateDer<'_>) -> Option<Identity> {
        let hash: [u8; 32] = Sha256::digest(certificate).into();
        self.clients.iter().find(|(known, _)| *known == hash).map(|(_, identity)| identity.clone())
    }
}

fn authority() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "devcluster-ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    validity(&mut params);
    params
}

/// Sets dates that hold for the life of the process, even on a clock that is wrong.
fn validity(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2049, 12, 31);
}

fn server_config(
    issuer: &Issuer<'static, KeyPair>,
    ca: &CertificateDer<'static>,
    address: IpAddr,
) -> Result<rustls::ServerConfig, PkiError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(NAMES.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "kube-apiserver");
    let loopback = [IpAddr::from([127, 0, 0, 1]), IpAddr::from(std::net::Ipv6Addr::LOCALHOST)];
    params.subject_alt_names.extend(loopback.into_iter().chain([address]).map(SanType::IpAddress));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    validity(&mut params);
    let certificate = params.signed_by(&key, issuer)?;
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![certificate.der().clone()], key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
