//! The file system of a guest: a read-only root in memory, with the volumes that its grant opens and nothing else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::sync::Mutex;

use attache::extension::{Extension, Invocation, LoadError, MountError, Runtime};
use attache::podinfo::{Item, PodInfo, PodVolume};
use attache::policy::Grant;
use attache::volume::VolumeError;
use attache_tests::guest;
use attache_tests::pod::{PodTree, Volume};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

/// A service-account token in form; nothing accepts it.
const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQ6YTpiIn0.c2lnbmF0dXJl";

fn grant(spec: &str) -> Grant {
    let text = format!("{{apiVersion: attache.dev/v1alpha1, kind: Grant, metadata: {{name: files}}, spec: {spec}}}");
    Grant::parse(&text).unwrap_or_else(|error| panic!("{error}"))
}

async fn load(pod: PodInfo, spec: &str) -> Result<Extension, LoadError> {
    Runtime::builder().pod_info(pod).build().unwrap().load_command_file(&guest("files"), grant(spec)).await
}

async fn run(extension: &Extension, commands: &str) -> Vec<String> {
    let (out, err) = (MemoryOutputPipe::new(1 << 20), MemoryOutputPipe::new(1 << 20));
    let call = Invocation::new().args(commands.split_whitespace()).stdout(out.clone()).stderr(err.clone());
    let outcome = extension.run(call).await;
    let text = String::from_utf8([out.contents(), err.contents()].concat()).unwrap();
    assert!(outcome.is_ok(), "{outcome:?} {text}");
    text.lines().map(str::to_owned).collect()
}

fn only(volume: &Volume) -> PodInfo {
    PodInfo::builder().volume(volume.path()).build().unwrap()
}

/// The log of this process, which is written on many threads.
#[derive(Clone, Copy)]
struct Log;

static LOGGED: Mutex<Vec<u8>> = Mutex::new(Vec::new());

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOGGED.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Returns the lines of the log that say what is left out of a mount.
fn left_out(mount: &str) -> Vec<String> {
    let text = String::from_utf8(LOGGED.lock().unwrap().clone()).unwrap();
    text.lines().filter(|line| line.contains("not shown") && line.contains(mount)).map(str::to_owned).collect()
}

