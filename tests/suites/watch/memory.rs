//! The budget: a store that does not fit gets an error, and other stores do not.

use std::time::Duration;

use attache::cluster::watch::{WatchError, WatchSettings};
use attache::gate::Gate;

use super::{World, all_maps};

/// Makes a world whose stores hold so many bytes, and are kept for long without followers.
fn world(bytes: u64) -> World {
    World::keeping(WatchSettings::new().bytes(bytes).linger(Duration::from_mins(10)))
}

#[tokio::test]
async fn a_collection_that_does_not_fit_is_an_error_and_its_neighbour_goes_on() {
    let world = world(100_000).with(&["a"]);
    world.server.load((0..20).map(|n| super::map(&format!("large{n}"), &"x".repeat(10_000)))).unwrap();
    let gate = world.gate(&all_maps());
    let mut small = world.follow_as(&gate, Some("demo"), &[("labelSelector", "value=1")]).unwrap().unwrap();
    small.until("synced").await;
    let mut large = world.follow();
    let error = large.ended().await;
    assert!(matches!(error, WatchError::Overflow(100_000)), "{error:?}");
    assert!(error.to_string().contains("100000 bytes"), "{error}");
    world.set("b", "1");
    assert_eq!(small.until("+b=1").await, ["+b=1"]);
    assert!(matches!(large.0.read(1), Err(WatchError::Overflow(_))), "the same for ever");
    assert_eq!(world.cluster.watch_figures().upstreams, 1);
}

#[tokio::test]
async fn who_follows_many_large_selections_ends_none_of_a_small_neighbours() {
    let world = world(100_000).with(&["a"]);
    world.server.load((0..4).map(|n| super::map(&format!("large{n}"), &"x".repeat(10_000)))).unwrap();
    let (gate, neighbours) = (world.gate(&all_maps()), world.gate(&all_maps()));
    let follow = |gate: &Gate, label: &str| world.follow_as(gate, Some("demo"), &[("labelSelector", label)]);
    let mut small = follow(&neighbours, "value=1").unwrap().unwrap();
    small.until("synced").await;
    let mut hogs = Vec::new();
    for label in ["value!=1", "value notin (1)", "value,value!=1"] {
        let mut hog = follow(&gate, label).unwrap().unwrap();
        hog.until("synced").await;
        hogs.push(hog);
    }
    assert_eq!(world.cluster.watch_figures().upstreams, 3, "one of the large ones made room for another");
    // More than is left, and less than a large one.
    world.server.load((10..50).map(|n| super::map(&format!("n{n}"), "1"))).unwrap();
    small.until("+n49=1").await;
    assert_eq!(small.0.list(None, 100).unwrap().objects.len(), 41);
    let over = hogs.iter_mut().filter_map(|hog| hog.0.get(None, "x").err()).collect::<Vec<_>>();
    assert_eq!(over.len(), 2);
    assert!(over.iter().all(|error| matches!(error, WatchError::Overflow(100_000))), "{over:?}");
    assert!(over[0].to_string().contains("this host watches is more than the 100000 bytes"), "{}", over[0]);
}

#[tokio::test]
async fn an_object_that_no_room_is_enough_for_ends_its_own_watch_alone() {
    let world = world(100_000).with(&["a", "b"]);
    let gate = world.gate(&all_maps());
    let follow = |name: &str| {
        let field = format!("metadata.name={name}");
        world.follow_as(&gate, Some("demo"), &[("fieldSelector", &field)]).unwrap().unwrap()
    };
    let (mut one, mut other) = (follow("a"), follow("b"));
    one.until("synced").await;
    other.until("synced").await;
    world.set("b", &"x".repeat(200_000));
    assert!(matches!(other.ended().await, WatchError::Overflow(_)));
    world.set("a", "2");
    assert_eq!(one.until("+a=2").await.last().unwrap(), "+a=2");
}

#[tokio::test]
async fn a_collection_that_outgrows_the_budget_is_an_error() {
    let world = world(100_000).with(&["a"]);
    let mut watcher = world.follow();
    watcher.until("synced").await;
    world.server.load((0..20).map(|n| super::map(&format!("large{n}"), &"x".repeat(10_000)))).unwrap();
    assert!(matches!(watcher.ended().await, WatchError::Overflow(_)));
    assert_eq!(world.cluster.watch_figures().bytes, 0, "nothing of it is kept");
}

#[tokio::test]
async fn a_collection_of_most_of_the_budget_is_listed_anew_within_it() {
    let world = world(100_000);
    let load = |round: u32| {
        let value = format!("{round}{}", "x".repeat(10_000));
        world.server.load((0..7).map(|number| super::map(&format!("large{number}"), &value))).unwrap();
    };
    load(1);
    let mut watcher = world.follow();
    watcher.until("synced").await;
    let bytes = world.cluster.watch_figures().bytes;
    assert!(bytes > 70_000, "{bytes} bytes");
    world.away_for_long(|| load(2));
    let seen = watcher.until("synced").await;
    let (begin, replay) = seen.split_at(seen.len() - 9);
    assert!(begin.iter().all(|event| event.starts_with("+large")), "{seen:?}");
    let changed = (0..7).map(|number| format!("+large{number}=2xxxxxxxxxxx"));
    let expected: Vec<_> = ["resync".to_owned()].into_iter().chain(changed).chain(["synced".to_owned()]).collect();
    assert_eq!(replay, expected, "more has changed than there is room to remember");
    assert_eq!(world.records.hosts("list", "allowed"), 2);
}

#[tokio::test]
async fn stores_that_nobody_follows_make_room_the_longest_left_first() {
    let world = world(100_000);
    let gate = world.gate(&all_maps());
    let follow = |label: &str| {
        let select = format!("value={label}");
        world.follow_as(&gate, Some("demo"), &[("labelSelector", &select)]).unwrap().unwrap()
    };
    for label in ["one", "two", "three"] {
        let value = format!("{label:20}{}", "x".repeat(40_000)).replace(' ', "-");
        let mut object = super::map(label, &value);
        object["metadata"]["labels"]["value"] = label.into();
        world.server.load([object]).unwrap();
    }
    follow("one").until("synced").await;
    follow("two").until("synced").await;
    assert_eq!(world.cluster.watch_figures().upstreams, 2);
    follow("three").until("synced").await;
    let figures = world.cluster.watch_figures();
    assert_eq!((figures.upstreams, figures.followers), (2, 0));
    assert!(figures.bytes <= 100_000);
    let listed = world.records.hosts("list", "allowed");
    follow("two").until("synced").await;
    assert_eq!(world.records.hosts("list", "allowed"), listed, "`two` was kept");
    follow("one").until("synced").await;
    assert_eq!(world.records.hosts("list", "allowed"), listed + 1, "`one` was given up");
}

#[tokio::test]
async fn an_object_larger_than_the_grant_lets_through_ends_that_follower_alone() {
    let world = World::new().with(&["a"]);
    let spec = all_maps().replace("limits: {", "limits: {responseBytes: 5000, ");
    let mut narrow = world.follow_as(&world.gate(&spec), Some("demo"), &[]).unwrap().unwrap();
    let mut wide = world.follow();
    narrow.until("synced").await;
    wide.until("synced").await;
    let large = "x".repeat(10_000);
    world.set("b", &large);
    wide.until(&format!("+b={}", super::short(&large))).await;
    assert!(matches!(narrow.ended().await, WatchError::TooLarge(5000)));
    assert!(matches!(narrow.0.get(Some("demo"), "b"), Err(WatchError::TooLarge(5000))));
}
