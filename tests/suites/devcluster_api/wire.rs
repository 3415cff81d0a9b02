//! Answers as they are on the wire: their text, and HTTP/2.

use anyhow::{Result, ensure};
use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};

use crate::client::Reply;
use crate::stage::{Stage, map, play};

#[tokio::test]
async fn a_status_is_written_in_one_order_and_ends_its_line() -> Result<()> {
    play(async |stage| {
        let text = async |method: &str, target: String, body: Value| -> Result<String> {
            let reply = stage.ask(method, &target, body).await?;
            Ok(String::from_utf8_lossy(&reply.body).into_owned())
        };
        let start = |message: &str, reason: &str| {
            let message = Value::from(message);
            format!(
                r#"{{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Failure","message":{message},"reason":"{reason}","details":"#
            )
        };
        let missing = text("GET", format!("{}/m", stage.maps()), Value::Null).await?;
        let expected = start("configmaps \"m\" not found", "NotFound") + r#"{"name":"m","kind":"configmaps"},"code":404}"#;
        ensure!(missing == expected + "\n", "{missing}");
        let deployments = stage.group("apps/v1", "deployments");
        let missing = text("GET", format!("{deployments}/d"), Value::Null).await?;
        ensure!(missing.ends_with("\"details\":{\"name\":\"d\",\"group\":\"apps\",\"kind\":\"deployments\"},\"code\":404}\n"), "{missing}");
        let invalid = text("POST", stage.maps(), map("M", json!({}))).await?;
        ensure!(invalid.contains("\"details\":{\"name\":\"M\",\"kind\":\"ConfigMap\",\"causes\":[{\"reason\":\"FieldValueInvalid\",\"message\":"), "{invalid}");
        ensure!(text("POST", stage.maps(), map("m", json!({}))).await?.ends_with("}\n"));
        ensure!(text("GET", stage.maps(), Value::Null).await?.ends_with("]}\n"));
        let deleted = text("DELETE", format!("{}/m", stage.maps()), Value::Null).await?;
        ensure!(deleted.contains("\"details\":{\"name\":\"m\",\"kind\":\"configmaps\",\"uid\":") && deleted.ends_with("}}\n"), "{deleted}");
        let future = text("GET", format!("{}?resourceVersion=99999999", stage.maps()), Value::Null).await?;
        ensure!(future.contains("\"message\":\"Timeout: Too large resource version: 99999999, current: "), "{future}");
        Ok(())
    })
    .await
}

async fn over_http2(stage: &Stage, method: &str, target: &str, body: &str) -> Result<Reply> {
    let request = Request::builder().method(method).uri(target).header("content-type", "application/json");
    stage.client.send(stage.signed(request).body(Bytes::from(body.to_owned()))?, true).await
}

#[tokio::test]
async fn over_http2_a_refused_request_with_a_body_is_answered() -> Result<()> {
    play(async |stage| {
        // More than a stream takes before its reader reads.
        let body = format!("{{\"a\": \"{}\"}}", "x".repeat(200_000));
        for (method, target, code) in [
            ("POST", stage.core("nothing"), 404),
            ("POST", format!("{}/m", stage.maps()), 405),
            ("POST", "/nowhere".to_owned(), 404),
            ("PUT", "/version".to_owned(), 405),
            ("POST", stage.maps(), 400),
        ] {
            let body = if code == 400 { "{" } else { &body };
            let reply = over_http2(stage, method, &target, body).await?;
            ensure!(reply.status == code, "{method} {target}: {} {:?}", reply.status, reply.body);
            ensure!(!reply.body.is_empty(), "{method} {target} is answered without words");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn head_is_answered_by_a_head_alone() -> Result<()> {
    play(async |stage| {
        for (target, code) in [
            (stage.maps(), 405),
            ("/version".to_owned(), 405),
            ("/api".to_owned(), 405),
            ("/healthz".to_owned(), 200),
            ("/apis".to_owned(), 200),
            ("/nowhere".to_owned(), 404),
        ] {
            for http2 in [false, true] {
                let request = stage.signed(Request::builder().method("HEAD").uri(&target)).body(Bytes::new())?;
                let reply = stage.client.send(request, http2).await?;
                ensure!(
                    reply.status == code && reply.body.is_empty(),
                    "HEAD {target}: {} {:?}",
                    reply.status,
                    reply.body
                );
            }
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_version_that_is_no_number_is_the_servers_trouble_but_in_a_list() -> Result<()> {
    play(async |stage| {
        stage.done("POST", &stage.maps(), map("m", json!({}))).await?;
        let one = format!("{}/m", stage.maps());
        for text in ["x", "-1"] {
            let code =
                async |target: String| Ok::<_, anyhow::Error>(stage.refused("GET", &target, Value::Null).await?.0);
            ensure!(code(format!("{one}?resourceVersion={text}")).await? == "500 ");
            ensure!(code(format!("{}?resourceVersion={text}", stage.maps())).await? == "400 BadRequest");
            ensure!(code(format!("{}?watch=1&resourceVersion={text}", stage.maps())).await? == "500 ");
            let patch = json!({"metadata": {"resourceVersion": text}});
            ensure!(stage.refused("PATCH", &one, patch).await?.0 == "500 ");
        }
        ensure!(stage.refused("PATCH", &one, json!({"metadata": {"resourceVersion": "5"}})).await?.0 == "409 Conflict");
        let mut numbered = map("n", json!({}));
        numbered["metadata"]["resourceVersion"] = "5".into();
        ensure!(stage.refused("POST", &stage.maps(), numbered).await?.0 == "500 ");
        Ok(())
    })
    .await
}