#[tokio::test]
async fn paths_mean_what_they_mean_in_a_container() {
    let tree = PodTree::new().unwrap();
    let volume = tree.podinfo(&[("labels", "app=\"web\""), ("annotations", "a=\"b\"")]).unwrap();
    let extension = load(only(&volume), "{podinfo: {}}").await.unwrap();
    let lines = run(
        &extension,
        "real /etc/podinfo/labels -- read /etc/podinfo/../podinfo/labels -- list /etc -- list / -- kind /etc \
         -- kind /etc/podinfo/labels -- link /etc/podinfo/labels -- kind /etc/podinfo/..data/labels -- read /etc/passwd \
         -- list /etc/podinfo -- real / -- real /.. -- read etc/podinfo/labels -- kind /etc/podinfo/labels/x",
    )
    .await;
    let dated = fs::read_link(volume.path().join("..data")).unwrap().to_str().unwrap().to_owned();
    let expected = [
        format!("real /etc/podinfo/labels: /etc/podinfo/{dated}/labels"),
        "read /etc/podinfo/../podinfo/labels: app=\"web\"".into(),
        "list /etc: podinfo".into(),
        "list /: etc".into(),
        "kind /etc: directory".into(),
        "kind /etc/podinfo/labels: link".into(),
        "link /etc/podinfo/labels: ..data/labels".into(),
        "kind /etc/podinfo/..data/labels: file of 9".into(),
        "read /etc/passwd: NotFound".into(),
        format!("list /etc/podinfo: {dated} ..data annotations labels"),
        "real /: /".into(),
        "real /..: /".into(),
        "read etc/podinfo/labels: app=\"web\"".into(),
        "kind /etc/podinfo/labels/x: NotADirectory".into(),
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn run_and_var_run_are_one_directory() {
    let tree = PodTree::new().unwrap();
    let volume = tree.podinfo(&[("labels", "app=\"web\"")]).unwrap();
    for mount in ["/var/run/podinfo", "/run/podinfo"] {
        let extension = load(only(&volume), &format!("{{podinfo: {{mountPath: {mount}}}}}")).await.unwrap();
        let lines = run(
            &extension,
            "read /var/run/podinfo/labels -- read /run/podinfo/labels -- list /var -- list /var/run -- kind /var/run",
        )
        .await;
        let expected = ["app=\"web\"", "app=\"web\"", "run", "podinfo", "link"];
        assert_eq!(lines.iter().map(|line| line.split_once(": ").unwrap().1).collect::<Vec<_>>(), expected, "{mount}");
    }
}

#[tokio::test]
async fn a_descriptor_opens_nothing_above_its_directory() {
    let tree = PodTree::new().unwrap();
    let volume = tree.podinfo(&[("labels", "app=\"web\"")]).unwrap();
    let extension = load(only(&volume), "{podinfo: {mountPath: /var/run/podinfo}}").await.unwrap();
    let lines =
        run(&extension, "within run/podinfo labels -- within run/podinfo .. -- within var run -- within run ../var")
            .await;
    assert!(lines[0].ends_with(": opened"), "{lines:?}");
    assert!(lines[1..].iter().all(|line| line.contains("NotPermitted") || line.contains("not-permitted")), "{lines:?}");
}

#[tokio::test]
async fn a_file_is_read_in_its_newest_version_at_each_open() {
    let tree = PodTree::new().unwrap();
    let mut volume = tree.podinfo(&[("labels", "app=\"one\""), ("cpu_limit", "250")]).unwrap();
    let extension = load(only(&volume), "{podinfo: {items: [labels, cpu_limit]}}").await.unwrap();
    assert_eq!(run(&extension, "read /etc/podinfo/cpu_limit").await, ["read /etc/podinfo/cpu_limit: 250"]);
    volume.swap(&[("labels", "app=\"two\""), ("cpu_limit", "500")]).unwrap();
    let lines = run(&extension, "read /etc/podinfo/cpu_limit -- read /etc/podinfo/labels").await;
    assert_eq!(lines, ["read /etc/podinfo/cpu_limit: 500", "read /etc/podinfo/labels: app=\"two\""]);
}

#[tokio::test]
async fn several_volumes_and_single_files_are_mounted_where_a_container_has_them() {
    let tree = PodTree::new().unwrap();
    let mut labels = tree.volume("/etc/podlabels", &[("labels", "app=\"web\"")]).unwrap();
    let limits = tree.volume("/etc/podlimits", &[("cpu_limit", "250"), ("mem_limit", "64")]).unwrap();
    let pod = PodInfo::builder()
        .mount(PodVolume::new("/etc/podlabels".parse().unwrap(), labels.path()))
        .mount(PodVolume::new("/etc/podlimits".parse().unwrap(), limits.path()))
        .mount(PodVolume::new("/etc/app/labels".parse().unwrap(), labels.path()).sub_path("labels"))
        .build()
        .unwrap();
    let spec = "{podinfo: [{mountPath: /etc/podlabels}, {mountPath: /etc/podlimits, items: [cpu_limit]},
        {mountPath: /etc/app/labels, subPath: labels}]}";
    let extension = load(pod.clone(), spec).await.unwrap();
    labels.swap(&[("labels", "app=\"new\"")]).unwrap();
    let lines = run(
        &extension,
        "list /etc -- read /etc/podlabels/labels -- read /etc/podlimits/cpu_limit -- read /etc/podlimits/mem_limit \
         -- read /etc/app/labels -- kind /etc/app/labels",
    )
    .await;
    let expected = [
        "list /etc: app podlabels podlimits",
        "read /etc/podlabels/labels: app=\"new\"",
        "read /etc/podlimits/cpu_limit: 250",
        "read /etc/podlimits/mem_limit: NotFound",
        "read /etc/app/labels: app=\"web\"",
        "kind /etc/app/labels: file of 9",
    ];
    assert_eq!(lines, expected);

    let granted = |spec: &str| pod.granted(&grant(spec).podinfo, &[]);
    let files = |pod: &PodInfo| pod.files().unwrap().into_iter().map(|file| file.path).collect::<Vec<_>>();
    assert_eq!(files(&granted(spec)), ["cpu_limit", "labels"]);
    let view = granted(spec);
    let mut changes = view.follow();
    while view.label("app").unwrap().as_deref() != Some("new") {
        changes.next().unwrap();
        changes.changed().await;
    }
    let single = granted("{podinfo: [{mountPath: /etc/app/labels, subPath: labels}]}");
    assert_eq!(single.label("app").unwrap().as_deref(), Some("web"), "as it was when the container started");
    assert_eq!(granted("{podinfo: [{mountPath: /etc/podlimits}]}").label("app").unwrap(), None);
}

