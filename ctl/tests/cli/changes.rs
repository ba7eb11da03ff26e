//! What commands that change something ask for, and what they leave on stdout.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use model::Timestamp;

use crate::fake::Fake;
use crate::{command, finish, vigilctl};

fn fake() -> Fake {
    Fake::at(Timestamp::from_secs(1_795_316_645))
}

/// Runs a command that succeeds; returns stdout and the last request.
#[track_caller]
fn change(args: &[&str]) -> (String, String) {
    let fake = fake();
    let run = vigilctl(&fake.url(), args);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(!run.stderr.is_empty(), "people are told what was done");
    (run.stdout, fake.seen().pop().unwrap())
}

#[test]
fn heartbeat_create_prints_the_ping_url_alone() {
    let (stdout, request) =
        change(&["heartbeat", "create", "nightly", "--interval", "25h", "--channel", "a", "b"]);
    assert_eq!(stdout, "http://127.0.0.1:8080/api/heartbeat/t0ken\n");
    assert!(request.contains("seconds: 90000,"), "{request}");
    assert!(request.contains("grace: None") && request.contains(r#"channels: ["a", "b"]"#), "{request}");
}

#[test]
fn heartbeat_key_create_and_badge_print_their_address_alone() {
    let (stdout, request) = change(&["heartbeat", "key", "create", "jobs"]);
    assert_eq!(stdout, "http://127.0.0.1:8080/ping/p1ngk3y/\n");
    assert!(request.contains(r#"name: "jobs""#), "{request}");
    for (noun, id) in [("heartbeat", "hb_0192d3b4a7c87f3e8a1b2c3d4e5f6073"), ("monitor", "mon_")] {
        let (stdout, request) = change(&[noun, "badge", "x"]);
        assert_eq!(stdout, "http://127.0.0.1:8080/badge/b4dge.svg\n");
        assert!(request.contains(id), "the name is looked up among {noun}s: {request}");
        let (stdout, request) = change(&[noun, "badge", "x", "--revoke"]);
        assert!(stdout.is_empty() && request.contains("DeleteBadgeRequest"), "{request}");
    }
    let (_, request) = change(&["heartbeat", "key", "delete", "jobs"]);
    assert!(request.contains(r#"DeletePingKeyRequest { id: "jobs" }"#), "{request}");
}

#[test]
fn how_pings_are_read_is_said_and_taken_back() {
    let args = ["heartbeat", "create", "n", "--interval", "1h", "--slug", "s", "--post-only"];
    let words = ["--fail-word", "ERROR, fatal", "--fail-word", "panic", "--without-words", "fail"];
    let (_, request) = change(&[&args[..], &words].concat());
    assert!(request.contains(r#"slug: "s", post_only: true"#), "{request}");
    assert!(request.contains(r#"fail: ["ERROR, fatal", "panic"]"#), "{request}");
    assert!(request.contains(r#"otherwise: "fail""#), "{request}");
    let (_, request) = change(&["heartbeat", "edit", "n", "--post-only=false", "--clear-words"]);
    assert!(request.contains(r#"paths: ["keywords", "post_only"]"#), "{request}");
    assert!(request.contains("keywords: None"), "{request}");
}

#[test]
fn agent_create_prints_the_token_alone() {
    let (stdout, request) = change(&["agent", "create", "probe-1", "--region", "us-east"]);
    assert_eq!(stdout, "vat_t0ken\n");
    assert!(request.contains(r#"name: "probe-1", region: "us-east""#), "{request}");
}

#[test]
fn agent_create_join_prints_the_join_token_alone() {
    let fake = fake();
    let args = ["agent", "create", "probe-1", "--region", "us-east", "--join", "--valid-for", "1h"];
    let run = finish(&mut command(&fake.url(), &args), "");
    assert_eq!((run.code, run.stdout.as_str()), (0, "vjt_t0ken\n"), "{}", run.stderr);
    assert!(
        run.stderr.contains("vigilmon-agent join TOKEN") && !run.stderr.contains("t0ken"),
        "{}",
        run.stderr
    );
    let request = fake.seen().pop().unwrap();
    assert!(request.contains("seconds: 3600"), "{request}");
    let args = ["agent", "create", "probe-1", "--region", "us-east", "--valid-for", "1h"];
    assert_eq!(finish(&mut command(&fake.url(), &args), "").code, 2, "only with --join");
}

#[test]
fn page_create_prints_the_public_url_alone() {
    let args = ["page", "create", "Acme API Status", "--heartbeat", "h", "--monitor", "a", "--monitor", "b"];
    let (stdout, request) = change(&args);
    assert_eq!(stdout, "http://127.0.0.1:8080/status/acme-api-status\n");
    assert!(request.contains(r#"components: ["a", "b", "h"]"#), "{request}");
}

#[test]
fn channel_create_prints_the_signing_secret_of_a_webhook_and_else_the_id() {
    let (stdout, _) = change(&["channel", "create", "webhook", "ops", "--url", "https://example.com/hook"]);
    assert_eq!(stdout, "whsec_c2VjcmV0\n");
    let (stdout, request) =
        change(&["channel", "create", "slack", "ops", "--url", "https://hooks.slack.com/x"]);
    assert_eq!(stdout, "chn_0192d3b4a7c87f3e8a1b2c3d4e5f6076\n");
    assert!(request.contains(r#"kind_name: "slack""#), "{request}");
}

#[test]
fn a_channel_s_url_can_come_from_stdin() {
    let fake = fake();
    let mut command = command(&fake.url(), &["channel", "create", "discord", "ops", "--url", "-"]);
    let run = finish(&mut command, "https://discord.com/api/webhooks/1/secret\n");
    assert_eq!(run.code, 0, "{}", run.stderr);
    let request = fake.seen().pop().unwrap();
    assert!(request.contains(r#"url: "https://discord.com/api/webhooks/1/secret""#), "{request}");
}

#[test]
fn channel_rotate_prints_the_new_secret_alone() {
    let (stdout, request) = change(&["channel", "rotate", "ops", "--now"]);
    assert_eq!(stdout, "whsec_bmV3\n");
    assert!(request.contains("drop_previous: true"), "{request}");
}

#[test]
fn a_test_that_does_not_arrive_is_a_negative_answer_with_the_provider_s_words() {
    let fake = fake();
    let run = vigilctl(&fake.url(), &["channel", "test", "lost", "--sample", "recovered"]);
    assert_eq!(run.code, 1);
    assert!(run.stdout.contains("no_service") && run.stderr.contains("404 Not Found"), "{}", run.stdout);
    assert!(fake.seen().pop().unwrap().contains("sample: Recovered"));
}

#[test]
fn settings_come_from_the_command_line_stdin_or_a_file() {
    let fake = fake();
    let file = std::env::temp_dir().join(format!("vigilctl-setting-{}", std::process::id()));
    std::fs::write(&file, "from a file\n").unwrap();
    let from_file = format!("key=@{}", file.display());
    let args =
        ["channel", "create", "telegram", "chat", "--set", "chat_id=@@ops", "--set", "token=-", "--set"];
    let run = finish(&mut command(&fake.url(), &[&args[..], &[&from_file]].concat()), "from stdin\n");
    std::fs::remove_file(&file).unwrap();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let request = fake.seen().pop().unwrap();
    let settings = r#"settings: {"chat_id": "@ops", "key": "from a file", "token": "from stdin"}"#;
    assert!(request.contains(settings), "{request}");
    let (_, request) = change(&["channel", "edit", "ops", "--set", "a=b=c", "--unset", "d"]);
    assert!(request.contains(r#"paths: ["settings"]"#), "{request}");
    assert!(request.contains(r#"settings: {"a": "b=c", "d": ""}"#), "{request}");
}

#[test]
fn creations_in_json_hold_the_whole_answer() {
    let (stdout, _) = change(&["agent", "create", "probe-1", "--region", "us-east", "-o", "json"]);
    assert!(
        stdout.contains(r#""token": "vat_t0ken""#) && stdout.contains(r#""name": "probe-1""#),
        "{stdout}"
    );
    let (stdout, _) = change(&["heartbeat", "create", "n", "--interval", "25h", "-o", "json"]);
    assert!(stdout.contains(r#""ping_url": "http"#) && stdout.contains(r#""interval": "25h""#), "{stdout}");
}

#[test]
fn monitor_create_sends_exactly_what_was_given() {
    let args = "monitor create https://example.com --name web --interval 5m --timeout 10s --regions a,b --quorum all \
                --channel ops --method PUT --expect-status 200,204 --confirmation-period 30s --recovery-checks 3";
    let mut args: Vec<&str> = args.split_whitespace().collect();
    args.extend(["--header", "X-Key: a:b", "--failures", "3", "--passes", "2", "--recovery-period", "5m"]);
    args.extend(["--latency-limit", "2s", "--depends-on", "db, main", "--depends-on", "dns"]);
    args.extend(["--health", "strict"]);
    let (stdout, request) = change(&args);
    assert_eq!(stdout, "mon_0192d3b4a7c87f3e8a1b2c3d4e5f6071\n");
    insta::assert_snapshot!("monitor_create_request", request);
}

#[test]
fn a_region_that_cannot_make_the_check_is_warned_of() {
    let fake = fake();
    for verb in [&["create", "icmp://a.example"][..], &["edit", "web", "--interval", "30s"]] {
        let run = vigilctl(&fake.url(), &[&["monitor"], verb].concat());
        assert_eq!(run.code, 0, "{}", run.stderr);
        let warning = "warning: ap-south cannot check it: probe-2 has no IPv6 route to the target";
        assert!(run.stderr.lines().any(|line| line == warning), "{}", run.stderr);
    }
}

#[test]
fn monitor_edit_changes_the_given_fields_under_the_etag_it_read() {
    let fake = fake();
    let args =
        ["monitor", "edit", "web", "--interval", "30s", "--clear", "channels,headers", "--url", "tcp://a:1"];
    let run = vigilctl(&fake.url(), &args);
    assert_eq!((run.code, run.stdout.as_str()), (0, ""), "{}", run.stderr);
    let [get, update] = fake.seen().try_into().unwrap();
    assert!(get.contains(r#"GetMonitorRequest { id: "web" }"#), "{get}");
    insta::assert_snapshot!("monitor_edit_request", update);
}

#[test]
fn what_a_monitor_was_told_can_be_taken_back() {
    let args = [
        "monitor",
        "edit",
        "web",
        "--health",
        "read",
        "--clear",
        "depends-on,latency-limit",
        "--passes",
        "1",
    ];
    let (_, request) = change(&args);
    let paths = r#"paths: ["success_threshold", "health", "depends_on", "latency_limit"]"#;
    assert!(request.contains(paths), "{request}");
    assert!(request.contains(r#"health: "read""#) && request.contains("latency_limit: None"), "{request}");
    assert!(request.contains("depends_on: []"), "{request}");
}

#[test]
fn heartbeat_and_channel_edit_work_alike() {
    let (_, request) = change(&["heartbeat", "edit", "nightly", "--grace", "2m", "--clear-channels"]);
    assert!(request.contains(r#"paths: ["grace", "channels"]"#) && request.contains("W/hb-1"), "{request}");
    let (_, request) = change(&["channel", "edit", "ops", "--name", "oncall"]);
    assert!(request.contains(r#"paths: ["name"]"#) && request.contains("W/chn-1"), "{request}");
}

#[test]
fn heartbeats_are_expected_by_a_calendar_and_their_runs_limited() {
    let cron = ["--cron", "0 3 * * *", "--cron", "30 12 * * 6", "--tz", "Europe/Berlin", "--early", "30s"];
    let limits = ["--start-grace", "1m", "--max-runtime", "6h", "--keep-alive", "none"];
    let (_, request) = change(&[&["heartbeat", "create", "backup"][..], &cron, &limits].concat());
    assert!(
        request.contains(r#"cron: "0 3 * * *\n30 12 * * 6""#) && request.contains("interval: None"),
        "{request}"
    );
    assert!(
        request.contains(r#"time_zone: "Europe/Berlin""#) && request.contains("seconds: 21600,"),
        "{request}"
    );
    assert!(request.contains("keep_alive: None"), "{request}");
    let (_, request) = change(&["heartbeat", "create", "timer", "--on-calendar", "Mon..Fri 08:00"]);
    assert!(request.contains(r#"on_calendar: "Mon..Fri 08:00""#), "{request}");
    // One limit is changed, the others stay.
    let (_, request) = change(&["heartbeat", "edit", "backup", "--max-runtime", "none"]);
    assert!(
        request.contains(r#"paths: ["run_limits"]"#) && request.contains("max_runtime: None"),
        "{request}"
    );
    assert!(request.contains("start_grace: Some(Duration { seconds: 60,"), "{request}");
    let hours = "mon-fri 08:00-18:00 UTC";
    let (_, request) =
        change(&["heartbeat", "edit", "nightly", "--interval", "2h", "--working-hours", hours]);
    assert!(request.contains(r#"paths: ["interval", "working_hours"]"#), "{request}");
    assert!(request.contains(&format!("working_hours: \"{hours}\"")), "{request}");
}

#[test]
fn a_snooze_is_a_window_of_maintenance_over_the_one_heartbeat() {
    let (_, request) = change(&["heartbeat", "snooze", "nightly", "--for", "2h", "--reason", "new disks"]);
    assert!(request.contains(r#"name: "snooze of nightly""#), "{request}");
    assert!(request.contains(r#"heartbeats: ["nightly"]"#) && request.contains("start: None"), "{request}");
    assert!(request.contains(r#"description: "new disks""#) && request.contains("end: Some("), "{request}");
    let (_, request) = change(&["heartbeat", "unsnooze", "nightly"]);
    assert!(request.contains(r#"id: "snooze of nightly""#), "{request}");
}

#[test]
fn maintenance_create_prints_the_id_and_sends_one_window_or_a_recurring_one() {
    let args = ["maintenance", "create", "disks", "--tag", "db,web", "--description", "New disks"];
    let start = ["--start", "2026-11-22T04:00:00+01:00"];
    let (stdout, request) = change(&[&args[..], &start, &["--duration", "2h"]].concat());
    assert_eq!(stdout, "mnt_0192d3b4a7c87f3e8a1b2c3d4e5f6080\n");
    assert!(request.contains(r#"tags: ["db", "web"]"#) && request.contains("duration: None"), "{request}");
    assert!(request.contains("start: Some(Timestamp { seconds: 1795316400,"), "{request}");
    assert!(request.contains("end: Some(Timestamp { seconds: 1795323600,"), "{request}");
    let cron = ["--cron", "0 2 * * 0", "--zone", "Europe/Berlin", "--duration", "2h"];
    let args = ["maintenance", "create", "sundays", "--all"];
    let (_, request) = change(&[&args[..], &cron].concat());
    assert!(request.contains(r#"cron: "0 2 * * 0", time_zone: "Europe/Berlin""#), "{request}");
    assert!(request.contains("all: true") && request.contains("start: None, end: None"), "{request}");
    assert!(request.contains("duration: Some(Duration { seconds: 7200,"), "{request}");
}

#[test]
fn a_duration_alone_is_that_of_the_present_kind_of_window() {
    let (_, request) = change(&["maintenance", "edit", "sundays", "--duration", "3h"]);
    assert!(request.contains(r#"paths: ["duration"]"#) && request.contains("seconds: 10800"), "{request}");
    assert!(request.contains(r#"etag: "r3""#), "{request}");
    // Of a single window it moves the end.
    let (_, request) = change(&["maintenance", "edit", "move", "--duration", "3h", "--name", "z"]);
    assert!(request.contains(r#"paths: ["end", "name"]"#), "{request}");
    assert!(request.contains("end: Some(Timestamp { seconds: 1795413875,"), "{request}");
}

#[test]
fn maintenance_needs_something_to_cover_and_a_time() {
    let fake = fake();
    for args in [
        &["--all"][..],
        &["--duration", "1h"],
        &["--all", "--tag", "db", "--duration", "1h"],
        &["--all", "--cron", "0 2 * * 0", "--end", "2h"],
        &["--all", "--cron", "0 2 * * 0"],
        &["--all", "--end", "someday"],
        &["--all", "--end", "2h", "--zone", "UTC"],
    ] {
        let run = vigilctl(&fake.url(), &[&["maintenance", "create", "x"], args].concat());
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{args:?}");
    }
    assert_eq!(fake.seen(), Vec::<String>::new());
}

#[test]
fn tags_are_set_and_cleared() {
    let (_, request) = change(&["heartbeat", "edit", "nightly", "--tag", "a", "b"]);
    assert!(request.contains(r#"paths: ["tags"]"#) && request.contains(r#"tags: ["a", "b"]"#), "{request}");
    let (_, request) = change(&["heartbeat", "edit", "nightly", "--clear-tags"]);
    assert!(request.contains(r#"paths: ["tags"]"#) && request.contains("tags: []"), "{request}");
    let (_, request) = change(&["monitor", "edit", "web", "--clear", "tags"]);
    assert!(request.contains(r#"paths: ["tags"]"#), "{request}");
    let (_, request) = change(&["monitor", "create", "https://a.example", "--tag", "db"]);
    assert!(request.contains(r#"tags: ["db"]"#), "{request}");
}

#[test]
fn pause_resume_and_delete_name_what_they_touch() {
    for (noun, verb) in [
        ("monitor", "pause"),
        ("monitor", "resume"),
        ("monitor", "delete"),
        ("heartbeat", "pause"),
        ("heartbeat", "resume"),
        ("heartbeat", "delete"),
        ("channel", "delete"),
        ("maintenance", "delete"),
        ("maintenance", "end"),
    ] {
        let (stdout, request) = change(&[noun, verb, "web"]);
        assert_eq!(stdout, "");
        let name = format!(
            "{}{}{noun_tail}Request",
            verb[..1].to_uppercase(),
            &verb[1..],
            noun_tail = capital(noun)
        );
        assert!(request.contains(&name) && request.contains(r#"id: "web""#), "{request}");
    }
}

#[test]
fn since_and_until_become_instants() {
    let fake = fake();
    let run = vigilctl(
        &fake.url(),
        &["monitor", "results", "m", "--since", "1h", "--until", "2026-11-22T03:04:05Z", "--limit", "700"],
    );
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(run.stdout.lines().count(), 701);
    let seen = fake.seen();
    assert_eq!(seen.len(), 2, "two pages");
    assert!(seen[0].contains("page_size: 500") && seen[1].contains("page_size: 200"), "{seen:?}");
    assert!(seen[0].contains("seconds: 1795316645") && seen[0].contains("since: Some"), "{seen:?}");
}

#[test]
fn the_key_comes_from_the_environment_or_a_file_and_the_file_goes_first() {
    let fake = fake();
    let file = std::env::temp_dir().join(format!("vigilctl-key-{}", std::process::id()));
    std::fs::write(&file, "vk_file\n").unwrap();
    assert_eq!(vigilctl(&fake.url(), &["region", "ls"]).code, 0);
    assert_eq!(vigilctl(&fake.url(), &["region", "ls", "--api-key-file", file.to_str().unwrap()]).code, 0);
    let without = finish(command(&fake.url(), &["region", "ls"]).env_remove("VIGILMON_API_KEY"), "");
    std::fs::remove_file(&file).unwrap();
    assert_eq!(without.code, 0);
    let keys: Vec<String> =
        fake.seen().iter().map(|line| line.split("List").next().unwrap().trim().to_owned()).collect();
    assert_eq!(keys, ["Bearer vk_test", "Bearer vk_file", ""]);
}

#[test]
fn watch_shows_the_list_again_and_waits_for_a_coordinator_that_is_away() {
    let fake = fake();
    let mut child = command(&fake.url(), &["region", "ls", "--watch", "--no-headers"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let frames: Vec<String> = stdout.lines().take(3).map(Result::unwrap).collect();
    assert_eq!(frames, ["us-east  US-East  3  2", "", "us-east  US-East  3  2"]);
    fake.stop();
    let talk = BufReader::new(child.stderr.take().unwrap()).lines().next().unwrap().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(talk.starts_with("vigilctl: "), "{talk}");
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    let fake = fake();
    let mut child = command(&fake.url(), &["monitor", "results", "m", "--limit", "5000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}

fn capital(word: &str) -> String {
    word[..1].to_uppercase() + &word[1..]
}

#[test]
fn alerts_are_said_flag_by_flag_and_changed_as_a_whole() {
    let args =
        ["policy", "create", "payments", "--tag", "payments", "--severity", "critical", "--channel", "ops"];
    let how = [
        "--delay",
        "2m",
        "--remind-every",
        "30m",
        "--remind-backoff",
        "linear",
        "--escalate",
        "15m:phone,boss",
    ];
    let quiet = [
        "--quiet",
        "22:00-07:00",
        "--quiet-days",
        "sat,sun",
        "--quiet-zone",
        "Europe/Berlin",
        "--quiet-critical",
    ];
    let (stdout, request) = change(&[&args[..], &how, &quiet].concat());
    assert_eq!(stdout, "pol_0192d3b4a7c87f3e8a1b2c3d4e5f6090\n");
    for part in [
        r#"tags: ["payments"]"#,
        r#"severity: "critical""#,
        "delay: Some(Duration { seconds: 120,",
        "remind_every: Some(Duration { seconds: 1800,",
        r#"EscalationStep { after: Some(Duration { seconds: 900, nanos: 0 }), channels: ["phone", "boss"] }"#,
        r#"days: ["sat", "sun"], from: "22:00", to: "07:00", time_zone: "Europe/Berlin", hold_critical: true"#,
    ] {
        assert!(request.contains(part), "{part} is missing: {request}");
    }
    // What is not said stays.
    let (_, request) = change(&["heartbeat", "edit", "nightly", "--remind-every", "1h"]);
    assert!(request.contains(r#"paths: ["alert"]"#), "{request}");
    assert!(request.contains("delay: Some(Duration { seconds: 300,"), "{request}");
    let (_, request) = change(&["monitor", "edit", "web", "--clear", "alert"]);
    assert!(request.contains(r#"paths: ["alert"]"#) && request.contains("alert: None"), "{request}");
    let (_, request) = change(&["policy", "edit", "payments", "--clear-alert", "--all"]);
    assert!(request.contains(r#"paths: ["all", "alert"]"#) && request.contains(r#"etag: "r2""#), "{request}");
}

#[test]
fn a_silence_needs_something_to_cover_an_end_and_a_reason() {
    let args = ["silence", "create", "--monitor", "api", "--for", "2h", "--reason", "rollout", "--by", "ana"];
    let (stdout, request) = change(&args);
    assert_eq!(stdout, "sil_0192d3b4a7c87f3e8a1b2c3d4e5f6091\n");
    assert!(request.contains(r#"monitors: ["api"]"#) && request.contains("seconds: 7200"), "{request}");
    assert!(request.contains(r#"reason: "rollout", by: "ana""#), "{request}");
    let (_, request) = change(&["silence", "end", "sil_1"]);
    assert!(request.contains(r#"EndSilenceRequest { id: "sil_1" }"#), "{request}");
    let fake = fake();
    for args in [
        &["--all", "--for", "2h"][..],
        &["--all", "--reason", "x"],
        &["--for", "2h", "--reason", "x"],
        &["--all", "--tag", "db", "--for", "2h", "--reason", "x"],
    ] {
        let run = vigilctl(&fake.url(), &[&["silence", "create"], args].concat());
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{args:?}");
    }
    assert_eq!(fake.seen(), Vec::<String>::new());
}

#[test]
fn an_incident_is_acknowledged_by_its_id() {
    let args = ["incident", "ack", "inc_1", "--by", "ana", "--reason", "on it"];
    let (stdout, request) = change(&args);
    assert_eq!(stdout, "");
    assert!(request.contains(r#"id: "inc_1", by: "ana", reason: "on it""#), "{request}");
}
