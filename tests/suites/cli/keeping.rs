//! The folders of compiled components, on volumes of pods and for the users of pods.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use attache_tests::{attache, guest};

use super::{Ended, cache, command, end, folder};

/// The user of most images that do not run as root.
const NOBODY: &str = "65532";

/// Runs `attache run` of a small guest, started by another program.
fn run_by(program: &str, before: &[&str], cache: &Path) -> Ended {
    command_by(program, before, "run", cache)
}

fn command_by(program: &str, before: &[&str], command: &str, cache: &Path) -> Ended {
    let mut by = Command::new(program);
    by.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    by.args(before).arg(attache()).arg(command).arg(guest("empty")).arg("--cache").arg(cache);
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

/// The arguments with which `setpriv` starts a program as [`NOBODY`].
const AS_NOBODY: [&str; 6] = ["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--"];

/// Asserts that a run succeeded, and reported in one line that nothing is kept.
#[track_caller]
fn runs_and_says_so(ended: &Ended, words: &[&str]) {
    ended.printed();
    let lines: Vec<_> = ended.err.lines().filter(|line| line.contains("each start compiles anew")).collect();
    assert_eq!(lines.len(), 1, "{}", ended.err);
    for word in words {
        assert!(lines[0].contains(word), "{word:?} is not in {}", lines[0]);
    }
}

#[test]
fn where_nothing_can_be_kept_it_runs_and_says_so_and_a_compile_is_refused() {
    let possible = Command::new("setpriv").args(AS_NOBODY).args(["test", "-x"]).arg(attache()).status();
    if !possible.is_ok_and(|status| status.success()) {
        println!("skipped: this user cannot start the binary as another (setpriv)");
        return;
    }
    let folder = folder();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let path = |name: &str| folder.path().join(name);
    for (name, mode) in [("unreadable", 0o700), ("roots", 0o755)] {
        fs::create_dir(path(name)).unwrap();
        fs::set_permissions(path(name), Permissions::from_mode(mode)).unwrap();
    }
    fs::write(path("file"), "no folder").unwrap();
    for (name, words) in [
        ("unreadable", &["unreadable", "Permission denied"][..]),
        ("roots", &["roots", "another user's"]),
        ("file", &["file", "cannot open the artefact folder"]),
        ("unreadable/below", &["below", "Permission denied"]),
    ] {
        runs_and_says_so(&run_by("setpriv", &AS_NOBODY, &path(name)), words);
        let compiled = command_by("setpriv", &AS_NOBODY, "compile", &path(name));
        compiled.refused(&["nothing can be kept", name]);
    }
    // Once root has filled its folder, it serves other users without a message.
    command_by("env", &[], "compile", &path("roots")).printed();
    let served = run_by("setpriv", &AS_NOBODY, &path("roots"));
    assert_eq!((served.printed(), served.err.as_str()), ("", ""));
    command_by("setpriv", &AS_NOBODY, "compile", &path("roots")).refused(&["nothing can be kept"]);
}

#[test]
fn a_full_volume_keeps_nobody_from_running() {
    let folder = folder();
    let mount = format!("mount -t tmpfs -o size=16k,mode=700 none {} && ", folder.path().display());
    let possible = Command::new("unshare").args(["-rm", "sh", "-c", &format!("{mount} true")]).status();
    if !possible.is_ok_and(|status| status.success()) {
        println!("skipped: this user cannot mount a file system (unshare -rm)");
        return;
    }
    let mounted = format!("{mount} exec \"$@\"");
    let before = ["-rm", "sh", "-c", &mounted, "sh"];
    runs_and_says_so(&run_by("unshare", &before, folder.path()), &["not kept", "No space left"]);
    command_by("unshare", &before, "compile", folder.path()).refused(&["could not be kept"]);
}
