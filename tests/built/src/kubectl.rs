//! The program `kubectl`: the installed one, or one from Debian's package below `target`.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};

use crate::guests::watch;

/// Set to `required`, it makes a missing kubectl a failure: where all tests have to run.
pub const DEMAND: &str = "ATTACHE_KUBECTL";

/// The oldest minor version of Kubernetes 1 whose kubectl will do: it speaks WebSocket on request, later ones always.
/// Debian 12 has 20, which fails at the documents of today's servers.
const OLDEST: u32 = 30;

/// Debian's archive, and the release whose package is taken, whatever release this machine has.
const SOURCE: &str =
    "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian trixie main\n";
const PACKAGE: &str = "kubectl";

/// Fetches Debian's package into a folder below `target`, unless a kubectl is there. The system's packages and lists
/// stay as they are.
///
/// # Errors
///
/// This is no Debian or one of its kind, the package cannot be fetched, or what was fetched does not run.
pub fn fetch(mut progress: impl FnMut(&str)) -> Result<()> {
    if found().is_some() {
        return Ok(());
    }
    let folder = folder();
    // What is left of a fetch that did not end.
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    for below in ["lists/partial", "cache/archives/partial", "package"] {
        fs::create_dir_all(folder.join(below)).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    fs::write(folder.join("sources.list"), SOURCE)?;
    fs::write(folder.join("status"), "")?;
    watch(&mut apt_get(&folder, &["update"]), &mut progress)?;
    watch(&mut apt_get(&folder, &["download", PACKAGE]), &mut progress)?;
    let package = fs::read_dir(folder.join("package"))?.find_map(|entry| entry.ok().map(|entry| entry.path()));
    let package = package.with_context(|| format!("apt-get has put nothing into {}", folder.display()))?;
    watch(Command::new("dpkg").arg("-x").arg(&package).arg(&folder), |_| ())?;
    // What it was fetched with.
    for below in ["lists", "cache", "package"] {
        fs::remove_dir_all(folder.join(below))?;
    }
    ensure!(found().is_some(), "{} does not run, or is older than 1.{OLDEST}", fetched().display());
    Ok(())
}

/// apt-get with lists, sources and packages of its own.
fn apt_get(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    for (option, below) in [
        ("Dir::Etc::sourcelist", "sources.list"),
        ("Dir::Etc::sourceparts", "none"),
        ("Dir::State::lists", "lists"),
        // Of what is installed nothing counts.
        ("Dir::State::status", "status"),
        ("Dir::Cache", "cache"),
    ] {
        command.arg("-o").arg(format!("{option}={}", folder.join(below).display()));
    }
    command.args(arguments).current_dir(folder.join("package")).stdout(Stdio::null());
    command
}

/// The program; says that a test is skipped, and gives `None`, when there is none.
///
/// # Errors
///
/// It is missing although [`DEMAND`] says that it must not.
pub fn program() -> Result<Option<PathBuf>> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    if let Some(program) = FOUND.get_or_init(found) {
        return Ok(Some(program.clone()));
    }
    let demanded = std::env::var_os(DEMAND).is_some_and(|word| word == "required");
    ensure!(!demanded, "no kubectl from 1.{OLDEST} on is here: cargo xtask kubectl");
    // Written to stderr directly because the harness would capture it. A skipped test must not look like a passed one.
    std::io::stderr().write_all(b"SKIPPED: no kubectl of these years; run `cargo xtask kubectl`\n")?;
    Ok(None)
}

fn found() -> Option<PathBuf> {
    ["kubectl".into(), fetched()].into_iter().find(|program| runs(program))
}

/// Returns whether the program is there and new enough.
fn runs(program: &Path) -> bool {
    let mut command = Command::new(program);
    command.args(["version", "--client", "--output=json"]).stdin(Stdio::null()).stderr(Stdio::null());
    let said = command.output().map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    minor_version(&said).is_some_and(|minor| minor >= OLDEST)
}

/// The minor version in what `kubectl version --client --output=json` says.
fn minor_version(said: &str) -> Option<u32> {
    let (_, after) = said.split_once("\"minor\":")?;
    let digits: String =
        after.chars().skip_while(|letter| !letter.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn fetched() -> PathBuf {
    folder().join("usr/bin/kubectl")
}

fn folder() -> PathBuf {
    crate::clients::folder().join("kubectl")
}
