//! The events of watches.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::stage::{map, play};

#[tokio::test]
async fn a_watch_tells_what_enters_and_leaves_its_selection() -> Result<()> {
    play(async |stage| {
        let maps = stage.maps();
        let mut watch = stage.watch(&format!("{maps}?watch=1&labelSelector=in=yes")).await?;
        stage.done("POST", &maps, map("outside", json!({}))).await?;
        stage.done("POST", &maps, map("a", json!({"in": "yes"}))).await?;
        ensure!(watch.told().await? == "ADDED a");
        stage.done("PATCH", &format!("{maps}/a"), json!({"data": {"x": "1"}})).await?;
        ensure!(watch.told().await? == "MODIFIED a");
        let left = stage.done("PATCH", &format!("{maps}/a"), json!({"metadata": {"labels": {"in": null}}})).await?;
        let event = watch.next().await?.context("no event")?;
        ensure!(event["type"] == "DELETED" && event["object"]["metadata"]["labels"]["in"] == "yes", "{event}");
        ensure!(event["object"]["metadata"]["resourceVersion"] == left["metadata"]["resourceVersion"], "{event}");
        stage.done("PATCH", &format!("{maps}/outside"), json!({"metadata": {"labels": {"in": "yes"}}})).await?;
        ensure!(watch.told().await? == "ADDED outside");
        stage.done("DELETE", &format!("{maps}/outside"), Value::Null).await?;
        ensure!(watch.told().await? == "DELETED outside");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_watch_goes_on_where_a_list_ended() -> Result<()> {
    play(async |stage| {
        let maps = stage.maps();
        stage.done("POST", &maps, map("before", json!({"own": "1"}))).await?;
        let list = stage.list(&format!("{maps}?labelSelector=own")).await?;
        let from = list["metadata"]["resourceVersion"].as_str().context("no revision")?;
        stage.done("POST", &maps, map("after", json!({"own": "1"}))).await?;
        stage.done("DELETE", &format!("{maps}/before"), Value::Null).await?;
        let mut watch =
            stage.watch(&format!("{maps}?watch=1&labelSelector=own&resourceVersion={from}&timeoutSeconds=2")).await?;
        ensure!(watch.told().await? == "ADDED after");
        ensure!(watch.told().await? == "DELETED before");
        ensure!(watch.next().await?.is_none(), "it outlives its time");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_watch_that_lists_first_says_when_it_has() -> Result<()> {
    play(async |stage| {
        let maps = stage.maps();
        stage.done("POST", &maps, map("there", json!({"own": "1"}))).await?;
        let asked = "watch=1&labelSelector=own&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan";
        let mut watch = stage.watch(&format!("{maps}?{asked}")).await?;
        ensure!(watch.told().await? == "ADDED there");
        let event = watch.next().await?.context("no event")?;
        ensure!(event["type"] == "BOOKMARK", "{event}");
        ensure!(event["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true", "{event}");
        let (told, _) = stage.refused("GET", &format!("{maps}?watch=1&sendInitialEvents=true"), Value::Null).await?;
        ensure!(told == "422 Invalid", "{told}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn one_object_is_watched_by_its_name() -> Result<()> {
    play(async |stage| {
        let maps = stage.maps();
        let mut watch = stage.watch(&format!("{maps}?watch=1&fieldSelector=metadata.name%3Dmine")).await?;
        stage.done("POST", &maps, map("other", json!({}))).await?;
        stage.done("POST", &maps, map("mine", json!({}))).await?;
        ensure!(watch.told().await? == "ADDED mine");
        Ok(())
    })
    .await
}
