//! Authorization: tokens, roles, and access reviews.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::stage::{Stage, map, play};

const RBAC: &str = "rbac.authorization.k8s.io/v1";
const REVIEWS: &str = "authorization.k8s.io/v1";

/// Lets a service account do what `rules` say.
pub(crate) async fn bind(stage: &Stage, account: &str, rules: Value) -> Result<()> {
    let role = json!({"apiVersion": RBAC, "kind": "Role", "metadata": {"name": account}, "rules": rules});
    stage.done("POST", &stage.group(RBAC, "roles"), role).await?;
    let binding = json!({"apiVersion": RBAC, "kind": "RoleBinding", "metadata": {"name": account},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": stage.namespace}]});
    stage.done("POST", &stage.group(RBAC, "rolebindings"), binding).await?;
    Ok(())
}

async fn status(stage: &Stage, token: &str, method: &str, target: &str) -> Result<u16> {
    Ok(stage.client.ask(token, method, target, &Value::Null).await?.status.as_u16())
}

#[tokio::test]
async fn roles_open_what_they_say_and_no_more() -> Result<()> {
    play(async |stage| {
        let maps = stage.maps();
        for name in ["mine", "other"] {
            stage.done("POST", &maps, map(name, json!({}))).await?;
        }
        let token = stage.account("ext").await?;
        ensure!(status(stage, &token, "GET", &format!("{maps}/mine")).await? == 403);
        let rules = json!([
            {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["mine"], "verbs": ["get", "update"]},
            {"apiGroups": ["*"], "resources": ["*/status"], "verbs": ["get"]},
        ]);
        bind(stage, "ext", rules).await?;
        let mine = format!("{maps}/mine");
        stage.until(200, async || status(stage, &token, "GET", &mine).await).await?;
        let cases = [
            ("GET", format!("{maps}/other"), 403),
            ("GET", maps.clone(), 403),
            ("GET", "/api/v1/namespaces/kube-system/configmaps/mine".to_owned(), 403),
            ("DELETE", mine.clone(), 403),
            ("GET", format!("{}/none/status", stage.group("apps/v1", "deployments")), 404),
            ("GET", format!("{}/none", stage.group("apps/v1", "deployments")), 403),
            ("GET", "/version".to_owned(), 200),
            ("GET", "/apis".to_owned(), 200),
            ("GET", "/metrics".to_owned(), 403),
        ];
        for (method, target, expected) in cases {
            let found = status(stage, &token, method, &target).await?;
            ensure!(found == expected, "{method} {target}: {found}");
        }
        stage.done("DELETE", &format!("{}/ext", stage.group(RBAC, "rolebindings")), Value::Null).await?;
        stage.until(403, async || status(stage, &token, "GET", &mine).await).await
    })
    .await
}

#[tokio::test]
async fn a_list_by_name_needs_only_the_right_to_that_name() -> Result<()> {
    play(async |stage| {
        let token = stage.account("ext").await?;
        let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["mine"], "verbs": ["list", "watch"]}]);
        bind(stage, "ext", rules).await?;
        let by_name = format!("{}?fieldSelector=metadata.name%3Dmine", stage.maps());
        stage.until(200, async || status(stage, &token, "GET", &by_name).await).await?;
        ensure!(status(stage, &token, "GET", &stage.maps()).await? == 403);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn rights_can_be_asked_for() -> Result<()> {
    play(async |stage| {
        let token = stage.account("ext").await?;
        bind(stage, "ext", json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}])).await?;
        let own = format!("/apis/{REVIEWS}/selfsubjectaccessreviews");
        let asked = |verb: &str| {
            json!({"apiVersion": REVIEWS, "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": {
                "namespace": stage.namespace, "verb": verb, "resource": "pods"}}})
        };
        let may = async |verb: &str| {
            let reply = stage.client.ask(&token, "POST", &own, &asked(verb)).await?;
            ensure!(reply.status == 201, "{:?}", reply.body);
            Ok(reply.json()["status"]["allowed"].clone())
        };
        stage.until(json!(true), async || may("get").await).await?;
        ensure!(may("delete").await? == false);

        let local = json!({"apiVersion": REVIEWS, "kind": "LocalSubjectAccessReview", "metadata": {"namespace": stage.namespace},
            "spec": {"user": format!("system:serviceaccount:{}:ext", stage.namespace), "resourceAttributes": {
                "namespace": stage.namespace, "verb": "get", "resource": "pods"}}});
        let target = stage.group(REVIEWS, "localsubjectaccessreviews");
        ensure!(stage.done("POST", &target, local.clone()).await?["status"]["allowed"] == true);
        let mut elsewhere = local;
        elsewhere["spec"]["resourceAttributes"]["namespace"] = "kube-system".into();
        let (told, _) = stage.refused("POST", &target, elsewhere).await?;
        ensure!(told.starts_with('4'), "{told}");

        let rules = json!({"apiVersion": REVIEWS, "kind": "SelfSubjectRulesReview", "spec": {"namespace": stage.namespace}});
        let target = format!("/apis/{REVIEWS}/selfsubjectrulesreviews");
        let reply = stage.client.ask(&token, "POST", &target, &rules).await?.json();
        let mine = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]});
        ensure!(reply["status"]["resourceRules"].as_array().is_some_and(|rules| rules.contains(&mine)), "{reply}");
        ensure!(reply["status"]["nonResourceRules"].is_array() && reply["status"]["incomplete"] == false, "{reply}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn tokens_are_made_for_an_audience_a_time_and_an_object() -> Result<()> {
    play(async |stage| {
        let token = stage.account("ext").await?;
        let who = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
        let who = stage.client.ask(&token, "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", &who).await?;
        let name = format!("system:serviceaccount:{}:ext", stage.namespace);
        ensure!(who.json()["status"]["userInfo"]["username"] == name.as_str(), "{:?}", who.body);
        let target = stage.core("serviceaccounts/ext/token");
        let request = |spec: Value| json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
        let other = stage.done("POST", &target, request(json!({"audiences": ["vault"], "expirationSeconds": 600}))).await?;
        let other = other["status"]["token"].as_str().context("no token")?.to_owned();
        ensure!(status(stage, &other, "GET", "/api").await? == 401, "a token for somebody else opens the API");
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": other, "audiences": ["vault"]}});
        let review = stage.done("POST", "/apis/authentication.k8s.io/v1/tokenreviews", review).await?;
        ensure!(review["status"]["authenticated"] == true && review["status"]["user"]["username"] == name.as_str(), "{review}");
        for (spec, expected) in [
            (json!({"expirationSeconds": 60}), "422 Invalid"),
            (json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "none"}}), "404 NotFound"),
        ] {
            let (told, message) = stage.refused("POST", &target, request(spec)).await?;
            ensure!(told == expected, "{told}: {message}");
        }
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}});
        stage.done("POST", &stage.core("secrets"), secret).await?;
        let bound = request(json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Secret", "name": "s"}}));
        let bound = stage.done("POST", &target, bound).await?["status"]["token"].as_str().context("no token")?.to_owned();
        ensure!(status(stage, &bound, "GET", "/api").await? == 200);
        stage.done("DELETE", &stage.core("secrets/s"), Value::Null).await?;
        stage.until(401, async || status(stage, &bound, "GET", "/api").await).await
    })
    .await
}
