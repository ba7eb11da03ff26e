//! Channels meet the software that they are for: a mail server, Alertmanager, receivers with the official libraries.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use proto::admin::v1::Heartbeat;
use support::admin::seconds;
use support::alertmanager::{self, Alertmanager};
use support::certificate::Authority;
use support::ctl::{ctl, done};
use support::exim::{self, Exim, PASSWORD, USERNAME};
use support::{Answer, Coordinator, Options, SOON, Scratch, Site, environment, eventually, http, webhook};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mails_of_an_incident_arrive_whole_and_as_one_thread() -> Result<()> {
    let Some(program) = exim::installed() else {
        return environment::skip("channels: mail", "exim4 is not installed, or this is not root");
    };
    let Some(python) = environment::python() else {
        return environment::skip("channels: mail", "no virtual environment");
    };
    let (scratch, authority) = (Scratch::new()?, Authority::new()?);
    let server = Exim::start(&program, &authority).await?;
    let coordinator = trusting(&authority.write(&scratch)?).await?;
    let password = scratch.write("password", PASSWORD)?;
    let create = |name: &str, to: &str, more: &[&str]| {
        let (port, password) = (format!("port={}", server.port), format!("password=@{}", password.display()));
        let (username, to) = (format!("username={USERNAME}"), format!("to={to}"));
        let from = "from=Vigilmon ✓ <alerts@example.com>";
        let mut line = vec!["channel", "create", "email", name, "--set", "host=127.0.0.1", "--set", from];
        for setting in [&port, &username, &password, &to] {
            line.extend(["--set", setting.as_str()]);
        }
        line.extend(more);
        done(&coordinator, &line)
    };
    create("mail", "ops@example.com, Chef Müller <chef@example.com>", &[])?;
    let arrived = async |count: usize| {
        let what = format!("{count} mails arrived, one for each recipient");
        eventually(&what, SOON, async || server.mails().map(|mails| (mails.len() == count).then_some(())))
            .await
    };
    let job = begin(&coordinator, "nightly ✓", "mail").await?;
    http::get(&format!("{}/fail", job.ping_url)).await?;
    arrived(2).await?;
    http::get(&job.ping_url).await?;
    arrived(4).await?;
    let (tls, port) = ("tls=tls", format!("port={}", server.tls_port));
    done(&coordinator, &["channel", "edit", "mail", "--set", tls, "--set", &port])?;
    let sent = done(&coordinator, &["channel", "test", "mail", "--sample", "missed"])?;
    ensure!(sent.contains("250 OK"), "{sent}");
    arrived(6).await?;
    for mail in server.mails()? {
        check_mail(&python, &mail)?;
    }
    let read = |name: &str| -> Result<Vec<String>> {
        let mut values = vec![];
        for mail in &server.mails()?[..4] {
            let text = std::fs::read_to_string(mail)?;
            let value = text.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
            values.push(value.with_context(|| format!("no {name} in {text}"))?.to_owned());
        }
        values.sort();
        values.dedup();
        Ok(values)
    };
    ensure!(read("References")?.len() == 1, "an incident is one thread");
    ensure!(read("Message-ID")?.len() == 2, "each delivery has one id, for all its recipients");

    create("nobody", "nobody@example.com", &[])?;
    let refused = ctl(&coordinator, &["channel", "test", "nobody"])?;
    ensure!(refused.code == 1 && refused.stderr.contains("550 no such user here"), "{refused:?}");
    done(&coordinator, &["channel", "edit", "nobody", "--set", "password=wrong"])?;
    let refused = ctl(&coordinator, &["channel", "test", "nobody"])?;
    ensure!(refused.code == 1 && refused.stderr.contains("535 the login was refused"), "{refused:?}");
    let shown = done(&coordinator, &["channel", "get", "nobody", "-o", "json"])?;
    ensure!(!shown.contains("wrong") && shown.contains(r#""password": "…""#), "{shown}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alertmanager_takes_an_incident_for_an_alert_until_it_is_resolved() -> Result<()> {
    let Some(program) = alertmanager::installed() else {
        return environment::skip("channels: alertmanager", "prometheus-alertmanager is not installed");
    };
    let alertmanager = Alertmanager::start(&program).await?;
    let coordinator = Coordinator::start().await?;
    let url = alertmanager.url("");
    done(
        &coordinator,
        &["channel", "create", "alertmanager", "am", "--url", &url, "--set", "labels=team=payments"],
    )?;
    done(&coordinator, &["channel", "test", "am"])?;
    let [alert] = &alertmanager.alerts().await?[..] else { anyhow::bail!("not one alert") };
    assert_eq!(alert["labels"]["alertname"], "MonitorDown");
    assert_eq!(alert["labels"]["team"], "payments");
    assert_eq!(alert["status"]["state"], "active");
    ensure!(alert["annotations"]["summary"].as_str().is_some_and(|it| it.contains("TEST")), "{alert}");
    done(&coordinator, &["channel", "test", "am", "--sample", "recovered"])?;
    none_fires(&alertmanager).await?;

    let job = begin(&coordinator, "backup", "am").await?;
    http::get(&format!("{}/fail", job.ping_url)).await?;
    eventually("the alert fired", SOON, async || {
        let alerts = alertmanager.alerts().await?;
        Ok(alerts.iter().any(|it| it["labels"]["alertname"] == "HeartbeatFailed").then_some(()))
    })
    .await?;
    http::get(&job.ping_url).await?;
    none_fires(&alertmanager).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn official_libraries_verify_before_during_and_after_a_rotation() -> Result<()> {
    let Some(python) = environment::python() else {
        return environment::skip("channels: signatures", "no virtual environment with standardwebhooks");
    };
    let Some((node, modules)) = environment::node() else {
        return environment::skip("channels: signatures", "no node with standardwebhooks");
    };
    let (scratch, receiver) = (Scratch::new()?, Site::start(Answer::Status(200)).await?);
    let coordinator = Coordinator::start().await?;
    let url = receiver.url("/hook?key=hush");
    let header = "headers=Authorization: Bearer hush";
    let first = done(&coordinator, &["channel", "create", "webhook", "ops", "--url", &url, "--set", header])?;
    let tested = async || {
        done(&coordinator, &["channel", "test", "ops"])?;
        receiver.requests().pop().context("nothing came")
    };
    let verify = |secret: &str, request: &support::site::Request| {
        webhook::verify(&python, secret, request)?;
        webhook::verify_in_javascript(&node, &modules, secret, request)
    };
    let request = tested().await?;
    verify(&first, &request)?;
    assert_eq!(request.header("authorization"), "Bearer hush");
    ensure!(!request.text().contains("hush"), "{}", request.text());

    let second = done(&coordinator, &["channel", "rotate", "ops"])?;
    let request = tested().await?;
    verify(&first, &request)?;
    verify(&second, &request)?;

    let third = done(&coordinator, &["channel", "rotate", "ops", "--now"])?;
    let request = tested().await?;
    verify(&third, &request)?;
    for dropped in [&first, &second] {
        ensure!(webhook::verify(&python, dropped, &request).is_err(), "a dropped secret still signs");
        ensure!(webhook::verify_in_javascript(&node, &modules, dropped, &request).is_err(), "it still signs");
    }

    done(&coordinator, &["channel", "edit", "ops", "--set", "signature=ed25519"])?;
    let public = done(&coordinator, &["channel", "rotate", "ops"])?;
    let request = tested().await?;
    verify(&third, &request)?;
    webhook::verify_pair(&scratch, &public, &request)?;
    let mut tampered = request;
    tampered.body.push(b' ');
    ensure!(webhook::verify_pair(&scratch, &public, &tampered).is_err(), "what was tampered with verifies");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_words_are_checked_when_they_are_saved_and_cannot_break_out() -> Result<()> {
    let receiver = Site::start(Answer::Status(200)).await?;
    let coordinator = Coordinator::start().await?;
    let url = receiver.url("/");
    let create = ["channel", "create", "slack", "chat", "--url", &url, "--set"];
    let refused = ctl(&coordinator, &[&create[..], &["text={{monitor.nmae}}"]].concat())?;
    ensure!(refused.code == 2 && refused.stderr.contains("monitor.name"), "{refused:?}");
    let text = r#"text=<!channel> "quoted" {{monitor.name}} is {{status}}"#;
    done(&coordinator, &[&create[..], &[text]].concat())?;
    done(&coordinator, &["channel", "test", "chat"])?;
    let body = receiver.requests().pop().context("nothing came")?.json()?;
    let said = body["blocks"][1]["text"]["text"].as_str().context("a section")?;
    assert_eq!(said, r#"&lt;!channel&gt; "quoted" TEST of a monitor is 503 Service Unavailable"#);
    Ok(())
}

async fn trusting(authority: &Path) -> Result<Coordinator> {
    let arguments = vec!["--receiver-ca-file".to_owned(), authority.display().to_string()];
    Coordinator::start_with(Options { arguments, ..Options::default() }).await
}

/// A job that has pinged once.
async fn begin(coordinator: &Coordinator, name: &str, channel: &str) -> Result<Heartbeat> {
    let (name, channels) = (name.to_owned(), vec![channel.to_owned()]);
    let job = Heartbeat { name, channels, interval: seconds(3_600), ..Heartbeat::default() };
    let job = coordinator.admin()?.create_heartbeat(job).await?;
    http::get(&job.ping_url).await?;
    Ok(job)
}

async fn none_fires(alertmanager: &Alertmanager) -> Result<()> {
    eventually("the alert was resolved", SOON, async || {
        Ok(alertmanager.alerts().await?.is_empty().then_some(()))
    })
    .await
}

/// What Python's parser makes of a mail: no defect, each header that may stand there once, both parts with the same words.
fn check_mail(python: &Path, mail: &Path) -> Result<()> {
    const PROGRAM: &str = "
import email, email.policy, email.utils, sys
raw = open(sys.argv[1], 'rb').read()
mail = email.message_from_bytes(raw, policy=email.policy.default.clone(raise_on_defect=True))
for part in mail.walk():
    assert not part.defects, part.defects
    for name, value in part.items():
        assert not getattr(value, 'defects', ()), (name, value.defects)
for name in ['Date', 'From', 'To', 'Subject', 'Message-ID', 'References', 'In-Reply-To', 'MIME-Version', 'Auto-Submitted']:
    assert len(mail.get_all(name)) == 1, name
assert email.utils.parsedate_to_datetime(mail['Date']).tzinfo is not None
assert mail['From'].addresses[0].display_name == 'Vigilmon ✓', mail['From']
assert mail['Message-ID'].startswith('<dlv_') and mail['Message-ID'].endswith('@example.com>'), mail['Message-ID']
assert mail['Auto-Submitted'] == 'auto-generated'
assert mail.get_content_type() == 'multipart/alternative'
kinds = [part.get_content_type() for part in mail.iter_parts()]
assert kinds == ['text/plain', 'text/html'], kinds
text, html = [part.get_content() for part in mail.iter_parts()]
assert text.splitlines()[0] == mail['Subject'], (text, mail['Subject'])
assert mail['Subject'] in html and '<script' not in html
assert max(len(line) for line in raw.splitlines()) <= 998 and raw.isascii()
";
    let output = Command::new(python).args(["-c", PROGRAM]).arg(mail).output()?;
    let text = std::fs::read_to_string(mail)?;
    ensure!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
