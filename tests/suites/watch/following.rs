//! The events that one and many followers get.

use std::time::Duration;

use attache::cluster::watch::{WatchFigures, WatchSettings};
use serde_json::json;

use super::{MAPS, World, all_maps, short};

#[tokio::test]
async fn a_follower_is_told_what_there_is_and_then_what_happens() {
    let world = World::new().with(&["a", "b"]);
    let mut watcher = world.follow();
    assert_eq!(watcher.until("synced").await, ["resync", "+a=1", "+b=1", "synced"]);
    world.set("c", "1");
    world.set("a", "2");
    world.delete("b").await;
    assert_eq!(watcher.until("-b").await, ["+c=1", "+a=2", "-b"]);
    assert!(watcher.0.read(10).unwrap().is_empty() && !watcher.0.is_ready());
}

#[tokio::test]
async fn a_collection_with_nothing_in_it_is_synced_too() {
    let world = World::new();
    assert_eq!(world.follow().until("synced").await, ["resync", "synced"]);
}

#[tokio::test]
async fn what_a_selector_no_longer_selects_is_gone() {
    let world = World::new().with(&["a", "b"]);
    world.set("b", "2");
    let gate = world.gate(&all_maps());
    let mut watcher = world.follow_as(&gate, Some("demo"), &[("labelSelector", "value=1")]).unwrap().unwrap();
    assert_eq!(watcher.until("synced").await, ["resync", "+a=1", "synced"]);
    world.set("a", "2");
    world.set("b", "1");
    assert_eq!(watcher.until("+b=1").await, ["-a", "+b=1"]);
}

#[tokio::test]
async fn one_watch_of_the_server_serves_them_all_and_ends_with_the_last() {
    let world = World::new().with(&["a"]);
    let mut watchers: Vec<_> = (0..200).map(|_| world.follow()).collect();
    for watcher in &mut watchers {
        watcher.until("synced").await;
    }
    world.set("a", "2");
    for watcher in &mut watchers {
        assert_eq!(watcher.until("+a=2").await, ["+a=2"]);
    }
    assert_eq!((world.records.hosts("list", "allowed"), world.records.hosts("watch", "begun")), (1, 1));
    let figures = world.cluster.watch_figures();
    assert_eq!((figures.upstreams, figures.followers), (1, 200));
    watchers.truncate(1);
    world.set("a", "3");
    watchers[0].until("+a=3").await;
    assert_eq!(world.records.hosts("watch", "allowed"), 0, "still watched");
    watchers.clear();
    world.wait_for_no_upstream().await;
    assert_eq!(world.cluster.watch_figures(), WatchFigures::default());
}

#[tokio::test]
async fn who_comes_back_while_the_store_lingers_finds_it() {
    let linger = Duration::from_mins(10);
    let world = World::keeping(WatchSettings::new().linger(linger)).with(&["a"]);
    world.follow().until("synced").await;
    assert_eq!(world.cluster.watch_figures().followers, 0);
    let mut again = world.follow();
    assert!(again.0.is_ready(), "nothing is asked of the server");
    assert_eq!(again.until("synced").await, ["resync", "+a=1", "synced"]);
    assert_eq!(world.records.hosts("list", "allowed"), 1);
}

#[tokio::test]
async fn a_follower_that_does_not_read_is_told_to_start_over_and_holds_nobody_up() {
    let world = World::new().with(&["a"]);
    let (mut slow, mut quick) = (world.follow(), world.follow());
    slow.until("synced").await;
    quick.until("synced").await;
    // More than a store remembers.
    let large = "x".repeat(200_000);
    for number in 0..30 {
        world.set("a", &format!("{number}{large}"));
        let seen = quick.until(&format!("+a={}", short(&format!("{number}{large}")))).await;
        assert!(!seen.contains(&"resync".to_owned()));
    }
    world.set("b", "1");
    quick.until("+b=1").await;
    assert_eq!(slow.until("synced").await, ["resync", "+a=29xxxxxxxxxx", "+b=1", "synced"]);
}

#[tokio::test]
async fn a_replay_that_is_read_bit_by_bit_tells_each_change_once() {
    let world = World::new().with(&["a", "b", "c", "d"]);
    let mut other = world.follow();
    other.until("synced").await;
    let mut watcher = world.follow();
    let mut read = || watcher.0.read(1).unwrap().iter().map(super::told).collect::<Vec<_>>();
    assert_eq!([read(), read(), read()], [["resync"], ["+a=1"], ["+b=1"]]);
    world.set("a", "2");
    world.set("d", "2");
    world.delete("c").await;
    other.until("-c").await;
    let rest: Vec<_> = std::iter::from_fn(|| Some(read()).filter(|read| !read.is_empty())).flatten().collect();
    assert_eq!(rest, ["+a=2", "+d=2", "+kube-root-ca.crt=", "synced"]);
}

#[tokio::test]
async fn a_list_of_many_pages_is_one_replay() {
    let world = World::new();
    world.server.load((0..1200).map(|number| super::map(&format!("m{number:04}"), "1"))).unwrap();
    let mut watcher = world.follow();
    let seen = watcher.until("synced").await;
    assert_eq!((seen.len(), seen[1].as_str(), seen[1200].as_str()), (1202, "+m0000=1", "+m1199=1"));
    assert_eq!(world.records.hosts("list", "allowed"), 3);
    let copies = watcher.0.list(Some("demo/m1100"), 10).unwrap();
    assert_eq!(copies.objects[0].key().as_ref(), "demo/m1101");
    assert_eq!(copies.cursor.as_deref(), Some("demo/m1110"));
    assert!(watcher.0.list(Some("demo/m1199"), 10).unwrap().objects.is_empty());
}

#[tokio::test]
async fn objects_of_the_copy_say_their_type_as_any_object_does() {
    let world = World::new().with(&["a"]);
    let mut watcher = world.follow();
    watcher.until("synced").await;
    let object = watcher.0.get(Some("demo"), "a").unwrap().unwrap();
    let object: serde_json::Value = serde_json::from_slice(object.json()).unwrap();
    assert_eq!((&object["kind"], &object["apiVersion"]), (&json!("ConfigMap"), &json!("v1")));
    assert!(watcher.0.get(Some("demo"), "b").unwrap().is_none());
    assert!(watcher.0.get(None, "a").unwrap().is_none());
}

#[tokio::test]
async fn the_beginning_and_the_end_of_a_follower_are_recorded() {
    let world = World::new().with(&["a"]);
    let mut watcher = world.follow();
    watcher.until("synced").await;
    drop(watcher);
    let lines = world.records.lines.lock().unwrap().clone();
    let own: Vec<_> = lines.iter().filter(|line| line.way == "api" && line.path == MAPS).collect();
    let said: Vec<_> = own.iter().map(|line| (line.verb.as_str(), line.verdict, line.status)).collect();
    assert_eq!(said, [("watch", "begun", None), ("watch", "allowed", Some(200))]);
}
