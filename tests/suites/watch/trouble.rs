//! Faults of the server: forgotten history, restarts, and tokens, certificates and rights that are revoked.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use attache::cluster::watch::{WatchError, WatchSettings};
use attache::gate::Channel;
use attache_devcluster::Fault;
use serde_json::json;
use tracing_subscriber::util::SubscriberInitExt;

use super::{MAPS, Records, Watcher, World, access, all_maps, run, scope};

impl World {
    /// Cuts all watches and refuses connections while `meanwhile` happens.
    fn away(&self, meanwhile: impl FnOnce()) {
        let faults = self.server.faults();
        faults.always(Fault::Unavailable(None), MAPS);
        faults.reset_connections();
        meanwhile();
        faults.clear();
    }

    /// Works like `away`, but the server has lost its history when it comes back.
    pub(crate) fn away_for_long(&self, meanwhile: impl FnOnce()) {
        self.away(|| {
            meanwhile();
            self.server.faults().expire_history();
        });
    }
}

async fn synced(world: &World) -> Watcher {
    let mut watcher = world.follow();
    watcher.until("synced").await;
    watcher
}

#[tokio::test]
async fn what_happened_while_the_server_was_away_is_told_when_it_is_back() {
    let world = World::new().with(&["a"]);
    let mut watcher = synced(&world).await;
    world.away(|| world.set("a", "2"));
    assert_eq!(watcher.until("+a=2").await, ["+a=2"]);
    assert_eq!(world.records.hosts("list", "allowed"), 1, "taken up where it was");
}

#[tokio::test]
async fn history_that_is_forgotten_is_listed_anew_and_told_as_changes() {
    let world = World::new().with(&["a", "b", "c"]);
    let mut watcher = synced(&world).await;
    world.away_for_long(|| {
        world.set("a", "2");
        world.set("d", "1");
    });
    assert_eq!(watcher.until("+d=1").await, ["+a=2", "+d=1"]);
    assert_eq!(world.records.hosts("list", "allowed"), 2);
    world.delete("b").await;
    assert_eq!(watcher.until("-b").await, ["-b"]);
}

#[tokio::test]
async fn a_server_that_restarts_with_its_data_is_followed_on() {
    let world = World::new().with(&["a"]);
    let mut watcher = synced(&world).await;
    // It blocks while the server is away, as it would block this test's only thread.
    let world = tokio::task::spawn_blocking(move || {
        world.server.faults().restart(Duration::from_millis(300)).unwrap();
        world.set("a", "2");
        world
    });
    let world = world.await.unwrap();
    assert_eq!(watcher.until("+a=2").await, ["+a=2"]);
    assert_eq!(world.cluster.watch_figures().upstreams, 1);
}

#[tokio::test]
async fn a_token_that_is_revoked_is_waited_out_until_there_is_a_new_one() {
    let world = World::new().with(&["a"]);
    let mut watcher = synced(&world).await;
    world.server.faults().rotate_tokens().unwrap();
    world.server.faults().reset_connections();
    world.records.wait_for(|records| watches_answered(records, 401) > 0).await;
    world.set("a", "2");
    assert!(!watcher.0.is_ready());
    world.write_token();
    assert_eq!(watcher.until("+a=2").await, ["+a=2"]);
}

#[tokio::test]
async fn a_ca_that_rotates_is_followed_on() {
    let world = World::new().with(&["a"]);
    let mut watcher = synced(&world).await;
    world.server.faults().rotate_ca().unwrap();
    world.server.faults().reset_connections();
    world.set("a", "2");
    std::fs::write(world.account.path().join("ca.crt"), world.server.ca_pem()).unwrap();
    assert_eq!(watcher.until("+a=2").await, ["+a=2"]);
}

/// Adds log lines to the records, in order.
struct Log(Arc<Records>);

impl Write for Log {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        let verb = String::from_utf8_lossy(text).into_owned();
        let line = super::Line { way: "log", verb, path: String::new(), verdict: "", status: None };
        self.0.lines.lock().unwrap().push(line);
        self.0.changed.send_replace(());
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_watch_goes_on_when_the_collection_is_listed_anew_and_not_when_the_server_only_takes_it() {
    let world = World::new().with(&["a"]);
    let records = Arc::clone(&world.records);
    let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || Log(Arc::clone(&records)));
    let _logging = log.set_default();
    let logged = |records: &Records, text: &str| {
        records.lines.lock().unwrap().iter().position(|line| line.way == "log" && line.verb.contains(text))
    };
    let mut watcher = synced(&world).await;
    let faults = world.server.faults();
    faults.always(Fault::Unavailable(None), MAPS);
    faults.reset_connections();
    world.records.wait_for(|records| logged(records, "a watch is interrupted").is_some()).await;
    world.set("a", "2");
    faults.expire_history();
    faults.clear();
    watcher.until("+a=2").await;
    world.records.wait_for(|records| logged(records, "a watch goes on").is_some()).await;
    let lists = |line: &super::Line| line.way == "host" && line.verb == "list" && line.verdict == "allowed";
    let listed = world.records.lines.lock().unwrap().iter().rposition(lists);
    assert_eq!(world.records.hosts("list", "allowed"), 2);
    assert!(listed < logged(&world.records, "a watch goes on"), "{listed:?}");
}

