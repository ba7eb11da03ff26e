//! Chat and paging providers: each is asked as its own API wants it, when an incident opens and when it ends.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use support::ctl::done;
use support::site::Request;
use support::{Answer, Coordinator, SOON, Scratch, Site, eventually, http};
use url::form_urlencoded;

/// An answer that every provider's words can be found in.
const TAKEN: &str = r#"{"ok":true,"status":1,"result":"success","success":true,"event_id":"$1"}"#;

/// A kind of channel, and what has to be told apart in what it sends.
struct Kind {
    name: &'static str,
    /// `{}` stands for the receiver.
    settings: &'static [&'static str],
    method: &'static str,
    /// Path and query of the first message; in the second, of an incident's end, where it is another.
    path: &'static str,
    end_path: Option<&'static str>,
    /// A header that authenticates.
    header: Option<(&'static str, &'static str)>,
    /// Where in the JSON, or which field of the form, the first message stands.
    message: &'static str,
}

const KINDS: [Kind; 14] = [
    Kind { path: "/slack", message: "/blocks/0/text/text", ..posted("slack", &["url={}/slack"]) },
    Kind { path: "/discord?wait=true", message: "/embeds/0/title", ..posted("discord", &["url={}/discord"]) },
    Kind {
        path: "/teams?sig=hush",
        message: "/attachments/0/content/body/0/inlines/0/text",
        ..posted("teams", &["url={}/teams?sig=hush"])
    },
    Kind {
        path: "/mattermost",
        message: "/attachments/0/title",
        ..posted("mattermost", &["url={}/mattermost"])
    },
    Kind { path: "/rocketchat", message: "/text", ..posted("rocketchat", &["url={}/rocketchat"]) },
    Kind {
        path: "/google?key=hush&messageReplyOption=REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD",
        message: "/text",
        ..posted("google_chat", &["url={}/google?key=hush"])
    },
    Kind {
        path: "/zulip/api/v1/messages",
        header: Some(("authorization", "Basic Ym90QGV4YW1wbGUuY29tOmh1c2g=")),
        message: "content",
        ..posted("zulip", &["server={}/zulip", "email=bot@example.com", "api_key=hush", "channel=ops"])
    },
    Kind {
        method: "PUT",
        path: "/matrix/_matrix/client/v3/rooms/!room:example.com/send/m.room.message/",
        header: Some(("authorization", "Bearer hush")),
        message: "/body",
        ..posted("matrix", &["server={}/matrix", "room_id=!room:example.com", "token=hush"])
    },
    Kind {
        path: "/telegram/bot12345:hush/sendMessage",
        message: "/text",
        ..posted("telegram", &["api_url={}/telegram", "token=12345:hush", "chat_id=-10012345"])
    },
    Kind {
        path: "/ntfy",
        header: Some(("authorization", "Bearer tk_hush")),
        message: "/title",
        ..posted("ntfy", &["server={}/ntfy", "topic=hush", "token=tk_hush"])
    },
    Kind {
        path: "/gotify/message",
        header: Some(("x-gotify-key", "hush")),
        message: "/title",
        ..posted("gotify", &["server={}/gotify", "token=hush"])
    },
    Kind {
        path: "/pushover/1/messages.json",
        message: "title",
        ..posted(
            "pushover",
            &[
                "api_url={}/pushover",
                "token=hushhushhushhushhushhushhush30",
                "user=hushhushhushhushhushhushhush31",
            ],
        )
    },
    Kind {
        path: "/pagerduty/v2/enqueue",
        message: "/payload/summary",
        ..posted("pagerduty", &["api_url={}/pagerduty", "routing_key=hushhushhushhushhushhushhushhush"])
    },
    Kind {
        path: "/opsgenie/v2/alerts",
        end_path: Some("/opsgenie/v2/alerts/{incident}/close?identifierType=alias"),
        header: Some(("authorization", "GenieKey hush")),
        message: "/message",
        ..posted("opsgenie", &["api_url={}/opsgenie", "api_key=hush"])
    },
];

