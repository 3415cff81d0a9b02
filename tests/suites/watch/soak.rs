//! Many guests follow one collection through the faults that a server has in months, within seconds.
//!
//! `ATTACHE_SOAK_SECONDS` makes it longer than its twenty seconds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use attache::cluster::Payload;
use attache::gate::Channel;
use attache::policy::ApiRequest;
use attache_devcluster::Fault;
use attache_tests::guest;
use http::Method;
use serde_json::Value;
use tokio::task::JoinSet;

use super::{MAPS, World, all_maps, call, grant};

const GUESTS: usize = 200;
/// The default length of the test.
const SECONDS: u64 = 20;
/// Objects that change all the time.
const OBJECTS: u64 = 50;
/// The object that is made last. Of changes in one read, those of the last key come last.
const LAST: &str = "zz-end";
/// The time between two changes.
const CHANGE_EVERY: Duration = Duration::from_millis(50);
/// The time between two faults.
const TROUBLE_EVERY: Duration = Duration::from_millis(1500);
/// The largest growth of memory after all guests had begun, in MiB: noise of the allocator, and the history of the
/// server in this process.
const GROWTH: u64 = 48;

/// The numbers of changes and faults.
#[derive(Debug, Default)]
struct Done {
    changes: u64,
    token_rotations: u32,
    ca_rotations: u32,
    restarts: u32,
    expiries: u32,
    refusals: u32,
}

fn length() -> Duration {
    let given = std::env::var("ATTACHE_SOAK_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(given.unwrap_or(SECONDS))
}

/// This process's memory in RAM, in MiB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse().ok()).unwrap_or_default();
    kib / 1024
}

/// Returns the values of the config maps on the server, which is asked until it answers.
async fn truth(world: &World) -> BTreeMap<String, Value> {
    let list: Value = loop {
        let request = ApiRequest::parse(&Method::GET, MAPS).unwrap();
        let permit = world.gate(&all_maps()).admit(Channel::Api, request).unwrap();
        if let Ok(answer) = world.cluster.fetch(permit, Payload::none()).await {
            break serde_json::from_slice(&answer.bytes).unwrap();
        }
    };
    let items = list["items"].as_array().unwrap().iter();
    items.map(|item| (item["metadata"]["name"].as_str().unwrap().to_owned(), item["data"]["value"].clone())).collect()
}

/// Changes objects until the time is over. Returns the number of changes.
fn change(world: &World, end: Instant) -> u64 {
    let mut changes = 0;
    while Instant::now() < end {
        world.set(&format!("m{}", changes % OBJECTS), &changes.to_string());
        changes += 1;
        std::thread::sleep(CHANGE_EVERY);
    }
    changes
}

/// Makes one fault after the other until the time is over.
fn trouble(world: &World, end: Instant) -> Done {
    let faults = world.server.faults();
    let ca = || std::fs::write(world.account.path().join("ca.crt"), world.server.ca_pem()).unwrap();
    let mut done = Done::default();
    for round in 0_u32.. {
        if Instant::now() + TROUBLE_EVERY >= end {
            break;
        }
        match round % 5 {
            // The file has the new token a while after the old one is worthless.
            0 => {
                faults.rotate_tokens().unwrap();
                faults.reset_connections();
                std::thread::sleep(TROUBLE_EVERY / 5);
                world.write_token();
                done.token_rotations += 1;
            }
            1 => {
                faults.rotate_ca().unwrap();
                faults.reset_connections();
                std::thread::sleep(TROUBLE_EVERY / 5);
                ca();
                done.ca_rotations += 1;
            }
            2 => {
                faults.restart(Duration::from_millis(300)).unwrap();
                done.restarts += 1;
            }
            3 => {
                faults.always(Fault::Unavailable(None), MAPS);
                faults.reset_connections();
                std::thread::sleep(TROUBLE_EVERY / 5);
                faults.expire_history();
                faults.clear();
                done.expiries += 1;
            }
            _ => {
                faults.next(Fault::TooManyRequests(1), MAPS, 1);
                faults.next(Fault::Internal, MAPS, 1);
                faults.reset_connections();
                done.refusals += 2;
            }
        }
        std::thread::sleep(TROUBLE_EVERY);
    }
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_guests_miss_nothing_while_everything_rotates_restarts_and_expires() {
    let world = Arc::new(World::new());
    world.server.load((0..OBJECTS).map(|number| super::map(&format!("m{number}"), "0"))).unwrap();
    let spec = all_maps().replace("limits: {", "limits: {instances: 300, logBytesPerSecond: 16Mi, ");
    let extension = world.runtime().load_command_file(&guest("watch-calls"), grant(&spec)).await.unwrap();
    let mut guests = JoinSet::new();
    for _ in 0..GUESTS {
        let extension = extension.clone();
        guests.spawn(async move { call(&extension, &["picture", "v1/configmaps", "demo", "-", "-", LAST]).await });
    }
    world.records.wait_for(|records| records.follows() == GUESTS).await;
    let (before, end) = (memory(), Instant::now() + length());
    let (changing, troubling) = (Arc::clone(&world), Arc::clone(&world));
    let changes = tokio::task::spawn_blocking(move || change(&changing, end));
    let mut done = tokio::task::spawn_blocking(move || trouble(&troubling, end)).await.unwrap();
    done.changes = changes.await.unwrap();
    let (after, figures) = (memory(), world.cluster.watch_figures());
    world.set(LAST, "1");
    let last = Instant::now();
    let truth = truth(&world).await;
    let (mut events, mut resyncs) = (0, 0);
    while let Some(ended) = guests.join_next().await {
        let (outcome, lines) = ended.unwrap();
        assert_eq!(outcome.unwrap().code, 0, "{lines:?}");
        let picture = &lines.last().unwrap()["ok"];
        let seen: BTreeMap<String, Value> = serde_json::from_value(picture["values"].clone()).unwrap();
        assert_eq!(seen, truth, "a guest's picture is not the server's: {lines:?}");
        events += picture["events"].as_u64().unwrap();
        resyncs += picture["resyncs"].as_u64().unwrap();
    }
    let (lists, watches) = (world.records.hosts("list", "allowed"), world.records.hosts("watch", "begun"));
    println!("soak: {GUESTS} guests, {} s, {done:?}", length().as_secs());
    println!(
        "soak: {events} events told, {resyncs} replays, {lists} lists and {watches} watches of the server, {figures:?}"
    );
    println!(
        "soak: memory {before} MiB when all had begun, {after} MiB at the end; {:?} to the last guest",
        last.elapsed()
    );
    assert_eq!(figures.upstreams, 1);
    assert!(after <= before + GROWTH, "{before} MiB, {after} MiB");
}
