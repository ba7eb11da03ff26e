//! Name servers: the one that the agent's system asks, with names that loop and change, and those that checks name.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Result;
use proto::probe::v1::FailureKind;
use support::name_server::{A, CNAME, NameServer, Question, wire_name};

use super::stage::Stage;

/// Where the agent's system finds its name server.
pub(super) const RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 53);

const METADATA: [u8; 4] = [169, 254, 169, 254];
const HERE: [u8; 4] = [127, 0, 0, 1];

/// Lets them in.
pub(super) async fn enter(stage: &mut Stage) -> Result<()> {
    names(stage).await?;
    servers(stage).await
}

/// Names that any check may have.
async fn names(stage: &mut Stage) -> Result<()> {
    let lookups = AtomicU32::new(0);
    let resolver = NameServer::start_at((RESOLVER, 53).into(), move |question| {
        let is_a = question.record == A;
        match question.name.as_str() {
            "loop.zoo.test" => vec![question.answer(&[(CNAME, &wire_name("loop.zoo.test"))])],
            "ring.zoo.test" => vec![question.answer(&[(CNAME, &wire_name("rang.zoo.test"))])],
            "rang.zoo.test" => vec![question.answer(&[(CNAME, &wire_name("ring.zoo.test"))])],
            "mute.zoo.test" => vec![],
            "garbage.zoo.test" => vec![vec![0xff; 600]],
            "gone.zoo.test" => vec![question.refusal(3)],
            _ if !is_a => vec![question.answer(&[])],
            "trap.zoo.test" => vec![question.answer(&[(A, &METADATA)])],
            "both.zoo.test" => vec![question.answer(&[(A, &HERE), (A, &METADATA)])],
            "crowd.zoo.test" => {
                // As many as fit a datagram, and not one that answers.
                let addresses: Vec<_> = (1..=28).map(|last| [127, 66, 0, last]).collect();
                let records: Vec<_> = addresses.iter().map(|address| (A, &address[..])).collect();
                vec![question.answer(&records)]
            }
            "rebinding.zoo.test" => {
                let is_even = lookups.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
                vec![question.answer(&[(A, if is_even { &HERE } else { &METADATA })])]
            }
            _ => vec![question.answer(&[(A, &HERE)])],
        }
    });
    stage.name_servers.push(resolver.await?);
    let port = super::TRAP_PORT;
    let unknown = "name does not resolve";
    for (name, host) in [
        ("name that is its own alias", "loop"),
        ("names that are each other's alias", "ring"),
        ("name that is gone", "gone"),
    ] {
        stage.target(name, &format!("http://{host}.zoo.test:{port}/"))?.fails(FailureKind::Dns, unknown);
    }
    let for_now = "name resolution failed for now";
    stage.target("name server that is mute", "http://mute.zoo.test/")?.fails(FailureKind::Dns, for_now);
    stage
        .target("name server that says garbage", "http://garbage.zoo.test/")?
        .fails(FailureKind::Dns, for_now);
    stage.target("name of metadata", &format!("http://trap.zoo.test:{port}/"))?.denies("169.254.169.254");
    stage
        .target("name of metadata and of a good address", &format!("http://both.zoo.test:{port}/"))?
        .denies("169.254.169.254");
    stage
        .target("name of many addresses", &format!("tcp://crowd.zoo.test:{port}"))?
        .fails(FailureKind::Connect, "connection refused");
    // The good address has nothing on this port; the other has, and must never be found out.
    stage
        .target("name that is rebound", &format!("http://rebinding.zoo.test:{port}/"))?
        .fails(FailureKind::Connect, "connection refused")
        .or_denies("169.254.169.254");
    Ok(())
}

/// Servers that checks name.
async fn servers(stage: &mut Stage) -> Result<()> {
    let mut enter = async |name: &'static str, answer: fn(&Question) -> Vec<Vec<u8>>| {
        let server = NameServer::start(answer).await?;
        let url = format!("dns://{}/a.zoo.test", server.address());
        stage.name_servers.push(server);
        Ok::<_, anyhow::Error>((name, url))
    };
    let good = enter("good DNS", |question| vec![question.answer(&[(A, &HERE)])]).await?;
    let looping = enter("CNAME loop", |question| {
        vec![question.answer(&[(CNAME, &wire_name("b.zoo.test")), (CNAME, &wire_name("a.zoo.test"))])]
    });
    let looping = looping.await?;
    let truncated = enter("truncated for ever", |question| vec![question.truncated()]).await?;
    let stranger = enter("answers of another number", |question| {
        vec![question.answer_to(question.id ^ 1, &[(A, &HERE)]); 200]
    });
    let stranger = stranger.await?;
    let other = enter("answers to another question", |question| {
        let other =
            Question { asked: [&wire_name("b.zoo.test")[..], &[0, 1, 0, 1]].concat(), ..question.clone() };
        vec![other.answer(&[(A, &HERE)]); 200]
    });
    let other = other.await?;
    let pointing = enter("a name that points at itself", |question| {
        let mut answer = question.header(question.id, 0x8180, 1);
        let here = u16::try_from(answer.len()).unwrap_or_default() | 0xc000;
        answer.extend(here.to_be_bytes());
        answer.extend([0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
        vec![answer]
    });
    let pointing = pointing.await?;
    let many =
        enter("65,535 records announced", |question| vec![question.header(question.id, 0x8180, u16::MAX)]);
    let many = many.await?;
    let mute = enter("no answer at all", |_| vec![]).await?;
    let server_of =
        |(_, url): &(&str, String)| url["dns://".len()..].split('/').next().unwrap_or_default().to_owned();

    stage.target(good.0, &good.1)?;
    stage.target(looping.0, &looping.1)?.fails(FailureKind::Body, "no A record");
    let twice = "the answer is too long for UDP, and over TCP: the answer is not DNS";
    stage.target(truncated.0, &truncated.1)?.fails(FailureKind::Protocol, twice);
    for (name, url) in [stranger, other, pointing, many] {
        stage.target(name, &url)?.fails(FailureKind::Protocol, "the answer is not DNS");
    }
    stage.target(mute.0, &mute.1)?.hangs(&format!(" waiting for an answer from {}", server_of(&mute)));
    Ok(())
}
