//! Decisions of the server: addresses, missing owners, bindings, the store of events, options.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::stage::{Stage, deployment, map, play};

/// Returns the fields of the causes of a refusal.
fn fields(status: &Value) -> Vec<&str> {
    let causes = status["details"]["causes"].as_array().into_iter().flatten();
    causes.filter_map(|cause| cause["field"].as_str()).collect()
}

#[tokio::test]
async fn a_service_keeps_its_address_while_it_has_one() -> Result<()> {
    play(async |stage| {
        let services = stage.core("services");
        let service = |more: Value| {
            let mut service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}});
            more.as_object().into_iter().flatten().for_each(|(name, value)| service["spec"][name] = value.clone());
            service
        };
        let (refused, status) = stage.refused("POST", &services, service(json!({"clusterIP": "1.2.3"}))).await?;
        ensure!(refused == "422 Invalid" && fields(&status) == ["spec.clusterIPs[0]"], "{status}");
        let (_, status) = stage.refused("POST", &services, service(json!({"ports": []}))).await?;
        ensure!(fields(&status) == ["spec.ports"], "{status}");

        let made = stage.done("POST", &services, service(json!({}))).await?;
        let target = format!("{services}/s");
        for address in ["10.96.7.7", "None"] {
            let patch = json!({"spec": {"clusterIP": address}});
            let (refused, status) = stage.refused("PATCH", &target, patch).await?;
            ensure!(refused == "422 Invalid" && fields(&status) == ["spec.clusterIPs[0]"], "{status}");
        }
        let kept = stage.done("PUT", &target, service(json!({"ports": [{"port": 81}]}))).await?;
        ensure!(kept["spec"]["clusterIP"] == made["spec"]["clusterIP"], "{kept}");
        let name = json!({"spec": {"type": "ExternalName", "externalName": "a.example"}});
        let named = stage.done("PATCH", &target, name).await?;
        ensure!(named["spec"].get("clusterIP").is_none() && named["spec"].get("ipFamilies").is_none(), "{named}");
        let open = stage.done("PATCH", &target, json!({"spec": {"type": "NodePort", "externalName": null}})).await?;
        ensure!(open["spec"]["ports"][0]["nodePort"].is_i64() && open["spec"]["clusterIP"].is_string(), "{open}");
        let shut = stage.done("PATCH", &target, json!({"spec": {"type": "ClusterIP"}})).await?;
        ensure!(shut["spec"]["ports"][0].get("nodePort").is_none(), "{shut}");
        ensure!(shut["spec"]["clusterIP"] == open["spec"]["clusterIP"], "{shut}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_belongs_to_an_owner_that_never_was_is_collected() -> Result<()> {
    play(async |stage| {
        let child = |name: &str, owner: Value| {
            let mut child = map(name, json!({}));
            child["metadata"]["ownerReferences"] = json!([owner]);
            child
        };
        let never = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "never", "uid": "0f0f0f0f-0000-4000-8000-000000000000"});
        stage.done("POST", &stage.maps(), child("child", never)).await?;
        let unknown = json!({"apiVersion": "no.example/v1", "kind": "Thing", "name": "never", "uid": "x"});
        stage.done("POST", &stage.maps(), child("other", unknown)).await?;
        let code = async |name: &str| {
            Ok::<_, anyhow::Error>(stage.ask("GET", &format!("{}/{name}", stage.maps()), Value::Null).await?.status.as_u16())
        };
        stage.until(404, async || code("child").await).await?;
        ensure!(code("other").await? == 200, "nobody knows whether an owner of an unknown type is there");
        let nameless = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "never", "uid": ""});
        let (refused, status) = stage.refused("POST", &stage.maps(), child("bad", nameless)).await?;
        ensure!(refused == "422 Invalid" && fields(&status) == ["metadata.ownerReferences.uid"], "{status}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_bound_pod_is_scheduled() -> Result<()> {
    play(async |stage| {
        let account = format!("{}/default", stage.core("serviceaccounts"));
        stage.until(true, async || Ok(stage.ask("GET", &account, Value::Null).await?.status.is_success())).await?;
        let pods = stage.core("pods");
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "x"}]}});
        let made = stage.done("POST", &pods, pod).await?;
        let binding = |target: Value| json!({"metadata": {"name": "p"}, "target": target});
        let bind = format!("{pods}/p/binding");
        ensure!(stage.refused("POST", &bind, binding(json!({}))).await?.0 == "500 ");
        stage.done("POST", &bind, binding(json!({"kind": "Node", "name": "n1"}))).await?;
        let bound = stage.list(&format!("{pods}/p")).await?;
        let condition = &bound["status"]["conditions"][0];
        ensure!(condition["type"] == "PodScheduled" && condition["status"] == "True", "{bound}");
        ensure!(bound["spec"]["nodeName"] == "n1", "{bound}");
        ensure!(
            bound["metadata"]["managedFields"] == made["metadata"]["managedFields"],
            "a binding is nobody's: {bound}"
        );
        let (refused, _) = stage.refused("POST", &bind, binding(json!({"kind": "Node", "name": "n2"}))).await?;
        ensure!(refused == "409 Conflict", "{refused}");
        stage.done("DELETE", &format!("{pods}/p?gracePeriodSeconds=0"), Value::Null).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn events_of_both_groups_are_the_same_events() -> Result<()> {
    play(async |stage| {
        let (old, new) = (stage.core("events"), stage.group("events.k8s.io/v1", "events"));
        let about = json!({"kind": "Pod", "name": "p", "namespace": stage.namespace});
        let event = json!({"metadata": {"name": "e"}, "involvedObject": about, "reason": "R", "message": "m", "type": "Normal",
            "firstTimestamp": "2026-01-02T03:04:05Z", "count": 3, "source": {"component": "c"}});
        let made = stage.done("POST", &old, event).await?;
        ensure!(made.get("eventTime") == Some(&Value::Null) && made["reportingComponent"] == "", "{made}");
        let seen = stage.list(&format!("{new}/e")).await?;
        ensure!(seen["apiVersion"] == "events.k8s.io/v1" && seen["note"] == "m" && seen["regarding"] == about, "{seen}");
        ensure!(seen["deprecatedCount"] == 3 && seen["deprecatedSource"]["component"] == "c", "{seen}");
        ensure!(seen.get("message").is_none() && seen["metadata"]["uid"] == made["metadata"]["uid"], "{seen}");

        let event = json!({"metadata": {"name": "f"}, "regarding": about, "reason": "S", "note": "n", "type": "Warning", "action": "A",
            "eventTime": "2026-01-02T03:04:05.000006Z", "reportingController": "a.example/c", "reportingInstance": "i"});
        stage.done("POST", &new, event).await?;
        let seen = stage.list(&format!("{old}/f")).await?;
        ensure!(seen["message"] == "n" && seen["involvedObject"] == about && seen["source"] == json!({}), "{seen}");
        ensure!(seen["reportingComponent"] == "a.example/c", "{seen}");

        let named = async |target: String| {
            let list = stage.list(&target).await?;
            let items = list["items"].as_array().into_iter().flatten();
            Ok::<Vec<Value>, anyhow::Error>(items.map(|item| item["metadata"]["name"].clone()).collect())
        };
        ensure!(named(new.clone()).await? == ["e", "f"] && named(old.clone()).await? == ["e", "f"]);
        ensure!(named(format!("{new}?fieldSelector=regarding.name%3Dp,reason%3DS")).await? == ["f"]);
        ensure!(named(format!("{old}?fieldSelector=involvedObject.name%3Dp,reason%3DR")).await? == ["e"]);
        let (refused, _) = stage.refused("GET", &format!("{new}?fieldSelector=involvedObject.name%3Dp"), Value::Null).await?;
        ensure!(refused == "400 BadRequest", "{refused}");
        stage.done("DELETE", &format!("{new}/e"), Value::Null).await?;
        ensure!(stage.refused("GET", &format!("{old}/e"), Value::Null).await?.0 == "404 NotFound");
        Ok(())
    })
    .await
}

