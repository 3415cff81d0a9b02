//! Lists of objects that are large: the host asks for fewer, and the guest reads on.

use serde_json::{Value, json};

use super::{DEMO, Stage, config_map};

const MAPS: &str = "v1/configmaps";

/// Objects that together are more than the default limit of an answer, 8 MiB.
const MANY: usize = 40;
const LARGE: usize = 300_000;

/// The number of ConfigMaps that each namespace has besides: the bundle of the cluster's CA.
const BUNDLE: usize = 1;

fn maps(count: usize, size: usize) -> impl Iterator<Item = Value> {
    (0..count).map(move |number| config_map(&format!("map-{number:03}"), json!({"x": "x".repeat(size)})))
}

/// Returns a spec with the default limits of an answer, and enough time to read many pages.
fn roomy(more: &str) -> String {
    DEMO.replace("}]}", &format!("}}], limits: {{memory: 128Mi, deadline: 1m, cpu: 30s{more}}}}}"))
}

#[tokio::test]
async fn what_does_not_fit_into_an_answer_comes_in_more_of_them() {
    let stage = Stage::new().with(maps(MANY, LARGE));
    let (outcome, out) = stage.run("api-calls", &roomy(""), &["count", MAPS, "demo"]).await;
    assert_eq!(outcome.unwrap().code, 0, "{out}");
    let read: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(read["ok"], MANY + BUNDLE, "{out}");
    // The whole is too large, an eighth of a page is too, and from then on 7 come at a time.
    let lists = stage.lines().into_iter().filter(|line| line.verb == "list").count();
    assert_eq!(lists, 2 + (MANY + BUNDLE).div_ceil(7));
}

#[tokio::test]
async fn an_object_that_fits_into_no_answer_is_too_large_and_those_before_it_are_read() {
    let mut large = config_map("map-9", json!({}));
    large["data"]["x"] = "x".repeat(50_000).into();
    let stage = Stage::new().with(maps(9, 10).chain([large]));
    let narrow = roomy(", responseBytes: 20Ki");
    let (_, out) = stage.run("api-calls", &narrow, &["list", MAPS, "demo"]).await;
    let pages: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (last, whole) = pages.split_last().unwrap();
    assert_eq!((&last["error"], &last["limit"]), (&json!("too-large"), &json!(20 << 10)), "{last}");
    let read: usize = whole.iter().map(|page| page["ok"]["items"].as_array().unwrap().len()).sum();
    assert_eq!(read, 9 + BUNDLE);
}

#[tokio::test]
async fn asking_for_fewer_spends_the_rate_and_is_gone_on_with_after_a_wait() {
    let stage = Stage::new().with(maps(16, 2000));
    let poor = roomy(", responseBytes: 20Ki, requestsPerSecond: 1, burst: 2");
    // Pages of 500 and of 62 objects are too large, and the next request has to wait. It does not start with 500 again.
    let (_, out) = stage.run("api-calls", &poor, &["first-page", MAPS, "demo"]).await;
    let read: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&read["ok"]["items"], &read["ok"]["waits"]), (&json!(7), &json!(1)), "{out}");
}
