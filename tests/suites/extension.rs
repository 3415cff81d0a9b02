//! Extensions, loaded and called as an embedder does, with real guests and real files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use attache::engine::{Artefacts, DEFAULT_CAPACITY};
use attache::extension::{CallError, Extension, Invocation, LoadError, Outcome, Runtime, RuntimeBuilder};
use attache::podinfo::PodInfo;
use attache::policy::Grant;
use attache::telemetry::NoAudit;
use attache_tests::guest;
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;

/// More than any guest here prints, in bytes.
const OUTPUT: usize = 1 << 20;

fn grant(spec: &str) -> Grant {
    let text = format!("apiVersion: attache.dev/v1alpha1\nkind: Grant\nmetadata: {{name: tried}}\nspec: {spec}\n");
    Grant::parse(&text).unwrap()
}

fn host() -> RuntimeBuilder {
    Runtime::builder().audit(Arc::new(NoAudit))
}

async fn load(host: RuntimeBuilder, name: &str, grant: Grant) -> Result<Extension, LoadError> {
    host.build().unwrap().load_command_file(&guest(name), grant).await
}

async fn run(extension: &Extension, arguments: &[&str]) -> (Result<Outcome, CallError>, String) {
    let out = MemoryOutputPipe::new(OUTPUT);
    let call = Invocation::new().args(arguments.iter().copied()).stdout(out.clone());
    let outcome = extension.run(call).await;
    (outcome, String::from_utf8(out.contents().into()).unwrap())
}

/// Returns a volume as the kubelet lays it out.
fn volume(root: &Path) -> std::path::PathBuf {
    let volume = root.join("podinfo");
    let dated = volume.join("..2026_01_01_00_00_00.1");
    std::fs::create_dir_all(&dated).unwrap();
    std::fs::write(dated.join("labels"), "app=\"web\"\nzone=\"a\"").unwrap();
    std::fs::write(dated.join("annotations"), "note=\"two\\nlines\"").unwrap();
    symlink("..2026_01_01_00_00_00.1", volume.join("..data")).unwrap();
    symlink("..data/labels", volume.join("labels")).unwrap();
    symlink("..data/annotations", volume.join("annotations")).unwrap();
    volume
}

#[tokio::test]
async fn without_a_grant_a_guest_has_its_arguments_and_its_output_only() {
    let extension = load(host().variables([("HOME".into(), "/root".into())]), "env-args-stdio", Grant::nothing("bare"))
        .await
        .unwrap();
    let (outcome, out) = run(&extension, &["one", "two"]).await;
    assert_eq!(outcome.unwrap().code, 0);
    assert!(out.contains("one") && out.contains("two"), "{out}");
    assert!(!out.contains("HOME"), "{out}");
}

#[tokio::test]
async fn sockets_and_name_look_ups_are_refused() {
    let extension = load(host(), "sockets", Grant::nothing("sockets")).await.unwrap();
    let (_, out) = run(&extension, &[]).await;
    assert!(!out.is_empty() && !out.lines().any(|line| line.trim_end().ends_with("ok")), "{out}");
}

#[tokio::test]
async fn the_volume_is_mounted_through_the_links_of_the_atomic_writer() {
    let root = tempfile::tempdir().unwrap();
    let volume = volume(root.path());
    let pod = PodInfo::builder().volume(&volume).build().unwrap();
    let host = host().pod_info(pod);
    let extension = load(host, "cat-labels", grant("{podinfo: {}}")).await.unwrap();
    let (outcome, out) = run(&extension, &["/etc/podinfo"]).await;
    outcome.unwrap();
    assert!(out.contains("app=\"web\"") && out.contains("two\\nlines"), "{out}");
}

#[test]
fn what_a_killed_host_left_in_the_artefact_folder_is_removed_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let (old, young) = (folder.path().join(".new-old"), folder.path().join(".new-young"));
    std::fs::write(&old, "half").unwrap();
    std::fs::write(&young, "being written").unwrap();
    let hour_ago = std::time::SystemTime::now() - std::time::Duration::from_hours(1);
    std::fs::File::options().write(true).open(&old).unwrap().set_modified(hour_ago).unwrap();
    attache::engine::Artefacts::open(folder.path(), 1 << 20).unwrap();
    assert!(!old.exists() && young.exists());
}

#[tokio::test]
async fn a_link_that_leads_out_of_the_volume_is_not_followed() {
    let root = tempfile::tempdir().unwrap();
    let volume = volume(root.path());
    std::fs::write(root.path().join("outside"), "secret").unwrap();
    symlink("../outside", volume.join("leak")).unwrap();
    let pod = PodInfo::builder().volume(&volume).build().unwrap();
    let host = host().pod_info(pod);
    let extension = load(host, "cat-labels", grant("{podinfo: {}}")).await.unwrap();
    let (outcome, out) = run(&extension, &["/etc/podinfo"]).await;
    assert_eq!(outcome.unwrap().code, 0);
    assert!(out.contains("app=\"web\"") && !out.contains("secret") && !out.contains("leak"), "{out}");
}

