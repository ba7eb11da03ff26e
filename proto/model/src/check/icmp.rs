//! Echo requests, known as ping.

use serde::{Deserialize, Serialize};
use url::Url;

use super::extras::Slots;
use super::{InvalidCheck, Kind, authority, host_of, invalid, validate_host};

/// The most requests that can be asked for.
pub const MAX_ECHO_REQUESTS: u8 = 20;

/// An ICMP check passes when the host answers one of a few echo requests, or enough of a series.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IcmpCheck {
    /// A host name or address.
    pub host: String,
    /// Sends them all and counts the answers; `None`: one answer will do.
    #[serde(default)]
    pub series: Option<Series>,
}

/// A series of echo requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series {
    /// How many are sent: 1 to [`MAX_ECHO_REQUESTS`].
    pub count: u8,
    /// The share of them that may be lost, 0 to 99 percent; `None`: all but one.
    pub max_loss: Option<u8>,
}

impl Series {
    /// Whether it is well that so many were lost.
    #[must_use]
    pub const fn allows(self, lost: u8) -> bool {
        match self.max_loss {
            None => lost < self.count,
            Some(percent) => lost as u32 * 100 <= percent as u32 * self.count as u32,
        }
    }
}

impl IcmpCheck {
    pub(super) fn from_url(url: &Url) -> Result<Self, InvalidCheck> {
        if url.port().is_some() {
            return Err(invalid("url", "an icmp:// target has no port: use icmp://HOST"));
        }
        Ok(Self { host: host_of(url)?, series: series(url)? })
    }
}

fn series(url: &Url) -> Result<Option<Series>, InvalidCheck> {
    let (mut count, mut max_loss) = (None, None);
    for (name, value) in url.query_pairs() {
        let (slot, allowed, words) = match name.as_ref() {
            "count" => (&mut count, 1..=MAX_ECHO_REQUESTS, "count must be 1 to 20"),
            "loss" => (&mut max_loss, 0..=99, "loss must be 0 to 99 percent, as in loss=20"),
            _ => {
                return Err(invalid(
                    "url",
                    "an icmp:// target takes `count` and `loss`, as in ?count=5&loss=20",
                ));
            }
        };
        let number = value.trim_end_matches('%').parse().ok().filter(|number| allowed.contains(number));
        *slot = Some(number.ok_or_else(|| invalid("url", words))?);
    }
    match (count, max_loss) {
        (Some(count), max_loss) => Ok(Some(Series { count, max_loss })),
        (None, None) => Ok(None),
        (None, Some(_)) => Err(invalid("url", "loss needs count, as in ?count=5&loss=20")),
    }
}

impl Kind for IcmpCheck {
    fn validate(&self) -> Result<(), InvalidCheck> {
        if self.series.is_some_and(|series| !(1..=MAX_ECHO_REQUESTS).contains(&series.count)) {
            return Err(invalid("url", "count must be 1 to 20"));
        }
        validate_host(&self.host)
    }

    fn target(&self) -> String {
        let place = format!("icmp://{}", authority(&self.host, None));
        match self.series {
            None => place,
            Some(Series { count, max_loss: None }) => format!("{place}?count={count}"),
            Some(Series { count, max_loss: Some(percent) }) => {
                format!("{place}?count={count}&loss={percent}")
            }
        }
    }

    fn host(&self) -> &str {
        &self.host
    }

    fn default_name(&self) -> String {
        format!("ping {}", self.host)
    }

    fn slots(&mut self) -> Slots<'_> {
        Slots::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_much_may_be_lost_as_is_said_and_by_default_all_but_one() {
        for (count, max_loss, lost, is_well) in [
            (5, None, 4, true),
            (5, None, 5, false),
            (1, None, 1, false),
            (5, Some(0), 0, true),
            (5, Some(0), 1, false),
            (5, Some(20), 1, true),
            (5, Some(19), 1, false),
            (20, Some(99), 20, false),
        ] {
            assert_eq!(Series { count, max_loss }.allows(lost), is_well, "{count} {max_loss:?} {lost}");
        }
    }
}
