//! Compressed answers: asked for, unpacked and bounded; or told as what was not asked for.

use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use model::{HealthPolicy, HttpCheck};

use super::*;

fn encoded(encoding: &str, body: &[u8]) -> Vec<u8> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
    [format!("{head}content-encoding: {encoding}\r\n\r\n").as_bytes(), body].concat()
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(vec![], Compression::best());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn asking(target: &Target, change: impl FnOnce(&mut HttpCheck)) -> Check {
    let Check::Http(http) = Check::from_target(&target.url()).unwrap() else { panic!("it is HTTP") };
    let mut http = HttpCheck { compressed: true, ..http };
    change(&mut http);
    Check::Http(http)
}

async fn run(check: &Check, options: &Options) -> Finding {
    let checker = Checker::new(AddressPolicy::default(), None).unwrap();
    checker.run_against(Some(check), options, TIMEOUT).await
}

#[tokio::test]
async fn what_was_unpacked_is_read_expected_and_asserted() {
    let body = br#"{"status": "degraded", "queue": 3, "checks": {"db": {"status": "degraded"}}}"#;
    let mut zlib = ZlibEncoder::new(vec![], Compression::best());
    zlib.write_all(body).unwrap();
    let mut raw = DeflateEncoder::new(vec![], Compression::best());
    raw.write_all(body).unwrap();
    for (encoding, packed) in [
        ("gzip", gzip(body)),
        ("X-GZip", [gzip(&body[..10]), gzip(&body[10..])].concat()),
        ("deflate", zlib.finish().unwrap()),
        ("deflate", raw.finish().unwrap()),
        ("identity", body.to_vec()),
    ] {
        let target = Target::answering(encoded(encoding, &packed)).await;
        let check = asking(&target, |http| http.expect = vec!["degraded".into()]);
        let assertions = vec![Assertion::parse(r#"json("$.queue") == 3"#).unwrap()];
        let finding = run(&check, &Options { assertions, ..Options::default() }).await;
        assert_eq!(finding.outcome, Outcome::Pass, "{encoding}");
        assert!(finding.health.is_some(), "{encoding}");
    }
}

#[tokio::test]
async fn it_is_asked_for_where_the_user_wants_it() {
    let (sent, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let target = Target::new(move |mut stream| {
        let sent = sent.clone();
        async move {
            sent.send(request(&mut stream).await).unwrap();
        }
    })
    .await;
    run(&asking(&target, |_| {}), &Options::default()).await;
    let request = requests.recv().await.unwrap();
    assert!(request.contains("accept-encoding: gzip, deflate\r\n"), "{request}");
}

#[tokio::test]
async fn of_a_bomb_no_more_is_unpacked_than_may_be_of_a_body() {
    // 256 MiB of zeros, packed into 256 KiB; and packed once more, which is not unpacked twice.
    let bomb = gzip(&vec![0; 256 << 20]);
    assert!(bomb.len() < MAX_BODY_BYTES);
    let target = Target::answering(encoded("gzip", &bomb)).await;
    let assertions = vec![Assertion::parse(&format!("size(body) == {MAX_BODY_BYTES}")).unwrap()];
    let options = Options { assertions, ..Options::default() };
    assert_eq!(run(&asking(&target, |_| {}), &options).await.outcome, Outcome::Pass);
    let nested = Target::answering(encoded("gzip, gzip", &gzip(&bomb))).await;
    assert_eq!(
        run(&asking(&nested, |_| {}), &options).await.outcome,
        fail(FailureKind::Body, "the body is encoded as `gzip, gzip`, which was not asked for")
    );
}

#[tokio::test]
async fn a_packed_header_without_end_is_cut_off() {
    // A file name that never ends: nothing is ever unpacked of it.
    let head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n\x1f\x8b\x08\x08\0\0\0\0\0\0";
    let target = Target::endless(head, &[b'x'; 8_192], Duration::ZERO).await;
    let finding = run(&asking(&target, |_| {}), &Options::default()).await;
    assert!(finding.duration < TIMEOUT, "{:?}", finding.outcome);
}

#[tokio::test]
async fn a_body_that_is_not_what_it_was_said_to_be_fails() {
    let broken = fail(FailureKind::Body, "the body cannot be unpacked");
    let good = gzip(b"hello, hello, hello");
    for body in [b"plain text".to_vec(), good[..good.len() - 4].to_vec(), [&good[..], b"rubbish"].concat()] {
        let target = Target::answering(encoded("gzip", &body)).await;
        assert_eq!(run(&asking(&target, |_| {}), &Options::default()).await.outcome, broken, "{body:?}");
    }
    let empty = Target::answering(encoded("gzip", b"")).await;
    let outcome = run(&asking(&empty, |_| {}), &Options::default()).await.outcome;
    assert!(outcome.is_pass() || outcome == broken, "{outcome:?}");
}

#[tokio::test]
async fn an_encoding_that_was_not_asked_for_is_told_where_the_body_is_needed() {
    let told = fail(FailureKind::Body, "the body is encoded as `br`, which was not asked for");
    let target = Target::answering(encoded("br", b"\x0b\x02\x80hello\x03")).await;
    let needing: [fn(&mut HttpCheck); 3] = [
        |http| http.expect = vec!["hello".into()],
        |http| http.health = HealthPolicy::Expect,
        |http| (http.compressed, http.expect) = (false, vec!["hello".into()]),
    ];
    for change in needing {
        assert_eq!(run(&asking(&target, change), &Options::default()).await.outcome, told);
    }
    let assertions = vec![Assertion::parse("size(body) > 0").unwrap()];
    let asserted = run(&asking(&target, |_| {}), &Options { assertions, ..Options::default() }).await;
    assert_eq!(asserted.outcome, told);
    assert_eq!(run(&asking(&target, |_| {}), &Options::default()).await.outcome, Outcome::Pass);
}