#[tokio::test]
async fn a_mount_that_is_narrowed_holds_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let volume = volume(root.path());
    let pod = PodInfo::builder().volume(&volume).build().unwrap();
    let host = host().pod_info(pod);
    let extension = load(host, "cat-labels", grant("{podinfo: {items: [annotations]}}")).await.unwrap();
    let (_, out) = run(&extension, &["/etc/podinfo"]).await;
    assert!(out.contains("two\\nlines") && !out.contains("web"), "{out}");
}

#[tokio::test]
async fn an_import_that_the_grant_does_not_open_is_refused_before_the_guest_runs() {
    let refused = load(host(), "pod-card", Grant::nothing("bare")).await.unwrap_err();
    let LoadError::MissingGrant(lacks) = refused else { panic!("{refused:?}") };
    assert_eq!(lacks.len(), 2);
    assert!(lacks.iter().any(|lack| lack.contains("attache:pod/api") && lack.contains("under `api:`")), "{lacks:?}");
}

#[tokio::test]
async fn what_is_no_component_is_told_apart() {
    let runtime = host().build().unwrap();
    let module = b"\0asm\x01\0\0\0".to_vec();
    assert!(matches!(runtime.load_command(module, Grant::nothing("x")).await, Err(LoadError::CoreModule)));
    let text = b"#!/bin/sh".to_vec();
    assert!(matches!(runtime.load_command(text, Grant::nothing("x")).await, Err(LoadError::NotWasm { .. })));
}

#[tokio::test]
async fn another_file_than_the_pinned_one_is_refused() {
    let pinned = grant(&format!("{{component: {{sha256: '{}'}}}}", "0".repeat(64)));
    let refused = load(host(), "empty", pinned).await.unwrap_err();
    assert!(matches!(refused, LoadError::Pinned { .. }), "{refused:?}");
}

#[tokio::test]
async fn a_guest_that_spins_is_stopped_when_its_cpu_time_is_spent() {
    let extension = load(host(), "spin", grant("{limits: {cpu: 50ms, deadline: 1m}}")).await.unwrap();
    let (outcome, _) = run(&extension, &[]).await;
    assert!(matches!(outcome, Err(CallError::Cpu { budget }) if budget == Duration::from_millis(50)), "{outcome:?}");
}

#[tokio::test]
async fn a_guest_that_waits_in_a_host_call_is_stopped_at_its_deadline() {
    let extension = load(host(), "sleep-long", grant("{limits: {deadline: 50ms}}")).await.unwrap();
    let (outcome, out) = run(&extension, &[]).await;
    assert!(matches!(outcome, Err(CallError::Deadline { .. })), "{outcome:?}");
    assert!(out.contains("sleeping") && !out.contains("slept"), "{out}");
}

#[tokio::test]
async fn a_guest_that_traps_leaves_the_next_call_alone() {
    let extension = load(host(), "trap", Grant::nothing("trap")).await.unwrap();
    for _ in 0..2 {
        let (outcome, _) = run(&extension, &[]).await;
        assert!(matches!(outcome, Err(CallError::Trap(_))), "{outcome:?}");
    }
}

#[tokio::test]
async fn an_artefact_is_made_once_and_a_damaged_one_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let load = async || {
        let artefacts = Artefacts::open(folder.path(), DEFAULT_CAPACITY).unwrap();
        let extension = load(host().artefacts(artefacts), "empty", Grant::nothing("empty")).await.unwrap();
        assert_eq!(run(&extension, &[]).await.0.unwrap().code, 0);
    };
    load().await;
    let artefact = || {
        let paths = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "cwasm")).collect::<Vec<_>>()
    };
    let [made] = artefact().try_into().unwrap();
    let whole = std::fs::metadata(&made).unwrap().len();
    std::fs::write(&made, b"truncated").unwrap();
    load().await;
    assert_eq!(std::fs::metadata(&made).unwrap().len(), whole);
}

#[test]
fn a_folder_that_others_may_write_to_gives_no_machine_code() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let refused = Artefacts::open(folder.path(), DEFAULT_CAPACITY).unwrap_err();
    assert!(refused.to_string().contains("writable by nobody else"), "{refused}");
}

#[test]
fn below_a_folder_that_others_may_write_to_is_one_of_ones_own() {
    for mode in [0o777, 0o1777, 0o2775, 0o770] {
        let folder = tempfile::tempdir().unwrap();
        let permit = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        permit(folder.path(), mode);
        let own = Artefacts::open_own(folder.path(), DEFAULT_CAPACITY).unwrap().path().to_owned();
        assert_eq!(own.parent(), Some(folder.path()), "{mode:o}");
        assert_eq!(std::fs::metadata(&own).unwrap().permissions().mode() & 0o777, 0o700, "{mode:o}");
        assert_eq!(Artefacts::open_own(folder.path(), DEFAULT_CAPACITY).unwrap().path(), own, "a second time");
        // A folder that others can write to, or a link to another folder, is refused.
        permit(&own, 0o777);
        let refused = Artefacts::open_own(folder.path(), DEFAULT_CAPACITY).unwrap_err();
        assert!(refused.to_string().contains("writable by nobody else"), "{refused}");
        std::fs::remove_dir(&own).unwrap();
        let theirs = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(theirs.path(), &own).unwrap();
        assert!(Artefacts::open_own(folder.path(), DEFAULT_CAPACITY).is_err(), "{mode:o}");
    }
}
