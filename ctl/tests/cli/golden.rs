//! What each noun looks like, as a table, as JSON and as YAML.

use model::{Clock, SystemClock, Timestamp};

use crate::fake::Fake;
use crate::vigilctl;

/// Tables tell ages, so their data stands relative to now; the dates in them are masked.
#[track_caller]
fn table(name: &str, args: &[&str]) {
    let fake = Fake::at(SystemClock::start().now());
    let run = vigilctl(&fake.url(), args);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    insta::assert_snapshot!(name, masked(&run.stdout));
}

/// Programs get instants, so their data stands still.
#[track_caller]
fn document(name: &str, args: &[&str], format: &str) {
    let fake = Fake::at(Timestamp::from_secs(1_795_316_645));
    let run = vigilctl(&fake.url(), &[args, &["-o", format]].concat());
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    insta::assert_snapshot!(name, run.stdout);
}

/// The text with `2026-11-22 03:04:05` as `YYYY-MM-DD hh:mm:ss`, wherever it stands.
fn masked(text: &str) -> String {
    const MASK: &str = "YYYY-MM-DD hh:mm:ss";
    let is_date = |slice: &[u8]| {
        slice
            .iter()
            .zip(MASK.bytes())
            .all(|(&c, mask)| if mask.is_ascii_alphabetic() { c.is_ascii_digit() } else { c == mask })
    };
    let mut bytes = text.as_bytes().to_vec();
    for start in 0..(bytes.len() + 1).saturating_sub(MASK.len()) {
        let slice = &mut bytes[start..start + MASK.len()];
        if is_date(slice) {
            slice.copy_from_slice(MASK.as_bytes());
        }
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn monitors_are_listed_to_the_last_page() {
    table("monitor_ls", &["monitor", "ls"]);
    document("monitor_ls_yaml", &["monitor", "ls"], "yaml");
}

#[test]
fn a_monitor_shows_its_regions() {
    table("monitor_get", &["monitor", "get", "yourdomain.com/health"]);
    document("monitor_get_json", &["monitor", "get", "yourdomain.com/health"], "json");
}

#[test]
fn a_monitor_explains_its_status() {
    table("monitor_explain", &["monitor", "explain", "yourdomain.com/health"]);
    document("monitor_explain_json", &["monitor", "explain", "yourdomain.com/health"], "json");
}

#[test]
fn a_check_tells_each_answer_at_once_and_all_of_them_at_the_end() {
    let fake = Fake::at(SystemClock::start().now());
    let args = [
        "check",
        "tcp://cache:6379",
        "--regions",
        "all",
        "--send",
        r"PING\r\n",
        "--expect",
        "+PONG",
        "--timeout",
        "3s",
    ];
    let run = vigilctl(&fake.url(), &args);
    assert_eq!(run.code, 1);
    insta::assert_snapshot!("check", format!("{}{}", run.stderr, masked(&run.stdout)));
    let asked = fake.seen().pop().unwrap();
    for part in [r#"url: "tcp://cache:6379""#, r#"send: "PING\\r\\n""#, r#"expect: ["+PONG"]"#, "regions: []"]
    {
        assert!(asked.contains(part), "{part} is missing: {asked}");
    }
}

#[test]
fn results_stop_at_the_limit() {
    table("monitor_results", &["monitor", "results", "m", "--since", "1h", "--limit", "3"]);
    document("monitor_results_json", &["monitor", "results", "m", "--limit", "1"], "json");
}

#[test]
fn a_replay_shows_what_differs_and_says_plainly_if_nothing_does() {
    table("monitor_replay", &["monitor", "replay", "m", "--policy", "any", "--since", "24h"]);
    table("monitor_replay_same", &["monitor", "replay", "m", "--recovery-checks", "3"]);
    document("monitor_replay_json", &["monitor", "replay", "m", "--policy", "any"], "json");
    document("monitor_replay_yaml", &["monitor", "replay", "m", "--policy", "any"], "yaml");
}

#[test]
fn heartbeats() {
    table("heartbeat_ls", &["heartbeat", "ls"]);
    table("heartbeat_get", &["heartbeat", "get", "nightly_cleanup"]);
    table("heartbeat_get_calendar", &["heartbeat", "get", "backup"]);
    document("heartbeat_get_json", &["heartbeat", "get", "nightly_cleanup"], "json");
    document("heartbeat_ls_yaml", &["heartbeat", "ls"], "yaml");
}

#[test]
fn pings_show_their_body_on_one_line_and_encode_it_for_programs() {
    table("heartbeat_pings", &["heartbeat", "pings", "nightly_cleanup"]);
    document("heartbeat_pings_json", &["heartbeat", "pings", "nightly_cleanup"], "json");
}

#[test]
fn runs_show_how_they_ended_and_their_log_as_it_was_but_for_what_drives_a_terminal() {
    table("heartbeat_runs", &["heartbeat", "runs", "nightly_cleanup"]);
    document("heartbeat_runs_json", &["heartbeat", "runs", "nightly_cleanup"], "json");
    table("heartbeat_log", &["heartbeat", "log", "nightly_cleanup"]);
    document("heartbeat_log_json", &["heartbeat", "log", "nightly_cleanup", "x"], "json");
    table("heartbeat_key_ls", &["heartbeat", "key", "ls"]);
}

#[test]
fn a_snippet_for_each_language() {
    for language in [
        "curl",
        "systemd",
        "python",
        "apscheduler",
        "node",
        "go",
        "php",
        "ruby",
        "powershell",
        "github-actions",
        "kubernetes",
    ] {
        let arguments = ["heartbeat", "snippet", "nightly_cleanup", "--for", language];
        table(&format!("heartbeat_snippet_{language}"), &arguments);
    }
    let url = "https://status.example.com/api/heartbeat/AAECAwQFBgcICQoLDA0ODw";
    let cron = ["heartbeat", "snippet", "nightly_cleanup", "--for", "cron", "--url", url];
    table("heartbeat_snippet_cron", &cron);
}

#[test]
fn incidents_show_votes_timeline_and_failing_components() {
    table("incident_ls", &["incident", "ls"]);
    table("incident_get", &["incident", "get", "inc_1"]);
    table("incident_get_grouped", &["incident", "get", "inc_2"]);
    table("incident_captures", &["incident", "captures", "inc_1"]);
    document("incident_get_json", &["incident", "get", "inc_1"], "json");
    document("incident_get_yaml", &["incident", "get", "inc_1"], "yaml");
}

#[test]
fn agents() {
    table("agent_ls", &["agent", "ls"]);
    table("agent_get", &["agent", "get", "probe-1"]);
    document("agent_get_json", &["agent", "get", "probe-1"], "json");
    document("agent_ls_yaml", &["agent", "ls"], "yaml");
}

#[test]
fn regions() {
    table("region_ls", &["region", "ls"]);
    table("region_get", &["region", "get", "us-east"]);
    document("region_ls_json", &["region", "ls"], "json");
    document("region_get_yaml", &["region", "get", "us-east"], "yaml");
}

#[test]
fn channels() {
    table("channel_ls", &["channel", "ls"]);
    table("channel_get", &["channel", "get", "ops"]);
    document("channel_get_json", &["channel", "get", "ops"], "json");
    document("channel_ls_yaml", &["channel", "ls"], "yaml");
    table("channel_test", &["channel", "test", "ops"]);
    table("channel_kinds", &["channel", "kinds"]);
    table("channel_kind", &["channel", "kinds", "slack"]);
}

#[test]
fn deliveries() {
    table("delivery_ls", &["delivery", "ls", "--channel", "ops", "--state", "dead", "--since", "1h"]);
    table("delivery_get", &["delivery", "get", "dlv_1"]);
    document("delivery_get_json", &["delivery", "get", "dlv_1"], "json");
    document("delivery_ls_yaml", &["delivery", "ls"], "yaml");
}

#[test]
fn pages() {
    table("page_ls", &["page", "ls"]);
    table("page_get", &["page", "get", "acme-api-status"]);
    document("page_get_json", &["page", "get", "acme-api-status"], "json");
    document("page_ls_yaml", &["page", "ls"], "yaml");
}

#[test]
fn maintenance() {
    table("maintenance_ls", &["maintenance", "ls"]);
    table("maintenance_get", &["maintenance", "get", "sundays"]);
    document("maintenance_get_json", &["maintenance", "get", "move"], "json");
    document("maintenance_ls_yaml", &["maintenance", "ls"], "yaml");
}

#[test]
fn the_first_line_can_be_left_out() {
    table("region_ls_no_headers", &["region", "ls", "--no-headers"]);
}

#[test]
fn policies_tell_who_hears_of_what_and_how() {
    table("policy_ls", &["policy", "ls"]);
    table("policy_get", &["policy", "get", "payments"]);
    document("policy_get_json", &["policy", "get", "payments"], "json");
}

#[test]
fn silences_tell_why_and_until_when() {
    table("silence_ls", &["silence", "ls"]);
    table("silence_get", &["silence", "get", "sil_1"]);
    document("silence_ls_yaml", &["silence", "ls"], "yaml");
}