#[tokio::test]
async fn a_projected_volume_shows_its_downward_api_files_and_reports_the_others_once() {
    let tree = PodTree::new().unwrap();
    let files = [
        ("labels", "app=\"web\""),
        ("cpu_limit", "250"),
        ("token", TOKEN),
        ("my-group/my-username", "admin"),
        ("my-group/my-config", "secret"),
        ("name", TOKEN),
        ("annotations", "-----BEGIN PRIVATE KEY-----"),
    ];
    let mut volume = tree.volume("/projected-volume", &files).unwrap();
    tracing_subscriber::fmt().with_ansi(false).with_writer(|| Log).init();
    let extension = load(only(&volume), "{podinfo: {mountPath: /projected-volume}}").await.unwrap();
    let look = "list /projected-volume -- list /projected-volume/..data -- read /projected-volume/token \
                -- read /projected-volume/my-group/my-username -- read /projected-volume/name";
    let seen = run(&extension, look).await;
    assert!(seen[0].ends_with("..data cpu_limit labels"), "{seen:?}");
    assert_eq!(seen[1], "list /projected-volume/..data: cpu_limit labels");
    assert!(seen[2..].iter().all(|line| line.ends_with(": NotFound")), "{seen:?}");
    volume.swap(&files).unwrap();
    assert_eq!(run(&extension, look).await[1..], seen[1..]);
    let lines = left_out("/projected-volume");
    assert_eq!(lines.len(), 1, "{lines:?}");
    for name in ["token", "my-group/my-username", "name", "annotations"] {
        assert!(lines[0].contains(name), "{lines:?}");
    }
}

