//! Podinfo through its public face, on volumes that the atomic writer writes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use attache::podinfo::{Changes, EnvField, Item, PodInfo, PodInfoBuilder, PodInfoError, ProjectedFile, ResourceField};
use attache::podinfo::{Identity, Snapshot};
use attache::volume::{self, AtomicWriter};
use tempfile::TempDir;

/// Longer than anything here takes, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A period that no test lives to see: what happens happened without polling.
const NEVER: Duration = Duration::from_hours(1);

/// A period for tests in which polling has to do.
const OFTEN: Duration = Duration::from_millis(5);

/// A volume, and the kubelet that writes it.
struct Volume {
    dir: TempDir,
    writer: AtomicWriter,
}

impl Volume {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let writer = AtomicWriter::open(dir.path()).unwrap();
        let volume = Self { dir, writer };
        volume.write(files);
        volume
    }

    fn write(&self, files: &[(&str, &str)]) {
        write(&self.writer, files);
    }

    /// Returns a builder without polling.
    fn builder(&self) -> PodInfoBuilder {
        PodInfo::builder().volume(self.dir.path()).poll_period(NEVER)
    }

    fn podinfo(&self) -> PodInfo {
        self.builder().build().unwrap()
    }
}

fn write(writer: &AtomicWriter, files: &[(&str, &str)]) {
    let projection = |text: &str| volume::File { data: text.as_bytes().to_vec(), mode: 0o644 };
    let files: BTreeMap<_, _> = files.iter().map(|(path, text)| (path.parse().unwrap(), projection(text))).collect();
    writer.write(&files).unwrap();
}

fn items(yaml: &str) -> Vec<Item> {
    serde_saphyr::from_str(yaml).unwrap()
}

