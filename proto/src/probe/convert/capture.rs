//! Captures: what an attempt met on its way. Nothing of one is refused; what cannot be used is left out.

use std::time::Duration;

use model::{Capture, Excerpt, PathHop};

use super::scalar::{address_from_wire, address_to_wire};
use crate::probe::v1;

/// A capture within its bounds, whatever was sent; `None` when nothing of it is left.
pub(super) fn capture_from_wire(wire: v1::Capture) -> Option<Box<Capture>> {
    let address = |bytes: &[u8]| address_from_wire(bytes, "address").ok().flatten();
    let given = |text: String| Some(text).filter(|text| !text.is_empty());
    let hop = |hop: &v1::PathHop| {
        Some(PathHop {
            distance: u8::try_from(hop.distance).ok()?,
            address: address(&hop.address),
            round_trip: hop.round_trip_us.map(|us| Duration::from_micros(us.into())),
        })
    };
    let capture = Capture {
        addresses: wire.addresses.iter().filter_map(|bytes| address(bytes)).collect(),
        redirects: wire.redirects,
        tls: given(wire.tls),
        certificates: wire.certificates,
        status_line: given(wire.status_line),
        headers: wire.headers.into_iter().map(|header| (header.name, header.value)).collect(),
        body: given(wire.body).map(|text| Excerpt { text, is_cut: wire.is_body_cut }),
        path: wire.path.iter().filter_map(hop).collect(),
    };
    Some(Box::new(capture.bounded())).filter(|capture| !capture.is_empty())
}

/// A capture for the wire.
#[must_use]
pub fn capture_to_wire(capture: Capture) -> v1::Capture {
    let hop = |hop: &PathHop| v1::PathHop {
        distance: hop.distance.into(),
        address: hop.address.map(address_to_wire).unwrap_or_default(),
        round_trip_us: hop.round_trip.map(|span| u32::try_from(span.as_micros()).unwrap_or(u32::MAX)),
    };
    let Excerpt { text, is_cut } = capture.body.unwrap_or_default();
    v1::Capture {
        addresses: capture.addresses.into_iter().map(address_to_wire).collect(),
        redirects: capture.redirects,
        tls: capture.tls.unwrap_or_default(),
        certificates: capture.certificates,
        status_line: capture.status_line.unwrap_or_default(),
        headers: capture.headers.into_iter().map(|(name, value)| v1::Header { name, value }).collect(),
        body: text,
        is_body_cut: is_cut,
        path: capture.path.iter().map(hop).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capture_crosses_whole() {
        let address = [192, 0, 2, 1].into();
        let near =
            PathHop { distance: 1, address: Some(address), round_trip: Some(Duration::from_micros(250)) };
        let capture = Capture {
            addresses: vec![address, "2001:db8::1".parse().unwrap()],
            redirects: vec!["302 https://example.com/".into()],
            tls: Some("TLSv1.3".into()),
            certificates: vec!["CN=example.com".into()],
            status_line: Some("HTTP/1.1 503 Service Unavailable".into()),
            headers: vec![("retry-after".into(), "3".into())],
            body: Some(Excerpt { text: "{}".into(), is_cut: true }),
            path: vec![near, PathHop { distance: 2, address: None, round_trip: None }],
        };
        let crossed = capture_from_wire(capture_to_wire(capture.clone()));
        assert_eq!(crossed.as_deref(), Some(&capture));
        assert_eq!(capture_from_wire(capture_to_wire(Capture::default())), None);
    }

    #[test]
    fn what_cannot_be_used_is_left_out_and_the_rest_stays() {
        let wire = v1::Capture {
            addresses: vec![vec![1, 2, 3], vec![127, 0, 0, 1]],
            path: vec![v1::PathHop { distance: 1_000, ..v1::PathHop::default() }],
            ..v1::Capture::default()
        };
        assert_eq!(capture_from_wire(wire).unwrap().addresses, [std::net::IpAddr::from([127, 0, 0, 1])]);
    }
}