/// Returns the number of the host's watches with this status.
fn watches_answered(records: &Records, code: u16) -> usize {
    let fits = |line: &&super::Line| line.way == "host" && line.verb == "watch" && line.status == Some(code);
    records.lines.lock().unwrap().iter().filter(fits).count()
}

/// Returns a world whose stores end at the first refusal.
fn impatient() -> World {
    World::keeping(WatchSettings::new().linger(Duration::ZERO).forbidden_for(Duration::ZERO))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_starts_and_knows_no_roles_or_types_yet_is_waited_for() {
    for (fault, code) in [(Fault::Forbidden, 403), (Fault::NotFound, 404)] {
        let world = World::new().with(&["a"]);
        let (runtime, spec) = (world.runtime(), all_maps());
        let guest = || run(&runtime, &spec, &["picture", "v1/configmaps", "demo", "-", "-", "zz"]);
        let mut first = synced(&world).await;
        let trouble = async {
            world.records.wait_for(|records| records.follows() == 3).await;
            let faults = world.server.faults();
            faults.always(fault, MAPS);
            tokio::task::block_in_place(|| faults.restart(Duration::from_millis(100)).unwrap());
            world.records.wait_for(|records| watches_answered(records, code) >= 3).await;
            world.set("a", "2");
            faults.clear();
            assert_eq!(first.until("+a=2").await, ["+a=2"]);
            world.set("zz", "1");
        };
        let (one, two, ()) = tokio::join!(guest(), guest(), trouble);
        for (outcome, lines) in [one, two] {
            assert_eq!(outcome.unwrap().code, 0, "{lines:?}");
            let values = &lines[0]["ok"]["values"];
            assert_eq!(values, &json!({"a": "2", "kube-root-ca.crt": null, "zz": "1"}), "{lines:?}");
            assert_eq!(lines[0]["ok"]["resyncs"], 1);
        }
        assert_eq!(world.records.hosts("list", "allowed"), 1, "taken up where it was");
    }
}

#[tokio::test]
async fn a_type_that_is_gone_for_good_ends_the_watch() {
    let world = impatient().with(&["a"]);
    let mut watcher = synced(&world).await;
    world.server.faults().always(Fault::NotFound, MAPS);
    world.server.faults().reset_connections();
    let error = watcher.ended().await;
    assert!(matches!(&error, WatchError::Refused(status) if status.code == 404), "{error:?}");
}

#[tokio::test]
async fn rights_that_are_taken_away_take_the_store_with_them() {
    let world = impatient().with(&["a"]);
    let mut watcher = synced(&world).await;
    world.server.load(access(&[])).unwrap();
    world.server.faults().reset_connections();
    let error = watcher.ended().await;
    assert!(matches!(&error, WatchError::Refused(status) if status.code == 403), "{error:?}");
    assert!(watcher.0.get(Some("demo"), "a").is_err());
    let figures = world.cluster.watch_figures();
    assert_eq!((figures.upstreams, figures.bytes), (0, 0));
    world.server.load(access(&["configmaps"])).unwrap();
    synced(&world).await;
}

#[tokio::test]
async fn what_the_host_may_not_or_does_not_exist_is_the_servers_refusal() {
    let world = World::new();
    let spec = all_maps().replace("[configmaps]", r#"["*"]"#);
    for (plural, code) in [("pods", 403), ("gadgets", 403), ("configmaps", 0)] {
        let scope = scope(plural, Some("demo"), &[]);
        let permit = world.gate(&spec).admit_follower(Channel::Api, scope.list(), scope.watch().clone()).unwrap();
        let mut watcher = Watcher(world.cluster.follow(&scope, permit).unwrap());
        if code == 0 {
            watcher.until("synced").await;
            continue;
        }
        let error = watcher.ended().await;
        assert!(matches!(&error, WatchError::Refused(status) if status.code == code), "{plural}: {error:?}");
        assert!(watcher.0.filled().await.is_err());
    }
}

#[tokio::test]
async fn faults_of_all_kinds_pass() {
    let world = World::new().with(&["a"]);
    let mut watcher = synced(&world).await;
    let faults = world.server.faults();
    for (number, fault) in [
        Fault::Reset,
        Fault::Internal,
        Fault::TooManyRequests(1),
        Fault::Unavailable(Some(1)),
        Fault::Unauthorized,
        Fault::Latency(Duration::from_millis(50)),
    ]
    .into_iter()
    .enumerate()
    {
        faults.next(fault, MAPS, 2);
        faults.reset_connections();
        let value = format!("{}", number + 10);
        world.set("a", &value);
        watcher.until(&format!("+a={value}")).await;
    }
}
