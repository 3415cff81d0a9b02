//! Manifests in files: read, followed, and replaced without losing a call.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use attache::service::{Sources, State};
use attache_tests::guest;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::stage::{Stage, free_port, get, manifest};

fn site(port: u16, version: &str) -> String {
    format!(
        "{{component: {{file: answer.wasm}}, grant: {{}}, env: [{{name: VERSION, value: '{version}'}}], \
         trigger: {{http: {{listen: '127.0.0.1:{port}'}}}}}}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_file_is_a_new_version_and_a_wrong_one_leaves_the_last() {
    let (stage, port) = (Stage::new(), free_port());
    let file = stage.path("x.yaml");
    std::fs::write(&file, manifest("x", &site(port, "1"))).unwrap();
    let mut sources = Sources::new([stage.folder.path()]);
    assert!(sources.sync(&stage.supervisor).await.is_empty());
    assert_eq!(get(port, "/version").await.1.unwrap(), "1\n");
    let supervisor = stage.supervisor.clone();
    let (_wake, waking) = mpsc::channel(1);
    let following = tokio::spawn(async move { sources.follow(&supervisor, waking).await });

    std::fs::write(&file, manifest("x", &site(port, "2"))).unwrap();
    stage.until("x", |status| status.counts.reloads >= 1).await;
    assert_eq!(get(port, "/version").await.1.unwrap(), "2\n");

    std::fs::write(&file, "spec: [").unwrap();
    let status = stage.until("x", |status| status.reload_error.is_some()).await;
    assert!(status.reload_error.unwrap().contains("x.yaml:1:"), "the place is named");
    assert_eq!((status.state, get(port, "/version").await.1.unwrap()), (State::Ready, "2\n".into()));

    std::fs::write(&file, manifest("x", &site(port, "3"))).unwrap();
    stage.until("x", |status| status.reload_error.is_none() && status.counts.reloads >= 2).await;
    assert_eq!(get(port, "/version").await.1.unwrap(), "3\n");

    // A component that is none leaves the one before, too.
    std::fs::write(stage.path("new.wasm"), "no component").unwrap();
    std::fs::rename(stage.path("new.wasm"), stage.path("answer.wasm")).unwrap();
    stage.until("x", |status| status.reload_error.is_some()).await;
    assert_eq!(get(port, "/version").await.1.unwrap(), "3\n");
    std::fs::copy(guest("answer"), stage.path("new.wasm")).unwrap();
    std::fs::rename(stage.path("new.wasm"), stage.path("answer.wasm")).unwrap();
    stage.until("x", |status| status.reload_error.is_none()).await;

    std::fs::remove_file(&file).unwrap();
    let begun = std::time::Instant::now();
    while stage.status("x").is_some() {
        assert!(begun.elapsed() < super::stage::PATIENCE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    following.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_maps_volume_is_a_folder_of_manifests() {
    use std::os::unix::fs::symlink;

    let (stage, port) = (Stage::new(), free_port());
    let volume = stage.path("volume");
    let version = |name: &str, version: &str| {
        std::fs::create_dir_all(volume.join(name)).unwrap();
        let spec = site(port, version).replace("answer.wasm", "../answer.wasm");
        std::fs::write(volume.join(name).join("x.yaml"), manifest("x", &spec)).unwrap();
        std::fs::write(volume.join(name).join("grant.yaml"), "apiVersion: attache.dev/v1alpha1\nkind: Grant\n")
            .unwrap();
        symlink(name, volume.join("..data_tmp")).unwrap();
        std::fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    };
    version("..2026_01", "1");
    for name in ["x.yaml", "grant.yaml"] {
        symlink(format!("..data/{name}"), volume.join(name)).unwrap();
    }
    let mut sources = Sources::new([&volume]);
    let errors = sources.sync(&stage.supervisor).await;
    assert!(errors.is_empty(), "{errors:?}");
    let (supervisor, (_wake, waking)) = (stage.supervisor.clone(), mpsc::channel(1));
    let following = tokio::spawn(async move { sources.follow(&supervisor, waking).await });
    assert_eq!(get(port, "/version").await.1.unwrap(), "1\n");
    version("..2026_02", "2");
    stage.until("x", |status| status.counts.reloads == 1).await;
    assert_eq!(get(port, "/version").await.1.unwrap(), "2\n");
    following.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_under_load_lose_no_call() {
    const RELOADS: usize = 50;
    let (stage, port) = (Stage::new(), free_port());
    stage.apply("x", &site(port, "0")).await;
    let (done, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut asking = JoinSet::new();
    for _ in 0..4 {
        let (done, asked) = (Arc::clone(&done), Arc::clone(&asked));
        asking.spawn(async move {
            let mut last = 0;
            while !done.load(Ordering::Relaxed) {
                let (status, body) = get(port, "/version").await;
                assert_eq!(status, 200);
                let version: u64 = body.unwrap().trim().parse().unwrap();
                assert!(version >= last, "version {version} came after {last}");
                last = version;
                asked.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    for version in 1..=RELOADS {
        stage.apply("x", &site(port, &version.to_string())).await;
    }
    done.store(true, Ordering::Relaxed);
    asking.join_all().await;
    let status = stage.status("x").unwrap();
    assert_eq!((status.counts.reloads, status.counts.failed), (RELOADS as u64, 0));
    assert!(asked.load(Ordering::Relaxed) > RELOADS as u64 / 2, "the load was none");
}
