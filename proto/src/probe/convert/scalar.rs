//! Ids, instants and spans.

use std::net::IpAddr;
use std::time::Duration;

use model::{MonitorId, Timestamp};

use super::Invalid;

/// Reads the 16 bytes of a monitor's id.
///
/// # Errors
/// When there are more or fewer.
pub fn monitor_from_wire(bytes: &[u8], field: &str) -> Result<MonitorId, Invalid> {
    <[u8; 16]>::try_from(bytes)
        .map(MonitorId::from_bytes)
        .map_err(|_| Invalid::new(field, "must be 16 bytes"))
}

/// Reads an instant; fractions of a microsecond are cut off.
///
/// # Errors
/// When it is absent or its nanoseconds are not below a second.
pub fn timestamp_from_wire(wire: Option<&prost_types::Timestamp>, field: &str) -> Result<Timestamp, Invalid> {
    let wire = wire.ok_or_else(|| Invalid::new(field, "must be set"))?;
    if !(0..1_000_000_000).contains(&wire.nanos) {
        return Err(Invalid::new(field, "nanos must be 0 to 999,999,999"));
    }
    let micros = wire.seconds.saturating_mul(1_000_000).saturating_add(i64::from(wire.nanos / 1_000));
    Ok(Timestamp::from_micros(micros))
}

/// An instant for the wire.
#[must_use]
pub fn timestamp_to_wire(instant: Timestamp) -> prost_types::Timestamp {
    let nanos = instant.as_micros().rem_euclid(1_000_000) * 1_000;
    prost_types::Timestamp { seconds: instant.as_secs(), nanos: i32::try_from(nanos).unwrap_or(0) }
}

/// Reads a span; fractions of a microsecond are cut off.
///
/// # Errors
/// When it is absent, negative, or its nanoseconds are not below a second.
pub fn duration_from_wire(wire: Option<&prost_types::Duration>, field: &str) -> Result<Duration, Invalid> {
    let wire = wire.ok_or_else(|| Invalid::new(field, "must be set"))?;
    let seconds = u64::try_from(wire.seconds).ok();
    let nanos = u32::try_from(wire.nanos).ok().filter(|&nanos| nanos < 1_000_000_000);
    match (seconds, nanos) {
        (Some(seconds), Some(nanos)) => Ok(Duration::new(seconds, nanos / 1_000 * 1_000)),
        _ => Err(Invalid::new(field, "must not be negative, and nanos must be 0 to 999,999,999")),
    }
}

/// A span for the wire; saturates.
#[must_use]
pub fn duration_to_wire(span: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(span.subsec_nanos()).unwrap_or(0),
    }
}

/// Whole microseconds; saturates.
pub(super) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// An address as 4 or 16 bytes.
pub(super) fn address_to_wire(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// An address from 4 or 16 bytes; from none: none.
pub(super) fn address_from_wire(bytes: &[u8], field: &'static str) -> Result<Option<IpAddr>, Invalid> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let any = v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from));
    any.map(Some).map_err(|_| Invalid::new(field, "must be 0, 4 or 16 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_before_1970_and_at_the_ends_survive() {
        for micros in [0, 1, -1, -1_000_001, 1_700_000_000_250_000, -62_135_596_800_000_000] {
            let instant = Timestamp::from_micros(micros);
            assert_eq!(timestamp_from_wire(Some(&timestamp_to_wire(instant)), "at"), Ok(instant));
        }
        let far = prost_types::Timestamp { seconds: i64::MAX, nanos: 999_999_999 };
        assert_eq!(timestamp_from_wire(Some(&far), "at").unwrap().as_micros(), i64::MAX);
    }

    #[test]
    fn negative_spans_are_refused_by_name() {
        let wire = prost_types::Duration { seconds: -1, nanos: 0 };
        let error = duration_from_wire(Some(&wire), "interval").unwrap_err();
        assert!(error.to_string().starts_with("interval: must not be negative"), "{error}");
        assert_eq!(duration_from_wire(None, "phase").unwrap_err().to_string(), "phase: must be set");
    }
}