#[tokio::test]
async fn what_items_say_is_shown_under_any_name_but_for_tokens() {
    let tree = PodTree::new().unwrap();
    let volume = tree.podinfo(&[("team", "blue"), ("labels", "x"), ("note", TOKEN), ("deep/app", "web")]).unwrap();
    let items = [("team", "labels['team']"), ("note", "annotations['note']"), ("deep/app", "labels['app']")];
    let item = |(path, field): (&str, &str)| Item {
        path: path.into(),
        field_ref: Some(attache::podinfo::FieldRef { api_version: None, field_path: format!("metadata.{field}") }),
        resource_field_ref: None,
        mode: None,
    };
    let pod = PodInfo::builder().volume(volume.path()).items(items.map(item).into()).build().unwrap();
    let extension = load(pod, "{podinfo: {items: [team, labels, note, deep/app, token]}}").await.unwrap();
    let lines = run(
        &extension,
        "read /etc/podinfo/team -- read /etc/podinfo/deep/app -- read /etc/podinfo/labels -- read /etc/podinfo/note",
    )
    .await;
    let expected = ["blue", "web", "NotFound", "NotFound"];
    assert_eq!(lines.iter().map(|line| line.rsplit_once(": ").unwrap().1).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn the_account_s_volume_mounted_as_podinfo_shows_no_credential() {
    let tree = PodTree::new().unwrap();
    let volume = tree.service_account(TOKEN, "-----BEGIN CERTIFICATE-----", "team-a").unwrap();
    let path = "/var/run/secrets/kubernetes.io/serviceaccount";
    for items in ["", ", items: [namespace, token, ca.crt]"] {
        let extension = load(only(&volume), &format!("{{podinfo: {{mountPath: {path}{items}}}}}")).await.unwrap();
        let lines = run(&extension, &format!("list {path}/..data -- read {path}/token -- read {path}/namespace")).await;
        assert_eq!(lines[0], format!("list {path}/..data: namespace"));
        assert_eq!(lines[1..], [format!("read {path}/token: NotFound"), format!("read {path}/namespace: team-a")]);
    }
}

#[test]
fn metadata_tells_no_more_than_a_mount_shows() {
    let tree = PodTree::new().unwrap();
    let files = [("name", TOKEN), ("uid", TOKEN), ("namespace", "hunter2 Secret/+"), ("labels", "a=\"b c/d==\"")];
    let volume = tree.podinfo(&files).unwrap();
    let pod = only(&volume);
    assert_eq!(pod.identity().unwrap(), attache::podinfo::Identity::default());
    assert_eq!(pod.snapshot().unwrap().labels, []);
    let single = PodVolume::new("/etc/name".parse().unwrap(), volume.path()).sub_path("name");
    assert_eq!(PodInfo::builder().mount(single).build().unwrap().identity().unwrap().name, None);
}

#[tokio::test]
async fn scoped_credentials_pass_on_certificates_and_nothing_else_of_the_ca_file() {
    let authority = rcgen::generate_simple_self_signed(["kubernetes.default.svc".to_owned()]).unwrap();
    let (ca, key) = (authority.cert.pem(), authority.signing_key.serialize_pem());
    let tree = PodTree::new().unwrap();
    let account = tree.service_account(TOKEN, &format!("{ca}{key}"), "team-a").unwrap();
    let runtime = Runtime::builder().service_account(account.path()).build().unwrap();
    let extension = runtime.load_command_file(&guest("files"), grant("{credentials: scoped}")).await.unwrap();
    let path = "/run/secrets/kubernetes.io/serviceaccount";
    let lines = run(&extension, &format!("read {path}/ca.crt -- read {path}/token")).await.join("\n");
    assert!(lines.contains("END CERTIFICATE") && !lines.contains("PRIVATE KEY") && !lines.contains(TOKEN), "{lines}");
    assert!(lines.contains("token: attache_"), "{lines}");
}

#[tokio::test]
async fn a_volume_of_more_entries_than_a_kubelet_writes_is_refused() {
    let tree = PodTree::new().unwrap();
    let volume = tree.podinfo(&[("labels", "app=\"web\"")]).unwrap();
    let dated = volume.path().join(fs::read_link(volume.path().join("..data")).unwrap());
    for number in 0..5000 {
        fs::create_dir(dated.join(format!("d{number}"))).unwrap();
    }
    let error = load(only(&volume), "{podinfo: {}}").await.map(drop).unwrap_err();
    let LoadError::Mount(MountError::Volume { source: VolumeError::TooMany { .. }, .. }) = error else {
        panic!("{error:?}")
    };
}

#[tokio::test]
async fn nothing_but_a_kubelets_volume_can_be_mounted() {
    let tree = PodTree::new().unwrap();
    let plain = tree.root().join("plain");
    fs::create_dir_all(&plain).unwrap();
    fs::write(plain.join("labels"), "app=\"web\"").unwrap();
    let pretended = tree.root().join("pretended");
    fs::create_dir_all(&pretended).unwrap();
    std::os::unix::fs::symlink("/proc/self", pretended.join("..data")).unwrap();
    for directory in [&plain, &pretended, Path::new("/proc/self"), Path::new("/sys"), Path::new("/dev"), Path::new("/")]
    {
        let pod = PodInfo::builder().volume(directory).build().unwrap();
        let error = load(pod, "{podinfo: {mountPath: /mnt}}").await.map(drop).unwrap_err();
        let LoadError::Mount(MountError::Volume { source, .. }) = &error else { panic!("{error:?}") };
        assert!(matches!(source, VolumeError::NotAVolume { .. } | VolumeError::Escapes { .. }), "{error:?}");
    }
    let environ = PodVolume::new("/mnt/labels".parse().unwrap(), "/proc/self/environ").sub_path("labels");
    let pod = PodInfo::builder().mount(environ).build().unwrap();
    let error = load(pod, "{podinfo: {mountPath: /mnt/labels, subPath: labels}}").await.map(drop).unwrap_err();
    assert!(matches!(error, LoadError::Mount(MountError::Volume { .. })), "{error:?}");
}

#[tokio::test]
async fn what_is_no_plain_file_is_left_out_and_blocks_nothing() {
    let tree = PodTree::new().unwrap();
    let volume = tree.podinfo(&[("labels", "app=\"web\"")]).unwrap();
    let dated = volume.path().join(fs::read_link(volume.path().join("..data")).unwrap());
    fs::write(tree.root().join("outside"), "app=\"outside\"").unwrap();
    std::os::unix::fs::symlink("../../../outside", dated.join("annotations")).unwrap();
    std::os::unix::fs::symlink("../../outside", volume.path().join("name")).unwrap();
    let (fifo, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
    rustix::fs::mknodat(rustix::fs::CWD, dated.join("uid"), fifo, mode, 0).unwrap();
    let extension = load(only(&volume), "{podinfo: {}}").await.unwrap();
    let lines =
        run(&extension, "list /etc/podinfo/..data -- read /etc/podinfo/annotations -- read /etc/podinfo/name").await;
    assert_eq!(lines[0], "list /etc/podinfo/..data: labels");
    assert!(lines[1..].iter().all(|line| line.ends_with(": NotFound")), "{lines:?}");
}

#[tokio::test]
async fn open_files_cost_the_host_no_copies() {
    let tree = PodTree::new().unwrap();
    let pairs: Vec<_> = (0..20_000).map(|number| format!("key{number:05}=\"{}\"", "v".repeat(8))).collect();
    let volume = tree.podinfo(&[("labels", &pairs.join("\n"))]).unwrap();
    let spec = "{podinfo: {}, limits: {handles: 16384, deadline: 60s, cpu: 60s}}";
    let extension = load(only(&volume), spec).await.unwrap();
    run(&extension, "hold 10 /etc/podinfo/labels").await;
    let before = resident();
    let lines = run(&extension, "hold 8000 /etc/podinfo/labels").await;
    assert_eq!(lines, ["hold /etc/podinfo/labels: 8000"]);
    // One kibibyte for each of 16,000 handles, as SECURITY.md sums up, and what the guest itself keeps of them.
    let grown = peak().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes more");
}

fn status(field: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.split_whitespace().next().unwrap().parse::<usize>().unwrap() << 10
}

fn resident() -> usize {
    status("VmRSS:")
}

fn peak() -> usize {
    status("VmHWM:")
}

/// A stdout that fails, with an error that has a cause and a backtrace.
#[derive(Clone, Copy)]
struct Failing;

#[wasmtime_wasi::async_trait]
impl Pollable for Failing {
    async fn ready(&mut self) {}
}

impl OutputStream for Failing {
    fn write(&mut self, _bytes: bytes::Bytes) -> StreamResult<()> {
        let cause = std::io::Error::other("no room");
        Err(StreamError::LastOperationFailed(failure(cause)))
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(4096)
    }
}

fn failure(cause: std::io::Error) -> wasmtime_wasi::p2::IoError {
    wasmtime_wasi::p2::IoError::new(cause).context("cannot write")
}

impl IsTerminal for Failing {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Failing {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(*self)
    }
}

#[tokio::test]
async fn a_guest_gets_the_words_of_an_error_and_no_backtrace() {
    let runtime = Runtime::builder().build().unwrap();
    let extension = runtime.load_command_file(&guest("files"), grant("{}")).await.unwrap();
    let err = MemoryOutputPipe::new(1 << 20);
    let call = Invocation::new().args(["error"]).stdout(Failing).stderr(err.clone());
    extension.run(call).await.unwrap();
    assert_eq!(String::from_utf8(err.contents().into()).unwrap(), "error: cannot write: no room\n");
}
