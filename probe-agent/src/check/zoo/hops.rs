//! Redirects: how many are followed, and the record of each request on the way.

use model::{Hop, HttpCheck, Phases};

use super::*;

fn following(url: &str, max_redirects: u8) -> Check {
    let Check::Http(http) = Check::from_target(url).unwrap() else { panic!("{url} is HTTP") };
    Check::Http(HttpCheck { max_redirects, ..http })
}

async fn run(check: &Check, timeout: Duration) -> Finding {
    Checker::new(AddressPolicy::default(), None).unwrap().run(Some(check), timeout).await
}

fn statuses(finding: &Finding) -> Vec<Option<u16>> {
    finding.hops.iter().map(|hop| hop.status).collect()
}

#[tokio::test]
async fn as_many_redirects_are_followed_as_are_asked_for() {
    let end = Target::answering(ok("")).await;
    let second = Target::answering(moved(&end.url())).await;
    let first = Target::answering(moved(&second.url())).await;
    for (max, outcome) in [
        (0, fail(FailureKind::Status, "302 Found")),
        (1, fail(FailureKind::Redirect, "more than 1 redirects")),
        (2, Outcome::Pass),
        (20, Outcome::Pass),
    ] {
        assert_eq!(run(&following(&first.url(), max), TIMEOUT).await.outcome, outcome, "{max}");
    }
    let looping = Target::answering(moved("/health")).await;
    let finding = run(&following(&looping.url(), 20), TIMEOUT).await;
    assert_eq!(finding.outcome, fail(FailureKind::Redirect, "more than 20 redirects"));
    assert_eq!(statuses(&finding), [Some(302); 21], "each that was asked for, and no other");
}

#[tokio::test]
async fn every_request_on_the_way_is_recorded_without_secrets() {
    let end = Target::answering(ok("fine")).await;
    let to = format!("http://u:secret@{}/end?token=secret#secret", end.address);
    let redirecting = Target::answering(moved(&to)).await;
    let from = format!("http://u:secret@{}/start?token=secret", redirecting.address);
    let finding = check(&from).await;
    assert_eq!(finding.outcome, Outcome::Pass);
    let urls: Vec<_> = finding.hops.iter().map(|hop| hop.url.clone()).collect();
    let expected = [format!("http://{}/start", redirecting.address), format!("http://{}/end", end.address)];
    assert_eq!(urls, expected);
    assert_eq!(statuses(&finding), [Some(302), Some(200)]);
    let sum = |phase: fn(&Phases) -> Option<Duration>| -> Duration {
        finding.hops.iter().filter_map(|hop| phase(&hop.phases)).sum()
    };
    assert_eq!(Some(sum(|phases| phases.connect)), finding.phases.connect);
    assert_eq!(Some(sum(|phases| phases.first_byte)), finding.phases.first_byte);
    assert!(finding.hops.iter().all(|hop| hop.peer.is_some()), "{:?}", finding.hops);
}

#[tokio::test]
async fn without_a_redirect_there_is_no_record() {
    assert_eq!(Target::answering(ok("")).await.check().await.hops, vec![]);
    let unasked = Target::answering(moved("/elsewhere")).await;
    assert_eq!(run(&following(&unasked.url(), 0), TIMEOUT).await.hops, vec![]);
}

#[tokio::test]
async fn the_record_stays_when_a_later_request_fails() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let silent = Target::endless(b"", b"", Duration::from_secs(9)).await;
    let peer = "127.0.0.1".parse().ok();
    for (location, timeout, last) in [
        (format!("http://{closed}/"), TIMEOUT, Some((format!("http://{closed}/"), peer))),
        (silent.url(), HASTE, Some((silent.url(), peer))),
        ("http://nowhere.invalid/".into(), TIMEOUT, Some(("http://nowhere.invalid/".into(), None))),
        ("http://169.254.169.254/".into(), TIMEOUT, Some(("http://169.254.169.254/".into(), None))),
        ("gopher://x/".into(), TIMEOUT, None),
    ] {
        let redirecting = Target::answering(moved(&location)).await;
        let finding = run(&following(&redirecting.url(), 5), timeout).await;
        assert!(!finding.outcome.is_pass(), "{location}");
        let (first, rest) = finding.hops.split_first().unwrap();
        assert_eq!((first.status, first.peer), (Some(302), peer), "{location}");
        let rest: Vec<_> = rest.iter().map(|Hop { url, peer, .. }| (url.clone(), *peer)).collect();
        assert_eq!(rest, Vec::from_iter(last), "{location}");
        assert_eq!(finding.peer, peer, "{location}: whoever was reached last");
    }
}
