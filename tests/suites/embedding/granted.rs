//! The capabilities that a grant opens to a guest of an embedder's world.

use attache::extension::{Invocation, SessionSettings};
use attache::podinfo::PodInfo;
use attache::policy::Limits;
use attache_tests::pod::PodTree;

use super::{PODS, Service, answer, begin, go_on, grant, host, load_by, within, work};

/// A service-account token in form; nothing accepts it.
const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQ6YTpiIn0.c2lnbmF0dXJl";
const CA: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";

#[tokio::test]
async fn podinfo_is_mounted_and_newest_in_each_call() {
    let tree = PodTree::new().unwrap();
    let mut volume = tree.podinfo(&[("labels", "app=\"web\"")]).unwrap();
    let pod = PodInfo::builder().volume(volume.path()).build().unwrap();
    let opening = grant(&format!("{{podinfo: {{}}, api: [{PODS}]}}"));
    let extension = load_by(&host().pod_info(pod).build().unwrap(), opening).await.unwrap();
    let endless = SessionSettings::new().calls(u64::MAX);
    let mut session = extension.session_with(endless, Invocation::new(), Service::default()).await.unwrap();
    for (labels, app) in [("app=\"web\"", "web"), ("app=\"shop\"", "shop")] {
        volume.swap(&[("labels", labels)]).unwrap();
        // Follows the volume's changes, some milliseconds behind them.
        while answer(go_on(&mut session, "label app").await) != app {
            tokio::task::yield_now().await;
        }
        assert_eq!(answer(work(&extension, "label app").await), app);
        let read = "read /etc/podinfo/labels";
        assert_eq!(answer(work(&extension, read).await), labels);
        assert_eq!(answer(go_on(&mut session, read).await), labels);
    }
    assert!(work(&extension, "read /etc/passwd").await.unwrap().value.is_err());
}

#[tokio::test]
async fn scoped_credentials_are_mounted_and_the_pods_own_are_not() {
    let tree = PodTree::new().unwrap();
    let account = tree.service_account(TOKEN, CA, "demo").unwrap();
    let runtime = host().service_account(account.path()).build().unwrap();
    let opening = |rest: &str| grant(&format!("{{env: [COLOUR], api: [{PODS}]{rest}}}"));
    let extension = load_by(&runtime, opening(", credentials: scoped")).await.unwrap();
    let path = "/var/run/secrets/kubernetes.io/serviceaccount";
    let token = answer(work(&extension, &format!("read {path}/token")).await);
    assert!(token.starts_with("attache_"), "a token of this host's own: {token}");
    assert_eq!(answer(work(&extension, &format!("read {path}/namespace")).await), "demo");
    let none = load_by(&runtime, opening("")).await.unwrap();
    assert!(work(&none, &format!("read {path}/token")).await.unwrap().value.is_err());
}

#[tokio::test]
async fn no_grant_reaches_beyond_the_ceiling() {
    let mut ceiling = Limits::ceiling();
    ceiling.instances = 1;
    let runtime = host().ceiling(ceiling).build().unwrap();
    let extension = load_by(&runtime, within("{instances: 20}")).await.unwrap();
    assert_eq!(extension.grant().limits.instances, 1);
    let session = begin(&extension).await;
    assert!(work(&extension, "count").await.is_err());
    drop(session);
    assert_eq!(answer(work(&extension, "count").await), "1");
}
