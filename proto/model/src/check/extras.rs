//! What most kinds of check can be asked besides their target, in the same words for all of them.

use super::{Check, InvalidCheck, invalid};

/// What is asked besides the target; empty and 0 where nothing is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// Further request headers.
    pub headers: Vec<(String, String)>,
    /// What is sent once connected; over HTTP the request's body.
    pub send: String,
    /// What must be found in what comes, each of them.
    pub expect: Vec<String>,
    /// A certificate that ends within so many days fails.
    pub certificate_days: u16,
}

/// Where a kind of check keeps its extras; `None`: it has no use for that one.
#[derive(Default)]
pub(super) struct Slots<'a> {
    pub(super) headers: Option<&'a mut Vec<(String, String)>>,
    pub(super) send: Option<&'a mut String>,
    pub(super) expect: Option<&'a mut Vec<String>>,
    pub(super) certificate_days: Option<&'a mut u16>,
}

impl Check {
    /// What is asked besides the target.
    #[must_use]
    pub fn extras(&self) -> Extras {
        let mut copy = self.clone();
        let Slots { headers, send, expect, certificate_days } = copy.kind_mut().slots();
        Extras {
            headers: headers.map(std::mem::take).unwrap_or_default(),
            send: send.map(std::mem::take).unwrap_or_default(),
            expect: expect.map(std::mem::take).unwrap_or_default(),
            certificate_days: certificate_days.map(|days| *days).unwrap_or_default(),
        }
    }

    /// Asks that besides the target. Returns what this kind of check has no use for; [`validate`](Self::validate) says
    /// whether the rest can be used.
    pub fn set_extras(&mut self, extras: Extras) -> Vec<InvalidCheck> {
        let slots = self.kind_mut().slots();
        let mut useless = vec![];
        let mut set = |field, is_set: bool, kinds| {
            if !is_set {
                useless.push(invalid(field, format!("is for {kinds} only: leave it empty")));
            }
        };
        set("headers", put(slots.headers, extras.headers), "http://, https://, ws:// and wss://");
        set("send", put(slots.send, extras.send), "http://, https://, tcp://, ws:// and wss://");
        set(
            "expect",
            put(slots.expect, extras.expect),
            "http://, https://, tcp://, dns:, ws://, wss:// and mail servers",
        );
        set(
            "certificate_days",
            put(slots.certificate_days, extras.certificate_days),
            "targets that speak TLS",
        );
        useless
    }
}

/// Whether there was a slot for it, or nothing to put.
fn put<T: Default + PartialEq>(slot: Option<&mut T>, value: T) -> bool {
    match slot {
        Some(slot) => {
            *slot = value;
            true
        }
        None => value == T::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Method;
    use super::*;

    #[test]
    fn extras_come_back_as_they_were_set_and_useless_ones_are_named() {
        let all = Extras {
            headers: vec![("a".into(), "b".into())],
            send: "hello".into(),
            expect: vec!["world".into()],
            certificate_days: 14,
        };
        for (target, useless) in [
            ("https://a.com", vec![]),
            ("tcp://a.com:1", vec!["headers", "certificate_days"]),
            ("tls://a.com", vec!["headers", "send", "expect"]),
            ("dns://a.com", vec!["headers", "send", "certificate_days"]),
            ("icmp://a.com", vec!["headers", "send", "expect", "certificate_days"]),
            ("grpcs://a.com", vec!["headers", "send", "expect"]),
            ("wss://a.com", vec![]),
            ("imap://a.com", vec!["headers", "send"]),
        ] {
            let mut check = Check::from_target(target).unwrap();
            if let Check::Http(http) = &mut check {
                http.method = Method::Post;
            }
            assert_eq!((check.extras(), check.set_extras(Extras::default())), (Extras::default(), vec![]));
            let fields: Vec<_> = check.set_extras(all.clone()).iter().map(|it| it.field).collect();
            assert_eq!(fields, useless, "{target}");
            assert_eq!(check.validate(), Ok(()), "{target}");
            let set = check.extras();
            for (field, is_as_set) in [
                ("headers", set.headers == all.headers),
                ("send", set.send == all.send),
                ("expect", set.expect == all.expect),
                ("certificate_days", set.certificate_days == all.certificate_days),
            ] {
                assert_eq!(is_as_set, !useless.contains(&field), "{target}: {field}");
            }
        }
    }
}
