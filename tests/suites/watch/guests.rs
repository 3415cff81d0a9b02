//! Watches of real guests.

use serde_json::{Value, json};

use super::{World, all_maps, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_is_told_what_there_is_and_what_happens() {
    let world = World::new().with(&["a", "b"]);
    let runtime = world.runtime();
    let mut first = world.follow();
    first.until("synced").await;
    let (outcome, lines) = run(&runtime, &all_maps(), &["events", "v1/configmaps", "demo", "-", "-", "5"]).await;
    assert_eq!(outcome.unwrap().code, 0, "{lines:?}");
    let applied = |name: &str| json!({"applied": name, "kind": "ConfigMap"});
    let (begin, end) = (json!({"resync": null}), json!({"synced": null}));
    assert_eq!(lines, [begin, applied("a"), applied("b"), applied("kube-root-ca.crt"), end]);
    let spec = all_maps();
    let guest = run(&runtime, &spec, &["picture", "v1/configmaps", "demo", "-", "-", "zz"]);
    let change = async {
        // It is the third to follow.
        world.records.wait_for(|records| records.follows() == 3).await;
        world.set("a", "2");
        world.delete("b").await;
        world.set("zz", "1");
    };
    let ((outcome, lines), ()) = tokio::join!(guest, change);
    assert_eq!(outcome.unwrap().code, 0, "{lines:?}");
    assert_eq!(lines[0]["ok"]["values"], json!({"a": "2", "kube-root-ca.crt": null, "zz": "1"}));
    assert_eq!(world.records.hosts("watch", "begun"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_reads_the_hosts_copy_without_asking_the_server() {
    let world = World::new().with(&["a", "b", "c"]);
    let (outcome, lines) =
        run(&world.runtime(), &all_maps(), &["copy", "v1/configmaps", "demo", "b", "a", "none"]).await;
    assert_eq!(outcome.unwrap().code, 0, "{lines:?}");
    assert_eq!(lines[0]["ok"]["data"]["value"], "1");
    assert_eq!((&lines[1]["ok"]["metadata"]["name"], &lines[1]["ok"]["kind"]), (&json!("a"), &json!("ConfigMap")));
    assert_eq!((&lines[2]["case"], &lines[2]["code"]), (&json!("NotFound"), &json!(404)));
    assert_eq!(lines[3]["ok"], json!([["a", "b"], ["c", "kube-root-ca.crt"]]));
    let asked = world.records.lines.lock().unwrap().iter().filter(|line| line.verb == "get").count();
    assert_eq!(asked, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_names_the_namespace_where_it_follows_all() {
    let world = World::new().with(&["a"]);
    let (_, lines) = run(&world.runtime(), &all_maps(), &["copy", "v1/configmaps", "-", "demo/a", "a"]).await;
    assert_eq!(lines[0]["ok"]["metadata"]["namespace"], "demo");
    assert_eq!(lines[1]["case"], "NotFound");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_sleeps_is_told_to_start_over_and_ends_with_the_last_state() {
    let world = World::new().with(&["a"]);
    let runtime = world.runtime();
    let mut quick = world.follow();
    quick.until("synced").await;
    let spec = all_maps();
    let guest = run(&runtime, &spec, &["slow", "v1/configmaps", "demo", "3000", "end"]);
    let change = async {
        world.records.wait_for(|records| records.follows() == 2).await;
        for number in 0..30 {
            world.set("a", &format!("{number}{}", "x".repeat(200_000)));
        }
        world.set("a", "last");
        world.set("end", "1");
        quick.until("+end=1").await;
    };
    let ((outcome, lines), ()) = tokio::join!(guest, change);
    assert_eq!(outcome.unwrap().code, 0, "{lines:?}");
    let picture = &lines.last().unwrap()["ok"];
    assert_eq!((&picture["values"]["a"], &picture["values"]["end"]), (&json!("last"), &json!("1")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guests_of_one_extension_share_its_watches_and_are_told_of_the_limit() {
    let world = World::new().with(&["a"]);
    let spec = r#"{api: [{apiGroups: [""], resources: [configmaps], verbs: [list, watch], namespaces: [demo]}], limits: {watches: 2}}"#;
    let (_, lines) = run(&world.runtime(), spec, &["open", "v1/configmaps", "demo", "3"]).await;
    let ok = json!({"ok": null});
    assert_eq!(lines[..2], [ok.clone(), ok]);
    assert_eq!(lines[2]["error"], "denied");
    assert!(lines[2]["message"].as_str().unwrap().contains("limits.watches"), "{lines:?}");
    world.wait_for_no_upstream().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_is_refused_what_it_is_not_granted_and_told_the_servers_reason_otherwise() {
    let world = World::new().with(&["a"]);
    let call = async |spec: &str, words: &[&str]| -> Value {
        let (outcome, mut lines) = run(&world.runtime(), spec, words).await;
        assert_eq!(outcome.unwrap().code, 0, "{lines:?}");
        lines.pop().unwrap()
    };
    let one = r#"{api: [{apiGroups: [""], resources: [configmaps], verbs: [list, watch], namespaces: [demo], resourceNames: [a]}]}"#;
    let refused = call(one, &["events", "v1/configmaps", "demo", "-", "-", "1"]).await;
    assert_eq!(refused["error"], "denied");
    let told = call(one, &["events", "v1/configmaps", "demo", "-", "metadata.name=a", "3"]).await;
    assert_eq!(told, json!({"synced": null}));
    let all = all_maps().replace("[configmaps]", r#"["*"]"#);
    let forbidden = call(&all, &["events", "v1/pods", "demo", "-", "-", "1"]).await;
    assert_eq!((&forbidden["error"], &forbidden["code"]), (&json!("refused"), &json!(403)));
    let invalid = call(&all, &["events", "v1/configmaps", "demo", "-", "metadata.name", "1"]).await;
    assert_eq!(invalid["error"], "invalid");
    let bad = call(&all, &["events", "v1/configmaps", "demo", "a in", "-", "1"]).await;
    assert_eq!((&bad["error"], &bad["code"]), (&json!("refused"), &json!(400)));
}