fn env(yaml: &str) -> Vec<EnvField> {
    serde_saphyr::from_str(yaml).unwrap()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn chain(error: &dyn Error) -> String {
    let cause = error.source().map(|cause| format!(": {}", chain(cause)));
    error.to_string() + &cause.unwrap_or_default()
}

/// Waits for the next snapshot or error.
async fn next(changes: &mut Changes) -> Result<Arc<Snapshot>, PodInfoError> {
    tokio::time::timeout(PATIENCE, changes.changed()).await.expect("no change in time");
    changes.next().transpose().expect("ready, and yet nothing")
}

/// Waits until a reader gets the label with this value, and skips other snapshots.
async fn until_label(changes: &mut Changes, key: &str, value: &str) -> Arc<Snapshot> {
    loop {
        let snapshot = next(changes).await.unwrap();
        if snapshot.labels.contains(&(key.to_owned(), value.to_owned())) {
            return snapshot;
        }
    }
}

#[test]
fn the_seeds_volume_reads_as_it_was_written() {
    let volume = Volume::new(&[
        ("labels", "cluster=\"test-cluster1\"\nrack=\"rack-22\"\nzone=\"us-est-coast\""),
        ("annotations", "build=\"two\"\nbuilder=\"john-doe\"\nkey2=\"multi \\nline \\nvalue\\n\""),
    ]);
    let podinfo = volume.podinfo();
    let snapshot = podinfo.snapshot().unwrap();
    assert_eq!(snapshot.revision, 1);
    assert_eq!(snapshot.labels, pairs(&[("cluster", "test-cluster1"), ("rack", "rack-22"), ("zone", "us-est-coast")]));
    assert_eq!(podinfo.label("rack").unwrap().as_deref(), Some("rack-22"));
    assert_eq!(podinfo.label("build").unwrap(), None);
    assert_eq!(podinfo.annotation("key2").unwrap().as_deref(), Some("multi \nline \nvalue\n"));
    assert_eq!(podinfo.identity().unwrap(), Identity::default());
}

#[tokio::test]
async fn a_swap_wakes_a_follower_without_polling() {
    let volume = Volume::new(&[("labels", "app=\"one\"")]);
    let podinfo = volume.podinfo();
    let mut changes = podinfo.follow();
    assert_eq!(changes.next().unwrap().unwrap().revision, 1);
    assert!(changes.next().unwrap().is_none(), "nothing changed since");
    volume.write(&[("labels", "app=\"two\"")]);
    let snapshot = next(&mut changes).await.unwrap();
    assert_eq!((snapshot.revision, &snapshot.labels), (2, &pairs(&[("app", "two")])));
    assert_eq!(podinfo.label("app").unwrap().as_deref(), Some("two"));
    assert!(changes.next().unwrap().is_none());
}

#[tokio::test]
async fn where_inotify_cannot_be_had_the_volume_is_polled() {
    let volume = Volume::new(&[("labels", "app=\"one\"")]);
    let podinfo = volume.builder().without_inotify().poll_period(OFTEN).build().unwrap();
    let mut changes = podinfo.follow();
    until_label(&mut changes, "app", "one").await;
    volume.write(&[("labels", "app=\"two\"")]);
    assert_eq!(until_label(&mut changes, "app", "two").await.revision, 2);
}

#[test]
fn a_label_is_answered_from_memory() {
    let volume = Volume::new(&[("labels", "app=\"one\"")]);
    let podinfo = volume.podinfo();
    assert_eq!(podinfo.label("app").unwrap().as_deref(), Some("one"));
    // No kubelet writes in place: only a reading of the disk could see this.
    fs::write(volume.dir.path().join("..data/labels"), "app=\"two\"").unwrap();
    assert_eq!(podinfo.label("app").unwrap().as_deref(), Some("one"));
    assert_eq!(podinfo.snapshot().unwrap().labels, pairs(&[("app", "one")]));
}

#[tokio::test]
async fn every_follower_gets_the_newest_and_none_a_queue() {
    let volume = Volume::new(&[("labels", "n=\"0\"")]);
    let podinfo = volume.podinfo();
    let mut followers: Vec<_> = (0..50).map(|_| podinfo.follow()).collect();
    for number in 1..=20 {
        volume.write(&[("labels", &format!("n=\"{number}\""))]);
    }
    until_label(&mut followers[0], "n", "20").await;
    for follower in &mut followers[1..] {
        assert_eq!(follower.next().unwrap().unwrap().labels, pairs(&[("n", "20")]));
        assert!(follower.next().unwrap().is_none(), "one answer, however many changes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn labels_and_annotations_are_never_of_two_updates() {
    const UPDATES: u32 = 300;
    let volume = Volume::new(&[("labels", "n=\"0\""), ("annotations", "n=\"0\"")]);
    let podinfo = volume.podinfo();
    let mut changes = podinfo.follow();
    let writer = tokio::task::spawn_blocking(move || {
        for number in 1..=UPDATES {
            let line = format!("n=\"{number}\"");
            volume.write(&[("labels", &line), ("annotations", &line)]);
        }
        volume
    });
    let (mut revision, mut seen) = (0, 0);
    let last = pairs(&[("n", &UPDATES.to_string())]);
    loop {
        let snapshot = next(&mut changes).await.unwrap();
        assert_eq!(snapshot.labels, snapshot.annotations, "a mixture");
        assert!(snapshot.revision > revision, "{} after {revision}", snapshot.revision);
        (revision, seen) = (snapshot.revision, seen + 1);
        if snapshot.labels == last {
            break;
        }
    }
    println!("{UPDATES} updates, {seen} snapshots read, revision {revision}");
    drop(writer.await.unwrap());
}

#[tokio::test]
async fn a_view_without_labels_hears_nothing_of_them() {
    let volume = Volume::new(&[("labels", "app=\"one\""), ("annotations", "a=\"1\"")]);
    let podinfo = volume.podinfo();
    let narrow = podinfo.narrowed(Some(&["annotations"]), &[]);
    let (mut all, mut some) = (podinfo.follow(), narrow.follow());
    assert_eq!(next(&mut all).await.unwrap().labels.len(), 1);
    assert_eq!(next(&mut some).await.unwrap().labels, Vec::new());
    assert_eq!(narrow.label("app").unwrap(), None);

    volume.write(&[("labels", "app=\"two\""), ("annotations", "a=\"1\"")]);
    assert_eq!(next(&mut all).await.unwrap().revision, 2);
    // All views are notified together, the older first: this view would be ready by now.
    volume.write(&[("labels", "app=\"three\""), ("annotations", "a=\"1\"")]);
    assert_eq!(next(&mut all).await.unwrap().revision, 3);
    assert!(!some.is_ready(), "woken by what it may not see");
    assert_eq!(narrow.snapshot().unwrap().revision, 1);

    volume.write(&[("labels", "app=\"three\""), ("annotations", "a=\"2\"")]);
    assert_eq!(next(&mut some).await.unwrap().revision, 2, "its own second");
    assert_eq!(podinfo.snapshot().unwrap().revision, 4);
}

#[test]
fn what_is_not_granted_is_as_if_it_were_not_projected() {
    let volume = Volume::new(&[("labels", "app=\"one\""), ("name", "me"), ("annotations", "broken")]);
    let variables = [("POD_NAMESPACE", "demo"), ("NODE_NAME", "n1"), ("POD_IP", "10.0.0.7")];
    let podinfo = volume.builder().variables(variables).build().unwrap();
    let nothing = podinfo.narrowed::<&str>(Some(&[]), &[]);
    assert_eq!(nothing.identity().unwrap(), Identity::default());
    assert_eq!(nothing.snapshot().unwrap().labels, Vec::new());
    assert_eq!(nothing.files().unwrap(), Vec::new());
    assert_eq!(nothing.label("app").unwrap(), None);
    assert_eq!(nothing.annotation("x").unwrap(), None, "nor does the broken file show");

    let some = podinfo.narrowed(Some(&["labels"]), &["NODE_NAME"]);
    assert_eq!(some.identity().unwrap(), Identity { node_name: Some("n1".to_owned()), ..Identity::default() });
    assert_eq!(some.snapshot().unwrap().labels, pairs(&[("app", "one")]));

    let wider = some.narrowed(None, &["NODE_NAME", "POD_IP"]);
    assert_eq!(wider.identity().unwrap(), some.identity().unwrap(), "a view never widens");
}

#[test]
fn views_of_one_grant_share_their_snapshot() {
    let volume = Volume::new(&[("labels", "app=\"one\"")]);
    let podinfo = volume.podinfo();
    let (one, other) = (podinfo.narrowed(Some(&["labels"]), &[]), podinfo.narrowed(Some(&["labels"]), &[]));
    assert!(Arc::ptr_eq(&one.snapshot().unwrap(), &other.snapshot().unwrap()));
}

#[tokio::test]
async fn a_malformed_file_is_an_error_until_it_is_mended() {
    let volume = Volume::new(&[("labels", "app=\"one\"\nzone=east"), ("annotations", "a=\"1\"")]);
    let podinfo = volume.podinfo();
    let mut changes = podinfo.follow();
    let error = changes.next().unwrap_err();
    assert!(matches!(error, PodInfoError::Malformed { .. }));
    assert_eq!(chain(&error), "podinfo file labels is malformed: line 2: the value is not in double quotes");
    assert!(changes.next().unwrap().is_none(), "once for each failure");
    assert!(podinfo.label("app").is_err());
    assert_eq!(podinfo.annotation("a").unwrap().as_deref(), Some("1"), "the other file is good");
    assert!(podinfo.narrowed(Some(&["annotations"]), &[]).snapshot().is_ok());

    volume.write(&[("labels", "app=\"one\""), ("annotations", "a=\"1\"")]);
    assert_eq!(next(&mut changes).await.unwrap().revision, 1);
}

#[tokio::test]
async fn an_unchanged_snapshot_is_given_again_after_a_failure() {
    let (good, bad) = ([("labels", "app=\"one\"")], [("labels", "app")]);
    let volume = Volume::new(&good);
    let mut changes = volume.podinfo().follow();
    let before = next(&mut changes).await.unwrap();
    volume.write(&bad);
    assert!(next(&mut changes).await.is_err());
    volume.write(&good);
    assert!(Arc::ptr_eq(&before, &next(&mut changes).await.unwrap()), "the same, with the same revision");
}

#[tokio::test]
async fn a_volume_may_come_late_go_and_come_again() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("podinfo");
    let podinfo = PodInfo::builder().volume(&dir).poll_period(OFTEN).build().unwrap();
    let mut changes = podinfo.follow();
    let error = podinfo.snapshot().unwrap_err();
    assert!(matches!(error, PodInfoError::Unreadable(_)));
    let expected = format!("podinfo cannot be read: cannot open the volume {}: No such file", dir.display());
    assert!(chain(&error).starts_with(&expected), "{}", chain(&error));
    assert!(next(&mut changes).await.is_err());

    for round in 1..=3 {
        let value = round.to_string();
        fs::create_dir(&dir).unwrap();
        let writer = AtomicWriter::open(&dir).unwrap();
        write(&writer, &[("labels", &format!("round=\"{value}\""))]);
        assert_eq!(podinfo.label("round").ok().flatten().as_deref().unwrap_or(&value), value);
        until_label_or_error(&mut changes, "round", &value).await;
        write(&writer, &[("labels", &format!("round=\"{value}\"\nlate=\"{value}\""))]);
        until_label_or_error(&mut changes, "late", &value).await;
        fs::remove_dir_all(&dir).unwrap();
        until_error(&mut changes).await;
    }
}

async fn until_label_or_error(changes: &mut Changes, key: &str, value: &str) {
    let wanted = (key.to_owned(), value.to_owned());
    while !next(changes).await.is_ok_and(|snapshot| snapshot.labels.contains(&wanted)) {}
}

async fn until_error(changes: &mut Changes) {
    while next(changes).await.is_ok() {}
}

#[tokio::test]
async fn without_a_volume_there_is_one_snapshot_of_the_variables_and_then_nothing() {
    let spec = env("- {name: TIER, valueFrom: {fieldRef: {fieldPath: \"metadata.labels['tier']\"}}}");
    let podinfo = PodInfo::builder().env(spec).variables([("TIER", "web")]).build().unwrap();
    let mut changes = podinfo.follow();
    let snapshot = changes.next().unwrap().unwrap();
    assert_eq!((snapshot.revision, &snapshot.labels), (1, &pairs(&[("tier", "web")])));
    assert!(changes.next().unwrap().is_none());
    let waited = tokio::time::timeout(Duration::ZERO, changes.changed()).await;
    assert!(waited.is_err(), "there is nothing to wait for");
    assert_eq!(podinfo.label("tier").unwrap().as_deref(), Some("web"));
    assert_eq!(podinfo.files().unwrap(), Vec::new());
}

#[test]
fn the_spec_goes_before_the_name_of_a_variable() {
    // The seed fills POD_IP from metadata.namespace.
    let spec = "
- {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: POD_IP, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
- {name: NODE_NAME, value: a literal}
";
    let variables = [("POD_NAME", "downward"), ("POD_IP", "default"), ("NODE_NAME", "a literal"), ("POD_UID", "u")];
    let podinfo = PodInfo::builder().env(env(spec)).variables(variables).build().unwrap();
    let expected =
        Identity { name: Some("downward".to_owned()), namespace: Some("default".to_owned()), ..Identity::default() };
    assert_eq!(podinfo.identity().unwrap(), expected);
}

#[test]
fn without_a_spec_variables_mean_what_their_names_say() {
    let variables = [
        ("POD_NAME", "me"),
        ("MY_POD_NAMESPACE", "demo"),
        ("POD_UID", ""),
        ("POD_IP", "10.0.0.7"),
        ("POD_IPS", "10.0.0.7,fd00::7"),
        ("HOST_IP", "demo"),
        ("NODE_NAME", "n1"),
        ("SERVICE_ACCOUNT", "ext"),
    ];
    let expected = Identity {
        name: Some("me".to_owned()),
        namespace: Some("demo".to_owned()),
        uid: None,
        service_account: Some("ext".to_owned()),
        node_name: Some("n1".to_owned()),
        pod_ips: vec!["10.0.0.7".to_owned(), "fd00::7".to_owned()],
        host_ips: Vec::new(),
    };
    assert_eq!(PodInfo::builder().variables(variables).build().unwrap().identity().unwrap(), expected);
}

#[test]
fn the_seeds_other_volume_tells_names_by_its_items() {
    let spec = "
- {path: podName, fieldRef: {fieldPath: metadata.name}}
- {path: ns, fieldRef: {fieldPath: metadata.namespace}}
- {path: labels, fieldRef: {fieldPath: metadata.labels}}
";
    let files = [("podName", "downward"), ("ns", "default"), ("labels", "foo=\"bar\""), ("uid", "not an item")];
    let volume = Volume::new(&files);
    let podinfo = volume.builder().items(items(spec)).build().unwrap();
    let expected =
        Identity { name: Some("downward".to_owned()), namespace: Some("default".to_owned()), ..Identity::default() };
    assert_eq!(podinfo.identity().unwrap(), expected);
}

#[test]
fn a_file_of_all_labels_goes_before_files_and_variables_of_one() {
    let spec = "
- {path: app, fieldRef: {fieldPath: \"metadata.labels['app']\"}}
- {path: zone, fieldRef: {fieldPath: \"metadata.labels['zone']\"}}
- {path: all, fieldRef: {fieldPath: metadata.labels}}
";
    let variables = env("
- {name: APP, valueFrom: {fieldRef: {fieldPath: \"metadata.labels['app']\"}}}
- {name: TIER, valueFrom: {fieldRef: {fieldPath: \"metadata.labels['tier']\"}}}
");
    let volume = Volume::new(&[("app", "file"), ("zone", ""), ("all", "app=\"all\"")]);
    let builder = volume.builder().items(items(spec)).env(variables);
    let podinfo = builder.variables([("APP", "variable"), ("TIER", "web")]).build().unwrap();
    assert_eq!(podinfo.snapshot().unwrap().labels, pairs(&[("app", "all")]));
    assert_eq!(podinfo.label("tier").unwrap(), None, "gone since the container started");

    let singles = podinfo.narrowed(Some(&["app", "zone"]), &["APP", "TIER"]);
    let expected = pairs(&[("app", "file"), ("tier", "web")]);
    assert_eq!(singles.snapshot().unwrap().labels, expected, "an empty text stands for a label that the pod lacks");
    assert_eq!(singles.label("zone").unwrap(), None);
    assert_eq!(singles.label("app").unwrap().as_deref(), Some("file"));
    assert_eq!(podinfo.narrowed(Some(&[]), &["APP"]).label("app").unwrap().as_deref(), Some("variable"));
}

#[test]
fn bounds_are_exact_and_belong_to_their_container() {
    let spec = "
- {path: a, resourceFieldRef: {containerName: main, resource: limits.cpu, divisor: 1m}}
- {path: b, resourceFieldRef: {containerName: side, resource: limits.cpu}}
- {path: c, resourceFieldRef: {containerName: main, resource: requests.memory, divisor: 1Mi}}
- {path: d, resourceFieldRef: {containerName: main, resource: limits.hugepages-2Mi, divisor: 1}}
- {path: e, resourceFieldRef: {containerName: main, resource: limits.memory, divisor: 1Ei}}
- {path: f, resourceFieldRef: {containerName: main, resource: limits.ephemeral-storage}}
";
    let variables = env("- {name: CPU, valueFrom: {resourceFieldRef: {resource: requests.cpu, divisor: 1m}}}");
    let files = [("a", "250"), ("b", "1"), ("c", "32\n"), ("d", "0"), ("e", "16"), ("f", "lots")];
    let volume = Volume::new(&files);
    let builder = volume.builder().items(items(spec)).env(variables).variables([("CPU", "125")]);
    let podinfo = builder.container("main").build().unwrap();
    let table = [
        ("main", ResourceField::CpuLimit, Ok(Some(250))),
        ("", ResourceField::CpuLimit, Ok(Some(250))),
        ("side", ResourceField::CpuLimit, Ok(Some(1000))),
        ("other", ResourceField::CpuLimit, Ok(None)),
        ("main", ResourceField::CpuRequest, Ok(Some(125))),
        ("", ResourceField::CpuRequest, Ok(Some(125))),
        ("side", ResourceField::CpuRequest, Ok(None)),
        ("main", ResourceField::MemoryRequest, Ok(Some(32 << 20))),
        ("main", ResourceField::HugepagesLimit("2Mi".to_owned()), Ok(Some(0))),
        ("main", ResourceField::HugepagesLimit("1Gi".to_owned()), Ok(None)),
        (
            "main",
            ResourceField::MemoryLimit,
            Err("podinfo file e is malformed: the number times its divisor is too large"),
        ),
        ("main", ResourceField::EphemeralStorageLimit, Err("podinfo file f is malformed: not a whole decimal number")),
    ];
    for (container, field, expected) in table {
        let bound = podinfo.resource_bound(container, &field).map_err(|error| chain(&error));
        assert_eq!(bound, expected.map_err(str::to_owned), "{container:?} {field}");
    }
}

#[test]
fn a_bound_by_name_is_of_the_own_container_only() {
    let volume = Volume::new(&[("cpu_limit", "250"), ("mem_limit", "64"), ("containerCpuRequestMilliCores", "15")]);
    let (limit, memory, request) = (ResourceField::CpuLimit, ResourceField::MemoryLimit, ResourceField::CpuRequest);
    let podinfo = volume.podinfo();
    assert_eq!(podinfo.resource_bound("", &limit).unwrap(), Some(250));
    assert_eq!(podinfo.resource_bound("", &memory).unwrap(), Some(64 << 20));
    assert_eq!(podinfo.resource_bound("", &request).unwrap(), Some(15));
    assert_eq!(podinfo.resource_bound("client-container", &limit).unwrap(), None);
    let named = volume.builder().container("client-container").build().unwrap();
    assert_eq!(named.resource_bound("client-container", &limit).unwrap(), Some(250));
    assert_eq!(named.resource_bound("sidecar", &limit).unwrap(), None);
}

#[test]
fn the_largest_number_that_kubernetes_writes_does_not_wrap() {
    let volume = Volume::new(&[("cpu", &i64::MAX.to_string())]);
    let bound = |divisor| {
        let spec = format!(
            "- {{path: cpu, resourceFieldRef: {{containerName: a, resource: limits.cpu, divisor: {divisor}}}}}"
        );
        let podinfo = volume.builder().items(items(&spec)).build().unwrap();
        podinfo.resource_bound("a", &ResourceField::CpuLimit)
    };
    assert_eq!(bound("1m").unwrap(), Some(i64::MAX.unsigned_abs()));
    assert!(bound("1").is_err());
}

#[test]
fn a_sub_path_mount_reads_without_the_data_link() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("labels"), "app=\"one\"").unwrap();
    let spec = "
- {path: labels, fieldRef: {fieldPath: metadata.labels}}
- {path: annotations, fieldRef: {fieldPath: metadata.annotations}}
";
    let podinfo = PodInfo::builder().volume(dir.path()).items(items(spec)).build().unwrap();
    assert_eq!(podinfo.label("app").unwrap().as_deref(), Some("one"));
    assert_eq!(podinfo.annotation("a").unwrap(), None);
}

#[tokio::test]
async fn a_tree_laid_out_by_hand_is_followed_too() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("labels"), "app=\"one\"").unwrap();
    let podinfo = PodInfo::builder().volume(dir.path()).poll_period(NEVER).build().unwrap();
    let mut changes = podinfo.follow();
    until_label(&mut changes, "app", "one").await;
    // As an editor saves: another file, renamed.
    fs::write(dir.path().join(".labels.swp"), "app=\"two\"").unwrap();
    fs::rename(dir.path().join(".labels.swp"), dir.path().join("labels")).unwrap();
    until_label(&mut changes, "app", "two").await;
}

fn file(path: &str, mode: u32) -> ProjectedFile {
    ProjectedFile { path: path.to_owned(), mode }
}

#[test]
fn files_are_those_that_the_view_shows_with_their_modes() {
    let volume = Volume::new(&[]);
    let projection = |mode| volume::File { data: b"x=\"\"".to_vec(), mode };
    let files = [("labels", 0o644), ("annotations", 0o400), ("deep/name", 0o440), ("other", 0o777)];
    volume.writer.write(&files.map(|(path, mode)| (path.parse().unwrap(), projection(mode))).into()).unwrap();
    let known = [file("annotations", 0o400), file("labels", 0o644)];
    assert_eq!(volume.podinfo().files().unwrap(), known, "whatever else lies in a volume is no Downward API file");

    let spec = "
- {path: labels, fieldRef: {fieldPath: metadata.labels}}
- {path: deep/name, fieldRef: {fieldPath: metadata.name}}
- {path: missing, fieldRef: {fieldPath: metadata.uid}}
";
    let podinfo = volume.builder().items(items(spec)).build().unwrap();
    assert_eq!(podinfo.files().unwrap(), [file("deep/name", 0o440), file("labels", 0o644)]);
    let narrow = podinfo.narrowed(Some(&["deep/name", "other"]), &[]);
    assert_eq!(narrow.files().unwrap(), [file("deep/name", 0o440)]);
}

#[test]
fn a_link_in_a_files_place_is_not_followed_out_of_the_volume() {
    let volume = Volume::new(&[("labels", "app=\"one\"")]);
    let name = fs::read_link(volume.dir.path().join("..data")).unwrap();
    let link = volume.dir.path().join(name).join("annotations");
    std::os::unix::fs::symlink("/etc/hostname", link).unwrap();
    let podinfo = volume.podinfo();
    assert!(matches!(podinfo.annotation("a"), Err(PodInfoError::Unreadable(_))));
    assert_eq!(podinfo.label("app").unwrap().as_deref(), Some("one"));
}

#[test]
fn a_file_beyond_the_bound_is_malformed() {
    let long = format!("a=\"{}\"", "x".repeat(attache::podinfo::MAX_PAIRS_FILE));
    let error = Volume::new(&[("labels", &long)]).podinfo().label("a").unwrap_err();
    assert_eq!(chain(&error), "podinfo file labels is malformed: larger than 2097152 bytes");
}

#[test]
fn dropping_the_last_handle_frees_the_watch() {
    let volume = Volume::new(&[("labels", "app=\"one\"")]);
    let inode = fs::metadata(volume.dir.path()).unwrap().ino();
    let podinfo = volume.podinfo();
    let (narrow, changes) = (podinfo.narrowed(Some(&["labels"]), &[]), podinfo.follow());
    let more: Vec<_> = (0..100).map(|_| narrow.follow()).collect();
    eventually(|| watches(inode) == 1);
    drop((podinfo, narrow, more));
    assert_eq!(watches(inode), 1, "one follower is left");
    drop(changes);
    eventually(|| watches(inode) == 0);
}

/// Waits until a condition of the system holds. Panics if it does not hold in time.
fn eventually(condition: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "not in time");
        std::thread::yield_now();
    }
}

/// Returns the number of inotify watches of this process on the inode.
fn watches(inode: u64) -> usize {
    let wanted = format!(" ino:{inode:x} ");
    let infos = fs::read_dir("/proc/self/fdinfo").unwrap();
    let texts = infos.filter_map(|info| fs::read_to_string(info.ok()?.path()).ok());
    let on_inode =
        |text: String| text.lines().filter(|line| line.starts_with("inotify ") && line.contains(&wanted)).count();
    texts.map(on_inode).sum()
}

#[test]
fn handles_go_to_other_threads() {
    fn shared<T: Send + Sync + Clone + 'static>(_: &T) {}
    fn sent<T: Send + 'static>(_: &T) {}
    let podinfo = PodInfo::builder().volume(Path::new("/nowhere")).build().unwrap();
    shared(&podinfo);
    sent(&podinfo.follow());
}
