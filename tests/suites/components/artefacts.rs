//! Machine code that was compiled elsewhere: its trust, and its location.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

use attache::engine::{Engine, EngineSettings};
use attache::extension::{LoadError, Precompiled};
use attache::policy::Grant;
use attache_tests::{attache, guest};

use super::{grant, host, run};

/// Compiles a guest into `artefact`. Returns the digests that a grant can pin.
async fn compiled(name: &str, artefact: &Path) -> Precompiled {
    host().build().unwrap().compile_file(&guest(name), artefact).await.unwrap()
}

fn pinning(made: &Precompiled) -> Grant {
    let hex: String = made.artefact_sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    grant(&format!("{{component: {{artefactSha256: '{hex}'}}}}"))
}

#[tokio::test]
async fn an_artefact_runs_only_under_a_grant_that_pins_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("empty.cwasm");
    let made = compiled("empty", &file).await;
    let runtime = host().build().unwrap();
    let extension = runtime.load_command_file(&file, pinning(&made)).await.unwrap();
    assert_eq!(run(&extension).await.unwrap().code, 0);
    // From memory as well.
    let extension = runtime.load_command(std::fs::read(&file).unwrap(), pinning(&made)).await.unwrap();
    assert_eq!(run(&extension).await.unwrap().code, 0);

    let unpinned = runtime.load_command_file(&file, Grant::nothing("any")).await.unwrap_err();
    assert!(unpinned.to_string().contains("artefactSha256"), "{unpinned}");
    // The component's digest vouches for no machine code, nor does the artefact's for a component.
    let hex: String = made.artefact_sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    let other = grant(&format!("{{component: {{sha256: '{hex}'}}}}"));
    assert!(matches!(runtime.load_command_file(&file, other).await, Err(LoadError::ArtefactUnpinned { .. })));
    let other = grant(&format!("{{component: {{artefactSha256: '{}'}}}}", "0".repeat(64)));
    assert!(matches!(runtime.load_command_file(&file, other).await, Err(LoadError::ArtefactPinned { .. })));
    let mut bytes = std::fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&file, bytes).unwrap();
    assert!(matches!(runtime.load_command_file(&file, pinning(&made)).await, Err(LoadError::ArtefactPinned { .. })));
}

#[tokio::test]
async fn an_artefact_for_another_engine_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.cwasm");
    // What is no artefact at all, but pinned: the head of a program for another kind of processor.
    let mut program = b"\x7fELF\x01\x01\x01".to_vec();
    program.resize(128, 0);
    std::fs::write(&file, program).unwrap();
    let runtime = host().build().unwrap();
    let unpinned = runtime.load_command_file(&file, Grant::nothing("any")).await.unwrap_err();
    let LoadError::ArtefactUnpinned { found } = unpinned else { panic!("{unpinned:?}") };
    let pinned = grant(&format!("{{component: {{artefactSha256: '{found}'}}}}"));
    let refused = runtime.load_command_file(&file, pinned).await.unwrap_err();
    assert!(matches!(refused, LoadError::OtherEngine(_)), "{refused:?}");
    assert!(refused.to_string().contains("attache compile"), "{refused}");
}

#[tokio::test]
async fn an_artefact_has_the_limits_of_its_grant_like_any_component() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.cwasm");
    let text = super::command(&"(memory 1)".repeat(8));
    let component = folder.path().join("a.wasm");
    std::fs::write(&component, super::binary(&text)).unwrap();
    let made = host().build().unwrap().compile_file(&component, &file).await.unwrap();
    let mut narrow = pinning(&made);
    narrow.limits.memories = 4;
    let refused = host().build().unwrap().load_command_file(&file, narrow).await.unwrap_err();
    assert!(refused.to_string().contains("8 memories, beyond its grant's limit of memories: 4"), "{refused}");
    let small = Engine::new(&EngineSettings::default().instances(2).memories(2)).unwrap();
    let refused = host().engine(small).build().unwrap().load_command_file(&file, pinning(&made)).await;
    assert!(matches!(refused, Err(LoadError::ExceedsLimit { .. } | LoadError::OtherEngine(_))), "{refused:?}");
}

/// Runs `attache` as another user than the files' owner. Only root can change its user.
fn as_nobody(arguments: &[&str]) -> Output {
    let mut command = Command::new(attache());
    command.env_clear().args(arguments).uid(65_532).gid(65_532);
    command.output().unwrap()
}

#[tokio::test]
async fn a_folder_of_root_serves_other_users_and_is_not_written_to() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("only root can be another user: not tried");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let program = folder.path().join("component.wasm");
    std::fs::copy(guest("empty"), &program).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o644)).unwrap();
    let kept = folder.path().join("artefacts");
    std::fs::create_dir(&kept).unwrap();
    std::fs::set_permissions(&kept, PermissionsExt::from_mode(0o755)).unwrap();
    let made = Command::new(attache()).env_clear().arg("compile").arg(&program).arg("--cache").arg(&kept).output();
    assert!(made.unwrap().status.success());
    let files = || {
        let entries = std::fs::read_dir(&kept).unwrap().map(|entry| entry.unwrap());
        let mut files: Vec<_> =
            entries.map(|entry| (entry.file_name(), entry.metadata().unwrap().modified().unwrap())).collect();
        files.sort();
        files
    };
    let before = files();
    assert_eq!(before.len(), 2);
    // With so little memory nothing is compiled: what runs is what was kept.
    let (program, kept) = (program.to_str().unwrap(), kept.to_str().unwrap());
    let run = as_nobody(&["run", program, "--cache", kept, "--compiler-memory", "1Mi"]);
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    assert_eq!(files(), before, "nothing was written there");
    // Another component is not kept there, and runs all the same.
    let other = folder.path().join("other.wasm");
    std::fs::copy(guest("exit-code"), &other).unwrap();
    std::fs::set_permissions(&other, PermissionsExt::from_mode(0o644)).unwrap();
    let run = as_nobody(&["run", other.to_str().unwrap(), "--cache", kept, "--", "exactly", "3"]);
    assert_eq!(run.status.code(), Some(3), "{}", String::from_utf8_lossy(&run.stderr));
    assert_eq!(files(), before);
    // A folder that root owns and others may write to is no such folder: nothing of it is used but a folder of one's
    // own.
    std::fs::set_permissions(kept, PermissionsExt::from_mode(0o777)).unwrap();
    let run = as_nobody(&["run", program, "--cache", kept]);
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let own = std::fs::metadata(Path::new(kept).join("attache-65532")).unwrap();
    assert_eq!((own.permissions().mode() & 0o777, std::os::unix::fs::MetadataExt::uid(&own)), (0o700, 65_532));
}

#[tokio::test]
async fn a_grant_that_pins_an_artefact_alone_lets_no_component_run() {
    let pinned = grant(&format!("{{component: {{artefactSha256: {}}}}}", "0".repeat(64)));
    let error = host().build().unwrap().load_command_file(&guest("exit-code"), pinned).await.map(drop).unwrap_err();
    assert!(matches!(error, LoadError::ComponentUnpinned { .. }), "{error:?}");
}
