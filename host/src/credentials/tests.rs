//! The times at which files are read, with a clock that stands until a test turns it.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{CredentialsError, MAX_CA_BYTES, MAX_TOKEN_BYTES, ServiceAccount};

const CA: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

/// A volume in a directory of its own, with a clock to turn.
struct Volume {
    dir: TempDir,
    seconds: Arc<AtomicU64>,
    account: ServiceAccount,
}

impl Volume {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let seconds = Arc::new(AtomicU64::new(0));
        let (start, turned) = (Instant::now(), Arc::clone(&seconds));
        let clock = move || start + Duration::from_secs(turned.load(Ordering::Relaxed));
        let account = ServiceAccount::with_clock(dir.path(), clock);
        Self { dir, seconds, account }
    }

    fn with(file: &str, content: impl AsRef<[u8]>) -> Self {
        let volume = Self::new();
        volume.write(file, content);
        volume
    }

    fn write(&self, file: &str, content: impl AsRef<[u8]>) {
        fs::write(self.dir.path().join(file), content).unwrap();
    }

    fn remove(&self, file: &str) {
        fs::remove_file(self.dir.path().join(file)).unwrap();
    }

    fn turn_to(&self, seconds: u64) {
        self.seconds.store(seconds, Ordering::Relaxed);
    }

    fn token(&self) -> String {
        self.account.token().unwrap().expose().to_owned()
    }

    fn token_error(&self) -> String {
        shown(&self.account.token().unwrap_err(), self.dir.path())
    }
}

/// The message with the directory cut out.
fn shown(error: &CredentialsError, dir: &Path) -> String {
    error.to_string().replace(&dir.display().to_string(), "DIR")
}

#[test]
fn the_white_space_around_a_token_is_cut_off() {
    for content in ["abc.def-1_2", "abc.def-1_2\n", " \t\r\nabc.def-1_2 \n\n"] {
        assert_eq!(Volume::with("token", content).token(), "abc.def-1_2", "{content:?}");
    }
}

#[test]
fn a_token_is_good_for_sixty_seconds_less_ten() {
    let volume = Volume::with("token", "first");
    assert_eq!(volume.token(), "first");
    volume.write("token", "second");
    for (seconds, expected) in [(0, "first"), (49, "first"), (50, "second"), (99, "second")] {
        volume.turn_to(seconds);
        assert_eq!(volume.token(), expected, "at {seconds} s");
    }
}

#[test]
fn while_no_token_can_be_read_the_last_good_one_stays() {
    let volume = Volume::with("token", "first");
    assert_eq!(volume.token(), "first");
    for (seconds, content) in [(60, ""), (61, " \n"), (62, "two words"), (63, "nul\0nul")] {
        volume.turn_to(seconds);
        volume.write("token", content);
        assert_eq!(volume.token(), "first", "{content:?}");
    }
    volume.remove("token");
    assert_eq!(volume.token(), "first");
    volume.write("token", "second");
    assert_eq!(volume.token(), "second", "a failed reading is made again at once");
}

#[test]
fn a_401_drops_the_token_that_was_sent() {
    let volume = Volume::with("token", "first");
    let sent = volume.account.token().unwrap();
    volume.write("token", "second");
    volume.account.drop_token(&sent);
    assert_eq!(volume.token(), "second");
}

#[test]
fn a_late_401_to_an_older_token_leaves_the_newer_one() {
    let volume = Volume::with("token", "first");
    let older = volume.account.token().unwrap();
    volume.write("token", "second");
    volume.account.drop_token(&older);
    let newer = volume.account.token().unwrap();
    volume.account.drop_token(&older);
    assert!(Arc::ptr_eq(&newer, &volume.account.token().unwrap()));
}

#[test]
fn a_dropped_token_is_not_the_last_good_one() {
    let volume = Volume::with("token", "first");
    let sent = volume.account.token().unwrap();
    volume.remove("token");
    volume.account.drop_token(&sent);
    assert_eq!(volume.token_error(), "no token at DIR/token: is automountServiceAccountToken off?");
}

#[test]
fn each_fault_has_its_plain_message() {
    let large = "a".repeat(MAX_TOKEN_BYTES + 1);
    let table = [
        ("", "DIR/token is empty"),
        (" \n", "DIR/token is empty"),
        ("two words", "DIR/token holds a byte that no bearer token has"),
        ("split\r\nheader", "DIR/token holds a byte that no bearer token has"),
        ("töken", "DIR/token holds a byte that no bearer token has"),
        (&large, "DIR/token is larger than 65536 bytes"),
    ];
    for (content, expected) in table {
        assert_eq!(Volume::with("token", content).token_error(), expected);
    }
    assert_eq!(Volume::new().token_error(), "no token at DIR/token: is automountServiceAccountToken off?");
}

