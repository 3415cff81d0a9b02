//! Server-side apply: the owners of fields, and conflicts.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::access::bind;
use crate::client::Reply;
use crate::stage::{SOMEBODY, Stage, deployment, play, told};

/// Applies `object` as `manager`. `more` is added to the query.
async fn apply(stage: &Stage, manager: &str, target: &str, more: &str, object: Value) -> Result<Reply> {
    stage.patch("apply-patch+yaml", &format!("{target}?fieldManager={manager}{more}"), object).await
}

async fn applied(stage: &Stage, manager: &str, target: &str, object: Value) -> Result<Value> {
    let reply = apply(stage, manager, target, "", object).await?;
    ensure!(reply.status.is_success(), "{manager}: {} {:?}", reply.status, reply.body);
    Ok(reply.json())
}

fn map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": data})
}

/// Returns `MANAGER OPERATION` of each entry, sorted.
fn managers(value: &Value) -> Vec<String> {
    let entries = value["metadata"]["managedFields"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut all: Vec<String> =
        entries.map(|entry| format!("{} {}", text(&entry["manager"]), text(&entry["operation"]))).collect();
    all.sort();
    all
}

#[tokio::test]
async fn fields_belong_to_who_applied_them_until_somebody_takes_them_by_force() -> Result<()> {
    play(async |stage| {
        let target = format!("{}/m", stage.maps());
        let made = apply(stage, "one", &target, "", map(json!({"a": "1", "b": "1"}))).await?;
        ensure!(made.status == 201 && managers(&made.json()) == ["one Apply"], "{:?}", made.body);
        let again = applied(stage, "one", &target, map(json!({"a": "1", "b": "1"}))).await?;
        ensure!(again["metadata"]["resourceVersion"] == made.json()["metadata"]["resourceVersion"], "{again}");

        let (refused, status) = told(&apply(stage, "two", &target, "", map(json!({"a": "2"}))).await?)?;
        ensure!(refused == "409 Conflict", "{status}");
        let cause = &status["details"]["causes"][0];
        ensure!(cause["reason"] == "FieldManagerConflict" && cause["field"] == ".data.a", "{status}");
        ensure!(status["message"] == "Apply failed with 1 conflict: conflict with \"one\": .data.a", "{status}");

        let forced = apply(stage, "two", &target, "&force=true", map(json!({"a": "2"}))).await?.json();
        ensure!(forced["data"] == json!({"a": "2", "b": "1"}), "{forced}");
        ensure!(managers(&forced) == ["one Apply", "two Apply"], "{forced}");
        let (refused, _) = told(&apply(stage, "one", &target, "", map(json!({"a": "1", "b": "1"}))).await?)?;
        ensure!(refused == "409 Conflict", "one got it back without force");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_is_no_longer_applied_goes_unless_it_is_somebodys_too() -> Result<()> {
    play(async |stage| {
        let target = format!("{}/m", stage.maps());
        applied(stage, "one", &target, map(json!({"own": "1", "shared": "1"}))).await?;
        let both = applied(stage, "two", &target, map(json!({"shared": "1"}))).await?;
        ensure!(managers(&both) == ["one Apply", "two Apply"], "{both}");
        let left = applied(stage, "one", &target, map(json!({}))).await?;
        ensure!(left["data"] == json!({"shared": "1"}), "{left}");
        let gone = applied(stage, "two", &target, map(json!({}))).await?;
        ensure!(gone.get("data").is_none_or(|data| data.as_object().is_some_and(serde_json::Map::is_empty)), "{gone}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_update_takes_what_it_changes() -> Result<()> {
    play(async |stage| {
        let target = format!("{}/m", stage.maps());
        applied(stage, "one", &target, map(json!({"a": "1", "b": "1"}))).await?;
        let updated = stage.done("PATCH", &target, json!({"data": {"a": "2"}})).await?;
        ensure!(managers(&updated) == ["one Apply".to_owned(), format!("{SOMEBODY} Update")], "{updated}");
        let (refused, status) = told(&apply(stage, "one", &target, "", map(json!({"a": "1", "b": "1"}))).await?)?;
        let message = status["message"].as_str().unwrap_or_default();
        let start = format!("Apply failed with 1 conflict: conflict with \"{SOMEBODY}\" using v1");
        ensure!(refused == "409 Conflict" && message.starts_with(&start) && message.ends_with(": .data.a"), "{status}");
        // A manager with the same value becomes an owner too. A manager that drops a field leaves it to the other.
        applied(stage, "one", &target, map(json!({"a": "2", "b": "1"}))).await?;
        let left = applied(stage, "one", &target, map(json!({"b": "1"}))).await?;
        ensure!(left["data"] == json!({"a": "2", "b": "1"}), "{left}");
        let removed = stage.done("PATCH", &target, json!({"data": {"a": null}})).await?;
        ensure!(managers(&removed) == ["one Apply"], "{removed}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn items_of_lists_belong_to_managers_by_their_keys() -> Result<()> {
    play(async |stage| {
        let target = format!("{}/web", stage.group("apps/v1", "deployments"));
        applied(stage, "one", &target, deployment("web", &["main"])).await?;
        let own = |env: Value| {
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"template": {
                "spec": {"containers": [{"name": "main", "env": env}]}}}})
        };
        let env = |value: &Value| value["spec"]["template"]["spec"]["containers"][0]["env"].clone();
        let value =
            applied(stage, "two", &target, own(json!([{"name": "A", "value": "1"}, {"name": "B", "value": "1"}])))
                .await?;
        ensure!(env(&value).as_array().is_some_and(|env| env.len() == 2), "{value}");
        let value = applied(stage, "one", &target, deployment("web", &["main", "side"])).await?;
        ensure!(env(&value).as_array().is_some_and(|env| env.len() == 2), "{value}");
        let value = applied(stage, "two", &target, own(json!([{"name": "B", "value": "2"}]))).await?;
        ensure!(env(&value) == json!([{"name": "B", "value": "2"}]), "{value}");
        let value = applied(stage, "one", &target, deployment("web", &["main"])).await?;
        let names = value["spec"]["template"]["spec"]["containers"].as_array().map(Vec::len);
        ensure!(names == Some(1) && env(&value) == json!([{"name": "B", "value": "2"}]), "{value}");
        let (refused, status) =
            told(&apply(stage, "three", &target, "", own(json!([{"name": "B", "value": "3"}]))).await?)?;
        let field = "field\":\".spec.template.spec.containers[name=\\\"main\\\"].env[name=\\\"B\\\"].value";
        ensure!(refused == "409 Conflict" && status.to_string().contains(field), "{status}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_status_is_applied_at_its_own_path() -> Result<()> {
    play(async |stage| {
        let target = format!("{}/web", stage.group("apps/v1", "deployments"));
        applied(stage, "one", &target, deployment("web", &["main"])).await?;
        let status = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "status": {"conditions": [{"type": "Suite", "status": "True"}]}});
        let value = applied(stage, "teller", &format!("{target}/status"), status).await?;
        let entries = value["metadata"]["managedFields"].as_array().into_iter().flatten();
        let mine = entries.into_iter().find(|entry| entry["manager"] == "teller");
        ensure!(mine.is_some_and(|entry| entry["subresource"] == "status"), "{value}");
        ensure!(value["status"]["conditions"].to_string().contains("Suite"), "{value}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_cannot_be_applied_is_refused_and_a_dry_run_stores_nothing() -> Result<()> {
    play(async |stage| {
        let target = format!("{}/m", stage.maps());
        let nobody = stage.patch("apply-patch+yaml", &target, map(json!({}))).await?;
        ensure!(told(&nobody)?.0 == "422 Invalid", "{:?}", nobody.body);
        let mut owned = map(json!({}));
        owned["metadata"]["managedFields"] = json!([{"manager": "x"}]);
        ensure!(apply(stage, "one", &target, "", owned).await?.status == 400);
        let mut other = map(json!({}));
        other["metadata"]["name"] = "other".into();
        ensure!(apply(stage, "one", &target, "", other).await?.status == 400);
        let dry = apply(stage, "one", &target, "&dryRun=All", map(json!({"a": "1"}))).await?;
        ensure!(dry.status.is_success() && dry.json()["data"]["a"] == "1", "{:?}", dry.body);
        ensure!(stage.ask("GET", &target, Value::Null).await?.status == 404);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_is_not_there_is_made_for_those_only_who_may_create_it() -> Result<()> {
    play(async |stage| {
        let token = stage.account("ext").await?;
        let rule = |verb: &str, names: Value| {
            json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": [verb], "resourceNames": names})
        };
        bind(stage, "ext", json!([rule("patch", json!([])), rule("create", json!(["mine"]))])).await?;
        let apply = async |name: &str| {
            let target = format!("{}/{name}?fieldManager=ext", stage.maps());
            let mut object = map(json!({"a": "1"}));
            object["metadata"]["name"] = name.into();
            let media = "application/apply-patch+yaml";
            stage.client.ask_as(&token, "PATCH", &target, media, object.to_string()).await
        };
        stage.until(201, async || Ok(apply("mine").await?.status.as_u16())).await?;
        let (refused, status) = told(&apply("m").await?)?;
        let message = status["message"].as_str().unwrap_or_default();
        ensure!(refused == "403 Forbidden" && message.starts_with("configmaps \"m\" is forbidden"), "{status}");
        // What is there may be applied to.
        stage.done("POST", &stage.maps(), map(json!({"b": "1"}))).await?;
        let reply = apply("m").await?;
        ensure!(reply.status == 200 && reply.json()["data"] == json!({"a": "1", "b": "1"}), "{:?}", reply.body);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_is_applied_is_yaml_which_json_is_nearly() -> Result<()> {
    play(async |stage| {
        let target = format!("{}/m?fieldManager=one", stage.maps());
        let with = |text: &str| {
            format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"m"}},"data":{{"a":"{text}"}}}}"#)
        };
        let apply = async |body: &str| stage.patch_with("apply-patch+yaml", &target, body).await;
        for text in [r"\ud83d\ude00", "\u{7f}", "\u{9f}", "\u{fffe}"] {
            let refused = apply(&with(text)).await?;
            ensure!(told(&refused)?.0 == "400 BadRequest", "{text:?}: {:?}", refused.body);
        }
        let stored = apply(&with("😀\\u007f\\u0085\\u2028\\ufeff")).await?.json();
        ensure!(stored["data"]["a"] == "😀\u{7f}\u{85}\u{2028}\u{feff}", "{stored}");
        let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata:\n  a: b\n";
        ensure!(apply(yaml).await?.json()["data"]["a"] == "b");
        Ok(())
    })
    .await
}
