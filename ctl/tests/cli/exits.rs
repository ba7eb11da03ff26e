//! Exit codes, and what stderr says with them.

use model::Timestamp;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::fake::{Behaviour, Fake};
use crate::{command, finish, vigilctl};

#[test]
fn every_status_has_its_exit_code() {
    for (code, exit) in [
        (Code::Cancelled, 7),
        (Code::Unknown, 1),
        (Code::InvalidArgument, 2),
        (Code::DeadlineExceeded, 7),
        (Code::NotFound, 3),
        (Code::AlreadyExists, 5),
        (Code::PermissionDenied, 4),
        (Code::ResourceExhausted, 6),
        (Code::FailedPrecondition, 5),
        (Code::Aborted, 5),
        (Code::OutOfRange, 2),
        (Code::Unimplemented, 1),
        (Code::Internal, 1),
        (Code::Unavailable, 6),
        (Code::DataLoss, 1),
        (Code::Unauthenticated, 4),
    ] {
        let fake = Fake::refusing(Status::new(code, "as you were told"));
        let run = vigilctl(&fake.url(), &["monitor", "get", "web"]);
        assert_eq!(run.code, exit, "{code:?}");
        assert_eq!(run.stdout, "", "{code:?}");
        assert!(run.stderr.starts_with("vigilctl: as you were told\n"), "{}", run.stderr);
    }
}

#[test]
fn each_refused_field_is_named() {
    let details = ErrorDetails::with_bad_request(vec![
        tonic_types::FieldViolation::new("monitor.interval", "must be 1s to 31d"),
        tonic_types::FieldViolation::new("monitor.url", "must begin with http://, https:// or tcp://"),
    ]);
    let status = Status::with_error_details(Code::InvalidArgument, "the monitor is not valid", details);
    let fake = Fake::refusing(status);
    let run = vigilctl(&fake.url(), &["monitor", "create", "gopher://x", "--interval", "500ms"]);
    assert_eq!(run.code, 2);
    insta::assert_snapshot!(run.stderr, @r"
    vigilctl: the monitor is not valid
      monitor.interval: must be 1s to 31d
      monitor.url: must begin with http://, https:// or tcp://
    ");
}

#[test]
fn wrong_usage_ends_with_2_before_anything_is_asked() {
    let fake = Fake::at(Timestamp::EPOCH);
    for args in [
        &["monitor"][..],
        &["monitor", "create"],
        &["monitor", "create", "http://x", "--interval", "5"],
        &["monitor", "create", "http://x", "--header", "no colon"],
        &["monitor", "edit", "web"],
        &["monitor", "edit", "web", "--health", "down"],
        &["monitor", "edit", "web", "--channel", "a", "--clear", "channels"],
        &["monitor", "results", "web", "--since", "yesterday"],
        &["heartbeat", "create", "nightly"],
        &["heartbeat", "create", "nightly", "--interval", "1h", "--cron", "0 3 * * *"],
        &["heartbeat", "create", "nightly", "--cron", "0 3 * * *", "--on-calendar", "daily"],
        &["heartbeat", "snooze", "nightly"],
        &["heartbeat", "edit", "nightly"],
        &["channel", "edit", "ops"],
        &["delivery", "redeliver"],
        &["delivery", "redeliver", "dlv_1", "--channel", "ops"],
        &["delivery", "redeliver", "dlv_1", "--dead"],
        &["delivery", "redeliver", "--channel", "ops", "--delivered"],
        &["channel", "create", "slack", "ops", "--set", "tone"],
        &["channel", "create", "slack", "ops", "--set", "tone=a", "--set", "tone=b"],
        &["channel", "create", "slack", "ops", "--url", "@/nonexistent"],
        &["channel", "edit", "ops", "--set", "a=b", "--unset", "a"],
        &["channel", "create", "slack", "ops", "--url", "-"],
        &["page", "create", "Acme"],
        &["region", "ls", "-o", "xml"],
        &["region", "ls", "--api-key-file", "/nonexistent"],
        &["region", "ls", "--server", "ftp://x"],
        &["maintenance", "edit", "disks"],
        &["apply", "-f", "x"],
    ] {
        let run = vigilctl(&fake.url(), args);
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{args:?}: {}", run.stderr);
        assert!(!run.stderr.is_empty(), "{args:?}");
    }
    let changed = fake.seen();
    assert!(changed.is_empty(), "{changed:?}");
}

#[test]
fn a_coordinator_that_is_not_there_is_unavailable() {
    let fake = Fake::at(Timestamp::EPOCH);
    let url = fake.url();
    fake.stop();
    let run = vigilctl(&url, &["monitor", "ls"]);
    assert_eq!(run.code, 6);
    assert!(run.stderr.contains(&url) && run.stderr.contains("refused"), "{}", run.stderr);
    assert!(run.stderr.contains("VIGILMON_SERVER"), "{}", run.stderr);
}

#[test]
fn a_coordinator_that_does_not_answer_is_a_timeout() {
    let fake = Fake::start(Behaviour { silent: true, ..Behaviour::default() });
    let run = vigilctl(&fake.url(), &["--timeout", "200ms", "monitor", "ls"]);
    assert_eq!(run.code, 7, "{}", run.stderr);
    assert!(run.stderr.contains("--timeout"), "{}", run.stderr);
}

#[test]
fn the_key_is_never_printed() {
    let fake = Fake::refusing(Status::unauthenticated("no such key"));
    let run = vigilctl(&fake.url(), &["monitor", "ls"]);
    assert_eq!(run.code, 4);
    assert!(run.stderr.contains("VIGILMON_API_KEY") && !run.stderr.contains("vk_test"), "{}", run.stderr);
    let run = finish(command(&fake.url(), &["monitor", "ls"]).env("VIGILMON_API_KEY", "vk_\u{7}bad"), "");
    assert!(run.code == 2 && !run.stderr.contains("bad"), "{}", run.stderr);
    let help = vigilctl(&fake.url(), &["monitor", "create", "--help"]);
    assert!(help.code == 0 && !help.stdout.contains("vk_test"));
}

#[test]
fn the_exit_codes_are_documented_without_a_server() {
    for args in [&["help", "exit-codes"][..], &["exit-codes"]] {
        let run = vigilctl("http://127.0.0.1:1", args);
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert!(run.stdout.contains("5  conflict"), "{}", run.stdout);
    }
}

#[test]
fn help_lists_what_is_delivered_and_nothing_else() {
    let run = vigilctl("http://127.0.0.1:1", &["--help"]);
    for noun in [
        "monitor",
        "heartbeat",
        "incident",
        "agent",
        "region",
        "channel",
        "delivery",
        "page",
        "maintenance",
        "policy",
        "silence",
    ] {
        assert!(run.stdout.contains(&format!("\n  {noun} ")), "{noun}: {}", run.stdout);
    }
    for absent in ["replay", "export", "apply"] {
        assert!(!run.stdout.contains(absent), "{absent}");
    }
}
