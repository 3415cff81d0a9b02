//! Where compiled components are kept: on the volumes that pods have, under the users that they run as.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use attache_tests::{attache, guest};

use super::{Ended, cache, command, end, folder};

/// The user of most images that do not run as root.
const NOBODY: &str = "65532";

/// `attache run` of a small guest, started by another program.
fn run_by(program: &str, before: &[&str], cache: &Path) -> Ended {
    let mut by = Command::new(program);
    by.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    by.args(before).arg(attache()).arg("run").arg(guest("empty")).arg("--cache").arg(cache);
    by.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    end(&mut by)
}

#[test]
fn an_empty_dir_keeps_them_in_a_folder_of_the_users_own() {
    let as_nobody = ["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--"];
    let possible = Command::new("setpriv").args(as_nobody).args(["test", "-x"]).arg(attache()).status();
    if !possible.is_ok_and(|status| status.success()) {
        println!("skipped: this user cannot start the binary as another (setpriv)");
        return;
    }
    let folder = folder();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let volume = folder.path().join("cache");
    fs::create_dir(&volume).unwrap();
    fs::set_permissions(&volume, Permissions::from_mode(0o777)).unwrap();
    for _ in 0..2 {
        let ended = run_by("setpriv", &as_nobody, &volume);
        ended.printed();
        assert!(ended.err.contains(&format!("attache-{NOBODY}, which is this user's alone")), "{}", ended.err);
    }
    let own = volume.join(format!("attache-{NOBODY}"));
    let found = fs::metadata(&own).unwrap();
    assert_eq!((found.uid().to_string().as_str(), found.mode() & 0o777), (NOBODY, 0o700));
    assert_eq!(fs::read_dir(&own).unwrap().count(), 2, "the artefact and its digest");
}

#[test]
fn on_noexec_and_without_a_place_one_line_says_that_each_start_compiles() {
    let nowhere = end(command([Path::new("run"), &guest("empty")]).env_remove("ATTACHE_CACHE"));
    nowhere.printed();
    let said = |ended: &Ended| ended.err.matches("each start compiles anew: say --cache DIR").count();
    assert_eq!(said(&nowhere), 1, "{}", nowhere.err);
    assert_eq!(said(&end(command([Path::new("run"), &guest("empty")]).env("ATTACHE_CACHE", cache()))), 0);
    let folder = folder();
    let mount = format!("mount -t tmpfs -o noexec none {} && ", folder.path().display());
    let possible = Command::new("unshare").args(["-rm", "sh", "-c", &format!("{mount} true")]).status();
    if !possible.is_ok_and(|status| status.success()) {
        println!("skipped: this user cannot mount a file system (unshare -rm)");
        return;
    }
    let noexec = run_by("unshare", &["-rm", "sh", "-c", &format!("{mount} exec \"$@\""), "sh"], folder.path());
    noexec.printed();
    assert_eq!(said(&noexec), 1, "{}", noexec.err);
    assert!(noexec.err.contains("mounted noexec"), "{}", noexec.err);
}
