//! Web servers whose answers are whole: where a redirect can lead, and what a health report can hold.

use anyhow::Result;
use model::HealthPolicy;
use proto::probe::v1::FailureKind;
use tokio::io::AsyncWriteExt;

use super::stage::{Stage, head, part};
use super::web::{json, ok};

/// Lets them in.
pub(super) async fn enter(stage: &mut Stage) -> Result<()> {
    redirecting(stage).await?;
    reporting(stage).await
}

async fn redirecting(stage: &mut Stage) -> Result<()> {
    let loops = stage.answer(moved("/again")).await?;
    let too_many = "more than 5 redirects";
    stage.target("redirect loop", &format!("http://{loops}/"))?.fails(FailureKind::Redirect, too_many);
    for (name, location, detail) in [
        ("redirect to a file", "file:///etc/passwd", "redirect to `file:`, which is not followed"),
        ("redirect to nowhere", "http://", "redirect to something that is not a URL"),
        ("redirect to a script", "javascript:alert(1)", "redirect to `javascript:`, which is not followed"),
    ] {
        let server = stage.answer(moved(location)).await?;
        stage.target(name, &format!("http://{server}/"))?.fails(FailureKind::Redirect, detail);
    }
    let port = super::TRAP_PORT;
    for (name, location, address) in [
        ("redirect to metadata", format!("http://169.254.169.254:{port}/latest"), "169.254.169.254"),
        ("redirect to metadata as a number", format!("http://2852039166:{port}/"), "169.254.169.254"),
        (
            "redirect to metadata in IPv6",
            format!("http://[::ffff:169.254.169.254]:{port}/"),
            "::ffff:169.254.169.254",
        ),
        ("redirect to a private address", "http://192.168.7.7/".to_owned(), "192.168.7.7"),
        ("redirect to a private name", format!("http://trap.zoo.test:{port}/"), "169.254.169.254"),
    ] {
        let server = stage.answer(moved(&location)).await?;
        stage.target(name, &format!("http://{server}/"))?.denies(address);
    }
    stage.target("metadata itself", &format!("http://169.254.169.254:{port}/"))?.denies("169.254.169.254");
    // What would be another header is part of the path.
    let split = stage
        .serve(|mut stream| async move {
            let request = head(&mut stream).await;
            let is_whole =
                request.starts_with("GET /x%0d%0aevil:%201 HTTP/1.1\r\n") && !request.contains("\nevil");
            let answer = match request.split(' ').nth(1) {
                Some("/") => moved("/x%0d%0aevil:%201"),
                _ if is_whole => ok(""),
                _ => "HTTP/1.1 400 x\r\ncontent-length: 0\r\n\r\n".to_owned(),
            };
            let _ = stream.write_all(answer.as_bytes()).await;
            part(stream).await;
        })
        .await?;
    stage.target("header splitting", &format!("http://{split}/"))?;
    Ok(())
}

async fn reporting(stage: &mut Stage) -> Result<()> {
    let deep = |levels| format!(r#"{{"status":"ok","x":{}"#, "[".repeat(levels));
    let many = |count| {
        let components: Vec<_> =
            (0..count).map(|number| format!(r#""c{number}":{{"status":"error"}}"#)).collect();
        format!(r#"{{"status":"error",{}}}"#, components.join(","))
    };
    let long = "no health report: the body is longer than 64 KiB";
    for (name, body, detail) in [
        ("report of 10⁵ levels", deep(100_000), long),
        ("report of 10⁶ components", many(1_000_000), long),
        (
            "report as deep as is read",
            deep(60_000),
            "no health report: the body's JSON cannot be read: recursion limit exceeded at line 1 column 146",
        ),
        ("report as broad as is read", many(2_000), "health report says unhealthy"),
    ] {
        let server = stage.answer(json(&body)).await?;
        stage
            .target(name, &format!("http://{server}/"))?
            .health(HealthPolicy::Expect)
            .fails(FailureKind::Body, detail);
    }
    let server = stage.answer(json(&deep(900_000))).await?;
    let detail = r#"the body is not JSON, wanted json("$.x") == 1"#;
    stage
        .target("assertion on 900,000 levels", &format!("http://{server}/"))?
        .asserting(r#"json("$.x") == 1"#)?
        .fails(FailureKind::Body, detail);
    let disguised = "HTTP/1.1 200 OK\r\ncontent-type: image/png\r\n\r\n{\"status\":\"degraded\"}";
    let server = stage.answer(disguised).await?;
    let degraded = "health report says degraded";
    stage
        .target("report that says it is a picture", &format!("http://{server}/"))?
        .health(HealthPolicy::Strict)
        .fails(FailureKind::Body, degraded);
    Ok(())
}

fn moved(location: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n")
}
