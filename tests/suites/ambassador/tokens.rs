//! `credentials: scoped`: files as in every pod, and a token that is good here, for one extension, while it runs.

use std::path::PathBuf;
use std::time::Duration;

use attache::extension::TokenRotation;
use serde_json::json;

use crate::guest::{API, call, called, host, load, object, run};
use crate::world::World;

const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
const COLOURS: &str = "/api/v1/namespaces/demo/configmaps/colours";

/// Returns the token in the output of `cat-labels`.
fn token_in(out: &str) -> String {
    out[out.find("attache_").unwrap()..].chars().take_while(|letter| !letter.is_whitespace()).collect()
}

fn scoped() -> String {
    format!("credentials: scoped, {API}")
}

#[tokio::test]
async fn the_true_ca_and_namespace_stand_beside_a_token_of_its_own() {
    let world = World::new();
    let extension = load(host(&world), "cat-labels", &scoped()).await.unwrap();
    let (_, out) = run(&extension, &[ACCOUNT]).await;
    assert!(out.contains("BEGIN CERTIFICATE") && out.contains("demo") && out.contains("attache_"), "{out}");
    assert!(!out.contains(&world.token), "the pod's own token is in the sandbox");
}

#[tokio::test]
async fn its_token_is_taken_and_no_other() {
    let world = World::new();
    let extension = load(host(&world), "http-calls", &scoped()).await.unwrap();
    let other = load(host(&world), "cat-labels", &scoped()).await.unwrap();
    let answer = called(&extension, &["GET", "https", "kubernetes", COLOURS, "--bearer", TOKEN]).await;
    assert_eq!(answer["status"], 200, "{answer}");

    let (_, out) = run(&other, &[ACCOUNT]).await;
    let others = token_in(&out);
    for wrong in [&others, &world.token, "attache_", &"attache_0".repeat(8)] {
        let header = format!("Bearer {wrong}");
        let call = ["GET", "https", "kubernetes", COLOURS, "--header", "authorization", &header];
        let answer = called(&extension, &call).await;
        assert_eq!((&answer["status"], &object(&answer)["reason"]), (&json!(401), &json!("Unauthorized")), "{wrong}");
        assert_eq!(world.records.last()["verdict"], "unauthorized");
    }
    let records = serde_json::to_string(&world.records.all()).unwrap();
    assert!(!records.contains(&world.token) && !records.contains(&others), "a token is in the records");
}

#[tokio::test]
async fn without_scoped_credentials_no_token_is_taken() {
    let world = World::new();
    let extension = load(host(&world), "http-calls", API).await.unwrap();
    let header = format!("Bearer {}", world.token);
    let call = ["GET", "https", "kubernetes", COLOURS, "--header", "authorization", &header];
    assert_eq!(called(&extension, &call).await["status"], 401);
}

#[tokio::test]
async fn a_guest_that_reads_its_token_again_does_not_notice_the_rotation() {
    let world = World::new();
    let rotation = TokenRotation { every: Duration::from_millis(100), grace: Duration::from_millis(300) };
    let extension = load(host(&world).token_rotation(rotation), "http-calls", &scoped()).await.unwrap();
    let repeat = ["--times", "20", "--pause", "50"];
    let again = [&["GET", "https", "kubernetes", COLOURS, "--bearer", TOKEN][..], &repeat].concat();
    let answers = call(&extension, &again).await;
    assert!(answers.len() == 20 && answers.iter().all(|answer| answer["status"] == 200), "{answers:?}");
}

#[tokio::test]
async fn an_old_token_is_not_taken_from_anybody() {
    let world = World::new();
    let rotation = TokenRotation { every: Duration::from_millis(50), grace: Duration::from_millis(50) };
    let builder = host(&world).token_rotation(rotation);
    let runtime = builder.build().unwrap();
    let spec = crate::world::grant("ext", &format!("{{{}, limits: {{burst: 1000}}}}", scoped()));
    let reader = runtime.load_command_file(&attache_tests::guest("cat-labels"), spec.clone()).await.unwrap();
    // A reader that comes while the files change may find none, as in any pod, and reads again.
    let seen = async || {
        for _ in 0..100 {
            let (_, out) = run(&reader, &[ACCOUNT]).await;
            if out.contains("attache_") {
                return token_in(&out);
            }
        }
        panic!("the token cannot be read");
    };
    let first = seen().await;
    let mut tries = 0..400;
    while seen().await == first {
        assert!(tries.next().is_some(), "the token does not change");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // The reader's own later tokens are others' to a second extension, and so is its first.
    let caller = runtime.load_command_file(&attache_tests::guest("http-calls"), spec).await.unwrap();
    let header = format!("Bearer {first}");
    let call = ["GET", "https", "kubernetes", COLOURS, "--header", "authorization", &header];
    assert_eq!(called(&caller, &call).await["status"], 401);
}

#[tokio::test]
async fn the_ca_follows_the_true_one() {
    let world = World::new();
    let rotation = TokenRotation { every: Duration::from_millis(50), ..TokenRotation::default() };
    let extension = load(host(&world).token_rotation(rotation), "cat-labels", &scoped()).await.unwrap();
    let certificate = world.server.ca_pem();
    std::fs::write(world.dir.path().join("ca.crt"), format!("{certificate}# renewed\n{certificate}")).unwrap();
    let mut tries = 0..400;
    while run(&extension, &[ACCOUNT]).await.1.matches("BEGIN CERTIFICATE").count() != 2 {
        assert!(tries.next().is_some(), "the CA does not follow");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_token_lies_on_no_disk() {
    let world = World::new();
    let extension = load(host(&world), "cat-labels", &scoped()).await.unwrap();
    let token = token_in(&run(&extension, &[ACCOUNT]).await.1);
    assert!(token.starts_with("attache_"), "{token}");
    let entries = std::fs::read_dir(std::env::temp_dir()).unwrap().flatten().map(|entry| entry.path());
    let scoped = |folder: &PathBuf| {
        let read = std::fs::read_to_string(folder.join("token"));
        read.is_ok_and(|found| found.starts_with("attache_"))
    };
    assert_eq!(entries.into_iter().find(scoped), None);
}

#[tokio::test]
async fn without_the_true_volume_there_is_none() {
    let world = World::new();
    std::fs::remove_file(world.dir.path().join("namespace")).unwrap();
    let refused = load(host(&world), "cat-labels", &scoped()).await.unwrap_err();
    let told = attache::telemetry::chain(&refused).to_string();
    assert!(told.contains("no namespace at"), "{told}");
}
