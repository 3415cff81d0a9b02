//! get, list, selectors, resource versions, forms of an answer, discovery.

use anyhow::{Context as _, Result, ensure};
use http::Request;
use serde_json::{Value, json};

use crate::stage::{Stage, deployment, map, names, play};

async fn fill(stage: &Stage, count: usize) -> Result<()> {
    for number in 0..count {
        let labels = json!({"own": "yes", "even": (number % 2 == 0).to_string()});
        stage.done("POST", &stage.maps(), map(&format!("m{number:02}"), labels)).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_paged_list_shows_one_moment() -> Result<()> {
    play(async |stage| {
        fill(stage, 7).await?;
        let target = format!("{}?limit=2&labelSelector=own", stage.maps());
        let first = stage.list(&target).await?;
        stage.done("DELETE", &format!("{}/m03", stage.maps()), Value::Null).await?;
        stage.done("POST", &stage.maps(), map("m035", json!({"own": "late"}))).await?;
        let revision = first["metadata"]["resourceVersion"].clone();
        let mut all: Vec<String> = names(&first).into_iter().map(str::to_owned).collect();
        let mut page = first;
        while let Some(token) = page["metadata"]["continue"].as_str().filter(|token| !token.is_empty()) {
            page = stage.list(&format!("{target}&continue={token}")).await?;
            ensure!(page["metadata"]["resourceVersion"] == revision, "another moment: {}", page["metadata"]);
            all.extend(names(&page).into_iter().map(str::to_owned));
        }
        let expected: Vec<String> = (0..7).map(|number| format!("m{number:02}")).collect();
        ensure!(all == expected, "{all:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn selectors_of_all_operators_select() -> Result<()> {
    play(async |stage| {
        for (name, labels) in [
            ("a", json!({"tier": "front", "env": "prod"})),
            ("b", json!({"tier": "back", "env": "dev"})),
            ("c", json!({"tier": "back"})),
            ("d", json!({"other.example.com/x": ""})),
        ] {
            stage.done("POST", &stage.maps(), map(name, labels)).await?;
        }
        let table = [
            ("labelSelector=tier%3Dback", vec!["b", "c"]),
            ("labelSelector=tier%3D%3Dback,env%3Ddev", vec!["b"]),
            ("labelSelector=tier!%3Dback", vec!["a", "d"]),
            ("labelSelector=tier", vec!["a", "b", "c"]),
            ("labelSelector=!tier", vec!["d"]),
            ("labelSelector=tier+in+(front,back),env", vec!["a", "b"]),
            ("labelSelector=tier+notin+(front)", vec!["b", "c", "d"]),
            ("labelSelector=other.example.com%2Fx%3D", vec!["d"]),
            ("fieldSelector=metadata.name%3Db", vec!["b"]),
            ("fieldSelector=metadata.name!%3Db", vec!["a", "c", "d"]),
            ("fieldSelector=metadata.name%3Db&labelSelector=env%3Dprod", vec![]),
        ];
        for (selector, expected) in table {
            let list = stage.list(&format!("{}?{selector}", stage.maps())).await?;
            ensure!(names(&list) == expected, "{selector}: {:?}", names(&list));
        }
        for selector in ["labelSelector=a%3D%3D%3Db", "labelSelector=in+(", "fieldSelector=data.x%3D1"] {
            let (told, _) = stage.refused("GET", &format!("{}?{selector}", stage.maps()), Value::Null).await?;
            ensure!(told == "400 BadRequest", "{selector}: {told}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_resource_version_says_how_new_the_answer_has_to_be() -> Result<()> {
    play(async |stage| {
        let first = stage.done("POST", &stage.maps(), map("a", json!({"own": "1"}))).await?;
        let then = first["metadata"]["resourceVersion"].as_str().context("no version")?;
        stage.done("POST", &stage.maps(), map("b", json!({"own": "1"}))).await?;
        let own = format!("{}?labelSelector=own", stage.maps());
        let table = [
            (format!("{own}&resourceVersion={then}&resourceVersionMatch=Exact"), vec!["a"]),
            (format!("{own}&resourceVersion={then}&limit=5"), vec!["a"]),
            (format!("{own}&resourceVersion={then}&resourceVersionMatch=NotOlderThan"), vec!["a", "b"]),
            (format!("{own}&resourceVersion={then}"), vec!["a", "b"]),
        ];
        for (target, expected) in table {
            let list = stage.list(&target).await?;
            // What is at least so old may be newer, but need not be.
            let fits = names(&list) == expected || (expected.len() == 2 && names(&list) == ["a"]);
            ensure!(fits, "{target}: {:?}", names(&list));
        }
        stage.list(&format!("{own}&resourceVersion=0")).await?;
        stage.list(&format!("{}/a?resourceVersion=0", stage.maps())).await?;
        let refused = [
            ("resourceVersionMatch=Exact", "422 Invalid"),
            ("resourceVersionMatch=Exact&resourceVersion=0", "422 Invalid"),
            ("resourceVersionMatch=Sometimes&resourceVersion=1", "422 Invalid"),
            ("resourceVersion=99999999999&resourceVersionMatch=NotOlderThan", "504 Timeout"),
        ];
        for (query, expected) in refused {
            let (told, status) = stage.refused("GET", &format!("{}?{query}", stage.maps()), Value::Null).await?;
            ensure!(told == expected, "{query}: {told} {status}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_answer_takes_the_form_that_is_asked_for() -> Result<()> {
    play(async |stage| {
        stage.done("POST", &stage.group("apps/v1", "deployments"), deployment("web", &["main"])).await?;
        let target = format!("{}/web", stage.group("apps/v1", "deployments"));
        for (accept, kind) in [
            ("application/json", "Deployment"),
            ("application/json;as=Table;v=v1;g=meta.k8s.io", "Table"),
            ("application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", "PartialObjectMetadata"),
            ("application/json;as=Nothing;v=v1;g=meta.k8s.io,application/json", "Deployment"),
        ] {
            let answer = stage.accepting(&target, accept).await?;
            ensure!(answer.json()["kind"] == kind, "{accept}: {:?}", answer.body);
        }
        let yaml = stage.accepting(&target, "application/yaml").await?;
        ensure!(yaml.body.starts_with(b"apiVersion: apps/v1\n"), "{:?}", yaml.body);
        let list = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
        let list = stage.accepting(&stage.group("apps/v1", "deployments"), list).await?.json();
        ensure!(list["kind"] == "PartialObjectMetadataList" && names(&list) == ["web"], "{list}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn types_are_told_plainly_and_aggregated() -> Result<()> {
    play(async |stage| {
        let core = stage.list("/api/v1").await?;
        let pods = core["resources"].as_array().into_iter().flatten().find(|one| one["name"] == "pods");
        let pods = pods.context("no pods")?;
        ensure!(pods["kind"] == "Pod" && pods["namespaced"] == true && pods["shortNames"] == json!(["po"]), "{pods}");
        for group in ["apps", "batch", "rbac.authorization.k8s.io", "authorization.k8s.io", "coordination.k8s.io"] {
            ensure!(stage.list(&format!("/apis/{group}")).await?["kind"] == "APIGroup", "{group}");
        }
        let aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        for path in ["/api", "/apis"] {
            let answer = stage.accepting(path, aggregated).await?.json();
            ensure!(answer["kind"] == "APIGroupDiscoveryList", "{path}: {answer}");
        }
        Ok(())
    })
    .await
}

impl Stage {
    async fn accepting(&self, target: &str, accept: &str) -> Result<crate::client::Reply> {
        let request = self.signed(Request::builder().uri(target).header("accept", accept));
        self.client.send(request.body(bytes::Bytes::new())?, false).await
    }
}