async fn refused_deletion(stage: &Stage, more: &str, options: Value) -> Result<(String, Value)> {
    stage.refused("DELETE", &format!("{}{more}", stage.maps()), options).await
}

#[tokio::test]
async fn options_that_do_not_exist_are_refused() -> Result<()> {
    play(async |stage| {
        stage.done("POST", &stage.maps(), map("m", json!({}))).await?;
        for (more, options) in [
            ("/m?propagationPolicy=Bogus", Value::Null),
            ("/m", json!({"propagationPolicy": "Bogus"})),
            ("/m", json!({"propagationPolicy": "Orphan", "orphanDependents": true})),
            ("?propagationPolicy=Bogus", Value::Null),
        ] {
            let (refused, status) = refused_deletion(stage, more, options).await?;
            ensure!(refused == "422 Invalid" && fields(&status) == ["propagationPolicy"], "{more}: {status}");
        }
        let (refused, status) = refused_deletion(stage, "/m?dryRun=Some", Value::Null).await?;
        ensure!(refused == "422 Invalid" && fields(&status) == ["dryRun"], "{status}");
        ensure!(refused_deletion(stage, "/m?gracePeriodSeconds=x", Value::Null).await?.0 == "400 BadRequest");
        ensure!(refused_deletion(stage, "/m", json!({"gracePeriodSeconds": "x"})).await?.0 == "400 BadRequest");
        let (refused, status) = refused_deletion(stage, "/m", json!({"preconditions": {"uid": "x"}})).await?;
        let message =
            "Operation cannot be fulfilled on ConfigMap \"m\": the UID in the precondition (x) does not match";
        ensure!(
            refused == "409 Conflict" && status["message"].as_str().is_some_and(|text| text.starts_with(message)),
            "{status}"
        );
        let long = format!("{}?fieldManager={}", stage.maps(), "x".repeat(129));
        let (refused, status) = stage.refused("POST", &long, map("n", json!({}))).await?;
        ensure!(refused == "422 Invalid" && fields(&status) == ["fieldManager"], "{status}");
        let dry = stage.done("DELETE", &format!("{}/m?dryRun=All", stage.maps()), Value::Null).await?;
        ensure!(dry["kind"] == "Status" && dry["status"] == "Success", "{dry}");
        stage.list(&format!("{}/m", stage.maps())).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_refusal_names_all_causes_in_their_order() -> Result<()> {
    play(async |stage| {
        let deployments = stage.group("apps/v1", "deployments");
        stage.done("POST", &deployments, deployment("d", &["main"])).await?;
        let other = json!({"spec": {"selector": {"matchLabels": {"app": "other"}}}});
        let (_, status) = stage.refused("PATCH", &format!("{deployments}/d"), other).await?;
        ensure!(fields(&status) == ["spec.template.metadata.labels", "spec.selector"], "{status}");
        let none = json!({"metadata": {"name": "x"}, "spec": {}});
        let (_, status) = stage.refused("POST", &deployments, none).await?;
        let all = ["spec.selector", "spec.template.metadata.labels", "spec.template.spec.containers"];
        ensure!(fields(&status) == all, "{status}");
        let jobs = stage.group("batch/v1", "jobs");
        let job = json!({"metadata": {"name": "j"}, "spec": {"template": {"spec": {"restartPolicy": "Always", "containers": []}}}});
        let (_, status) = stage.refused("POST", &jobs, job).await?;
        ensure!(fields(&status) == ["spec.template.spec.containers", "spec.template.spec.restartPolicy"], "{status}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_scale_without_replicas_says_nothing_of_them() -> Result<()> {
    play(async |stage| {
        let deployments = stage.group("apps/v1", "deployments");
        stage.done("POST", &deployments, deployment("d", &["main"])).await?;
        let target = format!("{deployments}/d/scale");
        let scale = stage.list(&target).await?;
        ensure!(scale["spec"] == json!({}) && scale["status"] == json!({"replicas": 0, "selector": "app=d"}), "{scale}");
        let three = json!({"metadata": {"name": "d"}, "spec": {"replicas": 3}});
        ensure!(stage.done("PUT", &target, three).await?["spec"] == json!({"replicas": 3}));
        let negative = json!({"metadata": {"name": "d"}, "spec": {"replicas": -3}});
        let (refused, status) = stage.refused("PUT", &target, negative).await?;
        ensure!(refused == "422 Invalid" && fields(&status) == ["spec.replicas"], "{status}");
        ensure!(stage.refused("PUT", &target, json!({"spec": {}})).await?.0 == "400 BadRequest");
        let four = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": 4}});
        let applied = stage.patch("apply-patch+yaml", &format!("{target}?fieldManager=q&force=true"), four).await?;
        ensure!(applied.json()["spec"] == json!({"replicas": 4}), "{:?}", applied.body);
        let object = stage.list(&format!("{deployments}/d")).await?;
        let entry = &object["metadata"]["managedFields"][0];
        ensure!(entry["manager"] == "q" && entry["subresource"] == "scale", "{object}");
        ensure!(entry["fieldsV1"] == json!({"f:spec": {"f:replicas": {}}}), "{object}");
        Ok(())
    })
    .await
}
