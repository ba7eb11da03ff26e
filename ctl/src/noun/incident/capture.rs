//! What a check of an incident met on its way.

use model::Timestamp;
use proto::admin::v1::{Capture, IncidentCapture, PathHop, Result as Found};

use crate::duration;
use crate::moment;
use crate::output::{Cell, Listed, Sheet, Table};

/// Lines of what a target said that are shown.
const MAX_BODY_LINES: usize = 12;

/// What an incident's sheet tells: the first failing check of each region, and the first passing one of all.
pub(super) fn told(captures: &[IncidentCapture]) -> impl Iterator<Item = &IncidentCapture> {
    let key = |capture: &IncidentCapture| {
        let found = capture.result.clone().unwrap_or_default();
        if found.outcome == "pass" { (String::new(), found.outcome) } else { (found.region, found.outcome) }
    };
    let is_first = move |&(at, capture): &(usize, &IncidentCapture)| {
        !captures[..at].iter().any(|it| key(it) == key(capture))
    };
    captures.iter().enumerate().filter(is_first).map(|(_, capture)| capture)
}

/// Adds a capture to a sheet as a part of its own.
pub(super) fn part(sheet: Sheet, capture: &IncidentCapture, now: Timestamp) -> Sheet {
    let (found, met) = parts(capture);
    let outcome = if found.outcome == "pass" { "passed" } else { "failed" };
    let title =
        format!("seen from {}: {outcome} {}", found.region, moment::both(found.started_at.as_ref(), now));
    let row = |(name, text): (String, String)| vec![Cell::text(name), Cell::text(text)];
    let rows = lines(&found, &met).into_iter().map(row).collect();
    sheet.part(title, Table { headers: &["", ""], rows })
}

impl Listed for IncidentCapture {
    const COLUMNS: &'static [&'static str] =
        &["CHECKED", "REGION", "OUTCOME", "STATUS", "REQUEST", "ADDRESS", "DETAIL"];

    fn row(&self, now: Timestamp) -> Vec<Cell> {
        let (found, met) = parts(self);
        vec![
            Cell::text(moment::relative(found.started_at.as_ref(), now)),
            Cell::text(&found.region),
            Cell::state(&found.outcome),
            Cell::text(&met.status_line),
            Cell::text(&met.request_id),
            Cell::text(address(&found, &met)),
            Cell::text(&found.detail),
        ]
    }
}

fn parts(capture: &IncidentCapture) -> (Found, Capture) {
    (capture.result.clone().unwrap_or_default(), capture.capture.clone().unwrap_or_default())
}

/// Who answered; of a target that did not, where it was looked for.
fn address(found: &Found, met: &Capture) -> String {
    if found.peer.is_empty() { met.addresses.join(", ") } else { found.peer.clone() }
}

/// What there is to say, a name and a text a line.
fn lines(found: &Found, met: &Capture) -> Vec<(String, String)> {
    let mut lines = vec![
        ("detail".to_owned(), found.detail.clone()),
        ("address".to_owned(), address(found, met)),
        ("took".to_owned(), phases(found)),
    ];
    lines.extend(met.redirects.iter().map(|redirect| ("redirect".to_owned(), redirect.clone())));
    lines.push(("tls".to_owned(), met.tls.clone()));
    lines.extend(met.certificates.iter().map(|line| ("certificate".to_owned(), line.clone())));
    lines.push(("status".to_owned(), met.status_line.clone()));
    lines.push(("request".to_owned(), met.request_id.clone()));
    lines.extend(met.headers.iter().map(|header| (format!("  {}", header.name), header.value.clone())));
    let body = met.body.lines().filter(|line| !line.trim().is_empty());
    lines.extend(body.clone().take(MAX_BODY_LINES).map(|line| ("body".to_owned(), line.to_owned())));
    if met.body_cut || body.count() > MAX_BODY_LINES {
        lines.push(("body".to_owned(), "…".to_owned()));
    }
    lines.extend(met.path.iter().map(|hop| ("path".to_owned(), step(hop))));
    lines.retain(|(_, text)| !text.is_empty());
    lines
}

/// The total and where it went: `1.2 s (connect 3 ms, tls 9 ms, first byte 1.1 s)`.
fn phases(found: &Found) -> String {
    let phases = found.phases.unwrap_or_default();
    let named = [
        ("dns", phases.dns),
        ("connect", phases.connect),
        ("tls", phases.tls),
        ("first byte", phases.first_byte),
        ("body", phases.body),
    ];
    let reached = named.iter().filter_map(|(name, span)| Some((name, span.as_ref()?)));
    let reached: Vec<_> =
        reached.map(|(name, span)| format!("{name} {}", duration::measured(Some(span)))).collect();
    let total = duration::measured(found.duration.as_ref());
    if reached.is_empty() { total } else { format!("{total} ({})", reached.join(", ")) }
}

fn step(hop: &PathHop) -> String {
    if hop.address.is_empty() {
        format!("{} *", hop.distance)
    } else {
        format!("{} {} {}", hop.distance, hop.address, duration::measured(hop.round_trip.as_ref()))
    }
}
