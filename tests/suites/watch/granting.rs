//! The rights of followers, and stores that never show objects of one grant under another.

use std::sync::Arc;

use attache::cluster::watch::WatchError;
use attache::gate::{Channel, Gate, GateError, HostRate};

use super::{World, all_maps, grant, scope};

fn rule(verbs: &str, namespace: &str, names: &str) -> String {
    format!(
        r#"{{api: [{{apiGroups: [""], resources: [configmaps], verbs: [{verbs}], namespaces: ["{namespace}"], resourceNames: [{names}]}}]}}"#
    )
}

fn denied(result: Result<impl std::fmt::Debug, GateError>) -> String {
    match result {
        Err(GateError::Denied(reason)) => reason,
        other => panic!("expected a denial: {other:?}"),
    }
}

#[tokio::test]
async fn who_may_see_one_name_gets_that_name_whatever_others_follow() {
    let world = World::new().with(&["a", "b"]);
    world.follow().until("synced").await;
    let mut all = world.follow();
    all.until("synced").await;
    let gate = world.gate(&rule("list, watch", "demo", "a"));
    let follow = |query: &[(&str, &str)]| world.follow_as(&gate, Some("demo"), query);
    denied(follow(&[]));
    denied(follow(&[("labelSelector", "value=1")]));
    denied(follow(&[("fieldSelector", "metadata.name=b")]));
    denied(follow(&[("fieldSelector", "metadata.name!=b")]));
    let mut one = follow(&[("fieldSelector", "metadata.name=a")]).unwrap().unwrap();
    assert_eq!(one.until("synced").await, ["resync", "+a=1", "synced"]);
    world.set("b", "2");
    world.set("a", "2");
    all.until("+a=2").await;
    assert_eq!(one.until("+a=2").await, ["+a=2"]);
    assert!(one.0.get(Some("demo"), "b").unwrap().is_none());
    assert_eq!(world.cluster.watch_figures().upstreams, 2, "as RBAC has it, one name is a watch of its own");
}

#[tokio::test]
async fn both_list_and_watch_are_needed_and_the_smallest_rule_is_named() {
    let world = World::new().with(&["a"]);
    for (verbs, missing) in [("list, get", "[watch]"), ("watch", "[list]"), ("get", "[list, watch]")] {
        let reason = denied(world.follow_as(&world.gate(&rule(verbs, "demo", "")), Some("demo"), &[]));
        assert!(reason.contains(&format!("verbs: {missing}")) && reason.contains("namespaces: [demo]"), "{reason}");
    }
}

#[tokio::test]
async fn all_namespaces_are_followed_only_if_granted_as_such() {
    let world = World::new().with(&["a"]);
    let reason = denied(world.follow_as(&world.gate(&rule("list, watch", "demo", "")), None, &[]));
    assert!(reason.contains("in the whole cluster"), "{reason}");
    denied(world.follow_as(&world.gate(&rule("list, watch", "demo", "")), Some("kube-system"), &[]));
    let mut all = world.follow_as(&world.gate(&all_maps()), None, &[]).unwrap().unwrap();
    let seen = all.until("synced").await;
    assert_eq!(seen, ["resync", "+a=1", "synced"]);
    assert!(all.0.get(Some("kube-system"), "kube-root-ca.crt").unwrap().is_some());
    assert!(all.0.get(Some("demo"), "a").unwrap().is_some());
}

#[tokio::test]
async fn a_permit_is_good_for_what_it_names_and_nothing_else() {
    let world = World::new().with(&["a"]);
    let (one, all) = (
        scope("configmaps", Some("demo"), &[("fieldSelector", "metadata.name=a")]),
        scope("configmaps", Some("demo"), &[]),
    );
    let gate = world.gate(&all_maps());
    let permit = gate.admit_follower(Channel::Api, one.list(), one.watch().clone()).unwrap();
    let refused = world.cluster.follow(&all, permit).unwrap_err();
    assert!(matches!(refused, WatchError::Invalid(_)), "{refused:?}");
    assert_eq!(gate.watches(), 0);
}

#[tokio::test]
async fn watches_are_counted_apart_from_requests_and_given_back() {
    let world = World::new().with(&["a"]);
    let gate = world.gate(
        r#"{api: [{apiGroups: [""], resources: [configmaps], verbs: ["*"], namespaces: [demo]}], limits: {watches: 2, inFlight: 1}}"#,
    );
    let follow = || world.follow_as(&gate, Some("demo"), &[]);
    let (one, _two) = (follow().unwrap(), follow().unwrap());
    assert_eq!((gate.watches(), gate.in_flight()), (2, 0));
    assert!(matches!(follow(), Err(GateError::TooManyWatches { limit: 2 })));
    drop(one);
    let _three = follow().unwrap();
}

#[tokio::test]
async fn the_whole_hosts_rate_holds_for_all_extensions_together() {
    let world = World::new();
    let rate = HostRate::new(1, 3);
    let spec = r#"{api: [{apiGroups: [""], resources: [configmaps], verbs: [list], namespaces: [demo]}]}"#;
    let gate = || Gate::within(Some(rate.clone()), "one", Arc::new(grant(spec)), world.records.clone());
    let (one, two) = (gate(), gate());
    let ask = |gate: &Gate| gate.admit(Channel::Api, scope("configmaps", Some("demo"), &[]).list().clone()).map(drop);
    assert!(ask(&one).is_ok() && ask(&two).is_ok() && ask(&one).is_ok());
    assert!(matches!(ask(&two), Err(GateError::HostThrottled(wait)) if wait.as_secs() < 2));
    assert!(matches!(ask(&one), Err(GateError::HostThrottled(_))));
}
