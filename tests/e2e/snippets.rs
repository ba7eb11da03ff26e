//! What `vigilctl heartbeat snippet` prints is pasted and run, unchanged but for the job in it, against a coordinator.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use proto::admin::v1::Heartbeat;
use support::admin::{seconds, wire_time};
use support::{Coordinator, Scratch, ctl, environment};

/// A language whose snippet can be run here: what stands for the job in it, one that succeeds and one that fails, and
/// whether what went wrong is in the last ping.
struct Language {
    name: &'static str,
    programs: &'static [&'static str],
    place: &'static str,
    succeeds: &'static str,
    fails: &'static str,
    fails_with: &'static str,
}

const LANGUAGES: [Language; 5] = [
    Language {
        name: "curl",
        programs: &["sh", "curl"],
        place: "\"$@\" >",
        succeeds: "echo worked >",
        fails: "sh -c 'echo went wrong; exit 7' >",
        fails_with: "exit:7",
    },
    Language {
        name: "python",
        programs: &["python3"],
        place: "pass  # your job",
        succeeds: "pass",
        fails: "raise OSError('went wrong')",
        fails_with: "exit:1",
    },
    Language {
        name: "node",
        programs: &["node"],
        place: "// your job",
        succeeds: "",
        fails: "throw new Error('went wrong');",
        fails_with: "exit:1",
    },
    Language {
        name: "php",
        programs: &["php"],
        place: "// your job",
        succeeds: "",
        fails: "throw new Exception('went wrong');",
        fails_with: "exit:1",
    },
    Language {
        name: "ruby",
        programs: &["ruby"],
        place: "# your job",
        succeeds: "",
        fails: "raise 'went wrong'",
        fails_with: "exit:1",
    },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snippets_tell_how_a_job_began_and_ended() -> Result<()> {
    let coordinator = Coordinator::start().await?;
    for language in LANGUAGES {
        let missing = language.programs.iter().find(|program| environment::tool(program, &[]).is_none());
        if let Some(program) = missing {
            environment::skip(
                &format!("snippets: {}", language.name),
                &format!("{program} is not installed"),
            )?;
            continue;
        }
        tells(&coordinator, &language).await.with_context(|| format!("the snippet for {}", language.name))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_snippet_for_apscheduler_tells_too() -> Result<()> {
    let Some(python) = environment::python() else {
        return environment::skip(
            "the_snippet_for_apscheduler_tells_too",
            "the virtual environment is missing",
        );
    };
    let coordinator = Coordinator::start().await?;
    let scratch = Scratch::new()?;
    let (heartbeat, began) = (create(&coordinator, "apscheduler").await?, wire_time(environment::now()));
    let text = ctl::done(
        &coordinator,
        &["heartbeat", "snippet", "apscheduler", "--for", "apscheduler", "--url", &heartbeat.ping_url],
    )?;
    // At once instead of at three in the morning, and the program ends after the job.
    let text = text
        .replace(r#""cron", hour=3"#, "misfire_grace_time=None")
        .replace("asyncio.Event().wait()", "asyncio.sleep(3)")
        .replace("pass  # your job", "raise OSError('went wrong')");
    let script = scratch.write("job.py", text)?;
    let output = Command::new(python).arg(script).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let pings = coordinator.admin()?.pings(&heartbeat.id, began).await?;
    let kinds: Vec<&str> = pings.iter().map(|ping| ping.kind.as_str()).collect();
    assert_eq!(kinds, ["fail", "start"], "{}", String::from_utf8_lossy(&output.stderr));
    ensure!(String::from_utf8_lossy(&pings[0].body).contains("went wrong"), "{pings:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_wrapped_is_told_of_by_a_real_coordinator() -> Result<()> {
    let coordinator = Coordinator::start().await?;
    let (heartbeat, began) = (create(&coordinator, "wrapped").await?, wire_time(environment::now()));
    let output = Command::new(environment::binary("vigilctl")?)
        .args(["heartbeat", "run", "--", "sh", "-c", "seq 1 100000; echo went wrong >&2; exit 9"])
        .env("VIGILMON_PING_URL", &heartbeat.ping_url)
        .stdin(Stdio::null())
        .output()?;
    assert_eq!(output.status.code(), Some(9));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "went wrong\n");
    ensure!(output.stdout.len() == 588_895, "{} bytes came through", output.stdout.len());
    let pings = coordinator.admin()?.pings(&heartbeat.id, began).await?;
    let kinds: Vec<&str> = pings.iter().map(|ping| ping.kind.as_str()).collect();
    assert_eq!(kinds, ["exit:9", "start"]);
    let body = String::from_utf8_lossy(&pings[0].body);
    for part in ["1\n2\n3\n", " bytes left out]\n", "went wrong\n"] {
        ensure!(body.contains(part), "{part:?} is missing: {body}");
    }
    // One run, because the start and the end had one id.
    let runs = ctl::done(&coordinator, &["heartbeat", "runs", "wrapped", "-o", "json"])?;
    let runs: serde_json::Value = serde_json::from_str(&runs)?;
    ensure!(runs.as_array().is_some_and(|runs| runs.len() == 1), "{runs}");
    assert_eq!((&runs[0]["outcome"], &runs[0]["exit_code"]), (&"failed".into(), &9.into()));
    ensure!(runs[0]["run_id"].as_str().is_some_and(|id| id.len() == 36), "{runs}");
    Ok(())
}

async fn tells(coordinator: &Coordinator, language: &Language) -> Result<()> {
    let scratch = Scratch::new()?;
    let heartbeat = create(coordinator, language.name).await?;
    let snippet = |extra: &[&str]| {
        let arguments = [&["heartbeat", "snippet", language.name, "--for", language.name], extra].concat();
        ctl::done(coordinator, &arguments)
    };
    // Once with the URL in it, once with the URL in the environment.
    let with_url = snippet(&["--url", &heartbeat.ping_url])?;
    let without_url = snippet(&[])?;
    ensure!(!without_url.contains("http://127.0.0.1"), "there is a URL that was not given");
    for (text, job, fails) in [(with_url, language.succeeds, false), (without_url, language.fails, true)] {
        ensure!(text.contains(language.place), "nothing stands for the job in {text}");
        let began = wire_time(environment::now());
        let script = scratch.write("job.mjs", text.replacen(language.place, job, 1))?;
        let output = run(language, &script, fails.then_some(heartbeat.ping_url.as_str()))?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success() != fails, "it ended with {}: {stderr}", output.status);
        let pings = coordinator.admin()?.pings(&heartbeat.id, began).await?;
        let kinds: Vec<&str> = pings.iter().map(|ping| ping.kind.as_str()).collect();
        assert_eq!(kinds, [if fails { language.fails_with } else { "exit:0" }, "start"], "{stderr}");
        let body = String::from_utf8_lossy(&pings[0].body);
        ensure!(body.contains("went wrong") == fails, "the last ping says {body:?}");
    }
    Ok(())
}

fn run(language: &Language, script: &Path, url: Option<&str>) -> Result<std::process::Output> {
    let mut command = Command::new(language.programs[0]);
    command.arg(script).stdin(Stdio::null()).env_remove("VIGILMON_PING_URL");
    if let Some(url) = url {
        command.env("VIGILMON_PING_URL", url);
    }
    Ok(command.output()?)
}

async fn create(coordinator: &Coordinator, name: &str) -> Result<Heartbeat> {
    let heartbeat = Heartbeat { name: name.to_owned(), interval: seconds(3_600), ..Heartbeat::default() };
    coordinator.admin()?.create_heartbeat(heartbeat).await
}
