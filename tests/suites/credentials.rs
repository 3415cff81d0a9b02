//! The service-account volume as a kubelet writes and rotates it.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use attache::credentials::ServiceAccount;
use attache::volume::{self, AtomicWriter};

fn files(token: &str, ca: &str) -> BTreeMap<attache::volume::RelativePath, volume::File> {
    let ca = format!("-----BEGIN CERTIFICATE-----\n{ca}\n-----END CERTIFICATE-----\n");
    let files = [("token", token), ("ca.crt", ca.as_str()), ("namespace", "demo")];
    let projection = |text: &str| volume::File { data: text.as_bytes().to_vec(), mode: 0o644 };
    files.map(|(path, text)| (path.parse().unwrap(), projection(text))).into()
}

#[test]
fn a_rotation_of_the_volume_shows_within_a_minute_and_a_401_shows_it_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let writer = AtomicWriter::open(dir.path()).unwrap();
    let (start, seconds) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let turned = Arc::clone(&seconds);
    let clock = move || start + Duration::from_secs(turned.load(Ordering::Relaxed));
    let account = ServiceAccount::with_clock(dir.path(), clock);

    writer.write(&files("first", "one")).unwrap();
    assert_eq!(account.token().unwrap().expose(), "first");
    assert_eq!(&*account.namespace().unwrap(), "demo");
    assert_eq!(account.ca_pem().unwrap().generation(), 1);

    writer.write(&files("second", "one")).unwrap();
    assert_eq!(account.token().unwrap().expose(), "first", "the file is read again only when it is due");
    let refused = account.token().unwrap();
    account.drop_token(&refused);
    assert_eq!(account.token().unwrap().expose(), "second");

    writer.write(&files("third", "two")).unwrap();
    seconds.store(60, Ordering::Relaxed);
    assert_eq!(account.token().unwrap().expose(), "third");
    assert_eq!(account.ca_pem().unwrap().generation(), 2);
}

#[test]
fn outside_of_a_pod_each_file_that_is_missing_is_named() {
    let account = ServiceAccount::at("/nowhere/serviceaccount");
    let errors = [
        account.token().unwrap_err().to_string(),
        account.ca_pem().unwrap_err().to_string(),
        account.namespace().unwrap_err().to_string(),
    ];
    for (error, file) in errors.iter().zip(["token", "ca.crt", "namespace"]) {
        let expected = format!("no {file} at /nowhere/serviceaccount/{file}: is automountServiceAccountToken off?");
        assert_eq!(error, &expected);
    }
}

#[test]
fn threads_that_share_it_all_get_a_token_while_it_rotates() {
    let dir = tempfile::tempdir().unwrap();
    let writer = AtomicWriter::open(dir.path()).unwrap();
    writer.write(&files("token-0", "one")).unwrap();
    let account = ServiceAccount::at(dir.path());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let token = account.token().unwrap();
                    assert!(token.expose().starts_with("token-"));
                    account.drop_token(&token);
                }
            });
        }
        for rotation in 1..50 {
            writer.write(&files(&format!("token-{rotation}"), "one")).unwrap();
        }
    });
    account.drop_token(&account.token().unwrap());
    assert_eq!(account.token().unwrap().expose(), "token-49");
}