#[test]
fn what_is_no_regular_file_is_refused_without_waiting_for_it() {
    let volume = Volume::new();
    let path = volume.dir.path().join("token");
    fs::create_dir(&path).unwrap();
    assert_eq!(volume.token_error(), "DIR/token is not a regular file");
    fs::remove_dir(&path).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert_eq!(volume.token_error(), "DIR/token is not a regular file");
}

#[test]
fn a_link_that_leads_in_a_circle_is_unreadable_with_its_cause() {
    let volume = Volume::new();
    symlink("token", volume.dir.path().join("token")).unwrap();
    let error = volume.account.token().unwrap_err();
    assert_eq!(shown(&error, volume.dir.path()), "DIR/token cannot be read");
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn a_token_never_shows_itself() {
    let volume = Volume::with("token", "hunter2");
    let token = volume.account.token().unwrap();
    assert_eq!(format!("{token:?} {token:#?}"), "Token(..) Token(..)");
    assert!(!format!("{:?}", volume.account).contains("hunter2"));
    volume.account.drop_token(&token);
    volume.write("token", "hunter2 hunter3");
    assert!(!format!("{:?}", volume.account.token().unwrap_err()).contains("hunter"));
}

#[test]
fn the_namespace_is_one_dns_label() {
    let long = "a".repeat(64);
    let table = [
        ("demo", Ok("demo")),
        ("demo-1\n", Ok("demo-1")),
        ("", Err("DIR/namespace is empty")),
        ("a/b", Err("DIR/namespace does not hold the name of a namespace")),
        ("..", Err("DIR/namespace does not hold the name of a namespace")),
        ("Demo", Err("DIR/namespace does not hold the name of a namespace")),
        (&long, Err("DIR/namespace does not hold the name of a namespace")),
    ];
    for (content, expected) in table {
        let volume = Volume::with("namespace", content);
        let namespace = volume.account.namespace();
        let namespace = namespace.as_deref().map_err(|error| shown(error, volume.dir.path()));
        assert_eq!(namespace, expected.map_err(str::to_owned), "{content:?}");
    }
}

#[test]
fn a_ca_that_rotates_is_a_new_generation_and_one_that_does_not_is_the_same() {
    let volume = Volume::with("ca.crt", CA);
    let first = volume.account.ca_pem().unwrap();
    assert_eq!((first.bytes(), first.generation()), (CA.as_bytes(), 1));
    volume.turn_to(60);
    assert!(Arc::ptr_eq(&first, &volume.account.ca_pem().unwrap()), "nothing changed");
    let rotated = CA.replace("MIIB", "MIIC");
    volume.write("ca.crt", &rotated);
    assert!(Arc::ptr_eq(&first, &volume.account.ca_pem().unwrap()), "not due yet");
    volume.turn_to(120);
    let second = volume.account.ca_pem().unwrap();
    assert_eq!((second.bytes(), second.generation()), (rotated.as_bytes(), 2));
}

#[test]
fn a_ca_that_is_spoilt_leaves_the_last_good_one() {
    let volume = Volume::with("ca.crt", CA);
    let first = volume.account.ca_pem().unwrap();
    volume.turn_to(60);
    volume.write("ca.crt", "-----BEGIN CERT");
    assert!(Arc::ptr_eq(&first, &volume.account.ca_pem().unwrap()));
}

#[test]
fn a_ca_file_without_a_certificate_says_so() {
    let large = "a".repeat(MAX_CA_BYTES + 1);
    let table = [
        ("", "DIR/ca.crt is empty"),
        ("MIIB", "DIR/ca.crt holds no PEM certificate"),
        (&large, "DIR/ca.crt is larger than 1048576 bytes"),
    ];
    for (content, expected) in table {
        let volume = Volume::with("ca.crt", content);
        let error = volume.account.ca_pem().unwrap_err();
        assert_eq!(shown(&error, volume.dir.path()), expected);
    }
}

#[test]
fn clones_share_what_was_read() {
    let volume = Volume::with("token", "first");
    let token = volume.account.clone().token().unwrap();
    assert!(Arc::ptr_eq(&token, &volume.account.token().unwrap()));
}
