//! The program `kubectl`: the installed one, or one from Debian's package below `target`.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};

use crate::guests::watch;

/// The variable that makes a missing kubectl a failure when it is `required`, for machines that have to run all tests.
pub const DEMAND: &str = "ATTACHE_KUBECTL";

/// The oldest minor version of Kubernetes 1 whose kubectl is accepted. It speaks WebSocket on request, later versions
/// always. Debian 12 has 20, which fails at the documents of today's servers.
const OLDEST: u32 = 30;

/// Debian's archive, and the release of the package, independent of this machine's release.
const SOURCE: &str =
    "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian trixie main\n";
const PACKAGE: &str = "kubectl";

/// Fetches Debian's package into a folder below `target`, unless a kubectl is available. The system's packages and
/// lists are not changed.
///
/// # Errors
///
/// Fails if this system is not based on Debian, or if the package cannot be fetched or does not run.
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

/// Returns `apt-get` with lists, sources and packages of its own.
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

/// Returns the program. If it is missing, reports that a test is skipped and returns `None`.
///
/// # Errors
///
/// Fails if it is missing and [`DEMAND`] is `required`.
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

/// Returns the minor version in the output of `kubectl version --client --output=json`.
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