const fn posted(name: &'static str, settings: &'static [&'static str]) -> Kind {
    Kind { name, settings, method: "POST", path: "", end_path: None, header: None, message: "" }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_provider_is_told_of_an_incident_and_of_its_end_as_its_api_wants_it() -> Result<()> {
    let coordinator = Coordinator::start().await?;
    let receiver = Site::start(Answer::Json(200, TAKEN.to_owned())).await?;
    for kind in &KINDS {
        create(&coordinator, kind, &receiver)?;
    }
    let mut heartbeat = vec!["heartbeat", "create", "nightly_cleanup", "--interval", "25h"];
    heartbeat.extend(KINDS.iter().flat_map(|kind| ["--channel", kind.name]));
    let ping = done(&coordinator, &heartbeat)?;

    for (end, action) in ["", "/fail", ""].into_iter().enumerate() {
        ensure!(http::get(&format!("{ping}{action}")).await?.status == 200);
        let told = end * KINDS.len();
        eventually("every provider was told", SOON, async || {
            Ok((receiver.requests().len() >= told).then_some(()))
        })
        .await?;
    }

    let requests = receiver.requests();
    ensure!(requests.len() == 2 * KINDS.len(), "{} requests", requests.len());
    let incident = incident(&requests)?;
    for kind in &KINDS {
        let told: Vec<_> =
            requests.iter().filter(|request| request.path.starts_with(&first_segment(kind))).collect();
        ensure!(told.len() == 2, "{} requests of {}", told.len(), kind.name);
        as_wanted(kind, kind.path, told[0]).with_context(|| format!("the opening in {}", kind.name))?;
        let end_path = kind.end_path.unwrap_or(kind.path).replace("{incident}", &incident);
        as_wanted(kind, &end_path, told[1]).with_context(|| format!("the end in {}", kind.name))?;
        let message = field(told[0], kind.message)?;
        ensure!(
            message.contains("FAILED") && message.contains("nightly_cleanup"),
            "{}: {message}",
            kind.name
        );
        ensure!(told[0].header("webhook-id") != told[1].header("webhook-id"), "{}", kind.name);
    }
    Ok(())
}

/// Makes a channel that is named as its kind; its last secret comes from a file, and none is shown again.
fn create(coordinator: &Coordinator, kind: &Kind, receiver: &Site) -> Result<()> {
    let scratch = Scratch::new()?;
    let mut settings: Vec<_> =
        kind.settings.iter().map(|setting| setting.replace("{}", &receiver.url(""))).collect();
    if let Some((name, value)) = settings.last().cloned().as_deref().and_then(|last| last.split_once('=')) {
        let file = scratch.join("setting");
        std::fs::write(&file, value)?;
        let last = settings.len() - 1;
        settings[last] = format!("{name}=@{}", file.display());
    }
    let mut arguments = vec!["channel", "create", kind.name, kind.name];
    arguments.extend(settings.iter().flat_map(|setting| ["--set", setting.as_str()]));
    done(coordinator, &arguments)?;
    let shown = done(coordinator, &["channel", "get", kind.name, "-o", "json"])?;
    ensure!(!shown.contains("hush"), "{}: a secret is shown: {shown}", kind.name);
    Ok(())
}

fn as_wanted(kind: &Kind, path: &str, request: &Request) -> Result<()> {
    ensure!(request.method == kind.method, "method {}", request.method);
    let is_path = if kind.method == "PUT" {
        // What follows is the transaction.
        request.path == format!("{path}{}", request.header("webhook-id"))
    } else {
        request.path == path
    };
    ensure!(is_path, "path {}", request.path);
    if let Some((name, value)) = kind.header {
        ensure!(request.header(name) == value, "{name}: {}", request.header(name));
    }
    let content_type =
        if kind.message.starts_with('/') { "application/json" } else { "application/x-www-form-urlencoded" };
    ensure!(request.header("content-type") == content_type, "{}", request.header("content-type"));
    Ok(())
}

/// A text at a pointer into the JSON, or a field of the form.
fn field(request: &Request, name: &str) -> Result<String> {
    if name.starts_with('/') {
        let body = request.json()?;
        return Ok(body.pointer(name).and_then(Value::as_str).context("there is no such text")?.to_owned());
    }
    let form: BTreeMap<String, String> = form_urlencoded::parse(&request.body).into_owned().collect();
    form.get(name).cloned().context("there is no such field")
}

/// The key under which PagerDuty was told, which is the incident's id.
fn incident(requests: &[Request]) -> Result<String> {
    let paged =
        requests.iter().find(|request| request.path.starts_with("/pagerduty")).context("PagerDuty")?;
    field(paged, "/dedup_key")
}

fn first_segment(kind: &Kind) -> String {
    let path = kind.path.trim_start_matches('/');
    format!("/{}", path.split(['/', '?']).next().unwrap_or_default())
}
