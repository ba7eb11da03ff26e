//! Records as zone files write their data (RFC 1035 §5.1), and whether one is what somebody meant.

use std::net::IpAddr;

use hickory_proto::rr::{self, Name, RData};
use model::check::RecordType;

/// A type by its number on the wire.
pub(super) const fn wire_type(record: RecordType) -> rr::RecordType {
    match record {
        RecordType::A => rr::RecordType::A,
        RecordType::Aaaa => rr::RecordType::AAAA,
        RecordType::Cname => rr::RecordType::CNAME,
        RecordType::Mx => rr::RecordType::MX,
        RecordType::Ns => rr::RecordType::NS,
        RecordType::Txt => rr::RecordType::TXT,
        RecordType::Srv => rr::RecordType::SRV,
        RecordType::Caa => rr::RecordType::CAA,
        RecordType::Soa => rr::RecordType::SOA,
        RecordType::Ptr => rr::RecordType::PTR,
    }
}

/// A record's data as text, names without their last dot and the strings of a TXT record joined; `None` if it is of
/// another type.
pub(super) fn text(record: RecordType, data: &RData) -> Option<String> {
    Some(match (record, data) {
        (RecordType::A, RData::A(address)) => address.to_string(),
        (RecordType::Aaaa, RData::AAAA(address)) => address.to_string(),
        (RecordType::Cname, RData::CNAME(target)) => name(target),
        (RecordType::Ns, RData::NS(server)) => name(server),
        (RecordType::Ptr, RData::PTR(target)) => name(target),
        (RecordType::Mx, RData::MX(mx)) => format!("{} {}", mx.preference, name(&mx.exchange)),
        (RecordType::Txt, RData::TXT(txt)) => txt.to_string(),
        (RecordType::Srv, RData::SRV(srv)) => {
            format!("{} {} {} {}", srv.priority, srv.weight, srv.port, name(&srv.target))
        }
        (RecordType::Caa, RData::CAA(caa)) => caa.to_string(),
        (RecordType::Soa, RData::SOA(soa)) => format!(
            "{} {} {} {} {} {} {}",
            name(&soa.mname),
            name(&soa.rname),
            soa.serial,
            soa.refresh,
            soa.retry,
            soa.expire,
            soa.minimum
        ),
        _ => return None,
    })
}

/// Whether a record, as [`text`] writes it, is the one that somebody wrote: the same whatever the case, spaces, last
/// dots and quotes, and of a TXT record a part.
pub(super) fn is_meant(record: RecordType, found: &str, wanted: &str) -> bool {
    match record {
        RecordType::A | RecordType::Aaaa => {
            wanted.trim().parse::<IpAddr>().is_ok_and(|address| address.to_string() == found)
        }
        RecordType::Txt => {
            let wanted = wanted.trim();
            let unquoted = wanted.strip_prefix('"').and_then(|wanted| wanted.strip_suffix('"'));
            found.to_lowercase().contains(&unquoted.unwrap_or(wanted).to_lowercase())
        }
        _ => plain(found) == plain(wanted),
    }
}

fn plain(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().map(|word| word.replace('"', "")).collect();
    let dotless =
        |word: &String| word.strip_suffix('.').filter(|rest| !rest.is_empty()).unwrap_or(word).to_lowercase();
    words.iter().map(dotless).collect::<Vec<_>>().join(" ")
}

fn name(name: &Name) -> String {
    let text = name.to_ascii().to_lowercase();
    text.strip_suffix('.').filter(|rest| !rest.is_empty()).unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::rdata::{CAA, SOA, SRV, TXT};

    use super::*;

    fn name_of(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    #[test]
    fn records_read_as_zone_files_write_them() {
        let soa = SOA::new(name_of("NS.a.example."), name_of("host.a.example."), 7, 1, 2, 3, 4);
        let caa = CAA::new_issue(true, Some(name_of("ca.example")), vec![]);
        for (record, data, written, meant, not_meant) in [
            (
                RecordType::Soa,
                RData::SOA(soa),
                "ns.a.example host.a.example 7 1 2 3 4",
                "ns.a.example. Host.a.example.  7 1 2 3 4",
                "ns.a.example. host.a.example. 8 1 2 3 4",
            ),
            (
                RecordType::Srv,
                RData::SRV(SRV::new(1, 2, 5060, name_of("."))),
                "1 2 5060 .",
                "1 2 5060 .",
                "1 2 5060",
            ),
            (
                RecordType::Caa,
                RData::CAA(caa),
                "128 issue \"ca.example\"",
                "128 issue CA.example",
                "0 issue \"ca.example\"",
            ),
            (
                RecordType::Txt,
                RData::TXT(TXT::new(vec!["v=spf1 include:".into(), "Mail.example -all".into()])),
                "v=spf1 include:Mail.example -all",
                "\"include:mail.example\"",
                "v=spf2",
            ),
            (
                RecordType::Aaaa,
                RData::AAAA("2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().into()),
                "2001:db8::1",
                "2001:DB8:0::1",
                "2001:db8::2",
            ),
            (
                RecordType::Ptr,
                RData::PTR(rr::rdata::PTR(name_of("Host.a.example."))),
                "host.a.example",
                "host.A.example.",
                "a.example",
            ),
            (
                RecordType::Ns,
                RData::NS(rr::rdata::NS(name_of("ns.a.example."))),
                "ns.a.example",
                "ns.a.example",
                "ns.a.exampl",
            ),
        ] {
            let found = text(record, &data).unwrap();
            assert_eq!(found, written);
            assert!(is_meant(record, &found, meant), "{meant}");
            assert!(!is_meant(record, &found, not_meant), "{not_meant}");
            assert_eq!(text(RecordType::A, &data), None, "{written}");
        }
    }
}
