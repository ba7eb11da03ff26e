//! What the part of a ping's URL after `?` says. What is not known there means nothing, as everywhere on the web.

use engine::heartbeat::PingKind;
use model::RunId;
use url::form_urlencoded;

use super::address;

/// What a query asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Query {
    /// Which run it is.
    pub(super) run: Option<RunId>,
    /// Create a heartbeat if there is none of that slug.
    pub(super) create: bool,
}

/// Why a query is refused: `rid` is no UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InvalidRun;

/// Reads a query. Of a name that comes twice the last one counts.
pub(super) fn parse(query: Option<&str>) -> Result<Query, InvalidRun> {
    let mut read = Query::default();
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match &*name {
            "rid" => read.run = Some(address::uuid(&value).map(RunId::from_bytes).ok_or(InvalidRun)?),
            "create" => read.create = value == "1",
            _ => {}
        }
    }
    Ok(read)
}

/// What one of Uptime Kuma's pushes says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Push {
    /// `up` is a success, every other word a failure.
    pub(super) kind: PingKind,
    /// What is to be kept of the message: nothing of the `OK` that every URL there is shown with.
    pub(super) message: Vec<u8>,
}

/// The longest time in milliseconds that a push may tell.
const MAX_PUSH_MILLIS: f64 = 86_400_000.0;

/// Reads a push's query.
///
/// # Errors
/// Says what is wrong with the time it tells.
pub(super) fn parse_push(query: Option<&str>) -> Result<Push, String> {
    let (mut kind, mut message, mut millis) = (PingKind::Success, String::new(), String::new());
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match &*name {
            "status" if value.is_empty() || value == "up" => kind = PingKind::Success,
            "status" => kind = PingKind::Fail,
            "msg" => message = value.into_owned(),
            "ping" => millis = value.into_owned(),
            _ => {}
        }
    }
    if message == "OK" {
        message.clear();
    }
    if !millis.is_empty() {
        let is_time = millis.parse().is_ok_and(|millis| (0.0..=MAX_PUSH_MILLIS).contains(&millis));
        if !is_time {
            return Err("ping must be milliseconds, from 0 to 86400000 (24 hours)".to_owned());
        }
        if !message.is_empty() {
            message.push(' ');
        }
        message.push_str(&format!("(ping: {millis} ms)"));
    }
    let message = message.into_bytes();
    Ok(Push { kind, message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_named_by_a_uuid_in_its_canonical_form() {
        let text = "123e4567-e89b-12d3-a456-426614174000";
        let run = text.parse().unwrap();
        let read = |query: &str| parse(Some(query));
        assert_eq!(parse(None), Ok(Query::default()));
        assert_eq!(read(&format!("rid={text}")), Ok(Query { run: Some(run), create: false }));
        assert_eq!(read(&format!("x=1&create=1&rid={text}")), Ok(Query { run: Some(run), create: true }));
        assert_eq!(
            read(&text.to_uppercase().replace("123E", "rid=123E").replace('-', "%2D")).unwrap().run,
            Some(run)
        );
        assert_eq!(read("create=true"), Ok(Query::default()));
        for bad in ["rid=", "rid=1", "rid=123e4567e89b12d3a456426614174000"] {
            assert_eq!(read(bad), Err(InvalidRun), "{bad}");
        }
    }

    #[test]
    fn a_push_is_read_as_uptime_kuma_reads_it() {
        let read = |query: &str| {
            parse_push(Some(query)).map(|push| (push.kind, String::from_utf8(push.message).unwrap()))
        };
        for (query, kind, message) in [
            ("", PingKind::Success, ""),
            ("status=up&msg=OK&ping=", PingKind::Success, ""),
            ("status=&msg=", PingKind::Success, ""),
            ("status=down&msg=disk+full", PingKind::Fail, "disk full"),
            ("status=UP", PingKind::Fail, ""),
            ("msg=gr%C3%BCn&ping=12.5", PingKind::Success, "grün (ping: 12.5 ms)"),
            ("msg=OK&ping=12", PingKind::Success, "(ping: 12 ms)"),
        ] {
            assert_eq!(read(query), Ok((kind, message.to_owned())), "{query}");
        }
        for bad in ["ping=x", "ping=-1", "ping=86400001", "ping=NaN"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
