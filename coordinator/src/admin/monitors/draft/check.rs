//! What each check does, from a user's words: the target, and what is sent to and expected of it.
//!
//! Every wrong field is named; how often and how long is the draft's business.

use model::check::assertion::{Assertion, MAX_ASSERTIONS};
use model::check::{Extras, Family, HttpVersion, Method, Options, Route, TARGETS, validate_header};
use model::{Check, HealthPolicy};
use proto::admin::v1 as wire;

use crate::admin::invalid::Invalid;

/// Headers of one check, as `model` has it; statuses that pass.
const MAX_LISTED: usize = 50;

/// The check that is asked for; `None` if there is no telling what would be checked.
pub(super) fn read(asked: &wire::Monitor, invalid: &mut Invalid) -> Option<Check> {
    if asked.url.trim().is_empty() {
        invalid.add("url", format!("is required: use {TARGETS}"));
        return None;
    }
    let check = Check::from_target(&asked.url).map_err(|error| error.problem);
    let mut check = invalid.check("url", check)?;
    let headers = read_headers(&asked.headers, invalid);
    for useless in check.set_extras(extras(asked, headers)) {
        invalid.add(useless.field, useless.problem);
    }
    if let Check::Http(http) = &mut check {
        if !asked.method.is_empty() {
            match Method::parse(&asked.method) {
                Some(method) => http.method = method,
                None => invalid.add("method", "must be GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS"),
            }
        }
        http.expected_status = read_statuses(&asked.expected_status, invalid);
        http.health = read_health(&asked.health, invalid);
        if let Some(max) = asked.max_redirects {
            // What no number holds is more than any check may follow.
            http.max_redirects = u8::try_from(max).unwrap_or(u8::MAX);
        }
        if !asked.http_version.is_empty() {
            match HttpVersion::parse(&asked.http_version) {
                Some(version) => http.version = version,
                None => invalid.add("http_version", "must be 1.1 or 2"),
            }
        }
        (http.compressed, http.reuse_connection) = (asked.compressed, asked.reuse_connection);
    } else {
        let is_default = |health: &str| HealthPolicy::parse(health) == Some(HealthPolicy::default());
        for (field, is_given) in [
            ("method", !asked.method.is_empty()),
            ("expected_status", !asked.expected_status.is_empty()),
            ("health", !asked.health.is_empty() && !is_default(&asked.health)),
            ("max_redirects", asked.max_redirects.is_some()),
            ("http_version", !asked.http_version.is_empty()),
            ("compressed", asked.compressed),
            ("reuse_connection", asked.reuse_connection),
        ] {
            if is_given {
                invalid.add(field, "is for http:// and https:// only: leave it empty");
            }
        }
    }
    if let Err(error) = check.validate() {
        invalid.add(error.field, error.problem);
    }
    Some(check)
}

/// How to get to the target, and what must hold of what is found.
pub(super) fn read_options(asked: &wire::Monitor, check: Option<&Check>, invalid: &mut Invalid) -> Options {
    let read = |text: &String| {
        invalid.check("assertions", Assertion::parse(text).map_err(|error| error.to_string()))
    };
    let assertions = asked.assertions.iter().take(MAX_ASSERTIONS + 1).filter_map(read).collect();
    let options = Options { route: read_route(asked, invalid), assertions, upside_down: asked.upside_down };
    if let Some(check) = check
        && let Err(error) = options.validate(check)
    {
        invalid.add(error.field, error.problem);
    }
    options
}

/// How to get to the target.
fn read_route(asked: &wire::Monitor, invalid: &mut Invalid) -> Route {
    let family = Family::from_version(asked.ip_version).ok_or("must be 4 or 6, or 0 for either");
    let connect_to = match asked.connect_to.trim() {
        "" => Ok(None),
        address => address.parse().map(Some).map_err(|_| "must be an IP address"),
    };
    Route {
        family: invalid.check("ip_version", family).unwrap_or_default(),
        connect_to: invalid.check("connect_to", connect_to).flatten(),
        server_name: Some(asked.server_name.trim().to_owned()).filter(|name| !name.is_empty()),
        client_certificate: Some(asked.client_certificate.trim().to_owned()).filter(|name| !name.is_empty()),
    }
}

/// After a change of the target, drops what the new kind of check has no use for, unless the request insists on it.
pub(super) fn drop_useless(draft: &mut wire::Monitor, mask: &[&str]) {
    let insists_on = |field: &str| mask.contains(&field);
    let Ok(mut check) = Check::from_target(&draft.url) else { return };
    if let Check::Http(http) = &check {
        // Without a body to be, it was something for a port.
        let method = Method::parse(&draft.method).unwrap_or(http.method);
        if !insists_on("send") && !insists_on("method") && !method.has_body() {
            draft.send.clear();
        }
    } else {
        if !insists_on("method") {
            draft.method.clear();
        }
        if !insists_on("expected_status") {
            draft.expected_status.clear();
        }
        if !insists_on("health") {
            draft.health.clear();
        }
        if !insists_on("max_redirects") {
            draft.max_redirects = None;
        }
        if !insists_on("http_version") {
            draft.http_version.clear();
        }
        draft.compressed &= insists_on("compressed");
        draft.reuse_connection &= insists_on("reuse_connection");
    }
    if !insists_on("server_name") {
        let route = Route { server_name: Some(draft.server_name.clone()), ..Route::default() };
        if (Options { route, ..Options::default() }).validate(&check).is_err() {
            draft.server_name.clear();
        }
    }
    if !insists_on("client_certificate") {
        let route = Route { client_certificate: Some(draft.client_certificate.clone()), ..Route::default() };
        if (Options { route, ..Options::default() }).validate(&check).is_err() {
            draft.client_certificate.clear();
        }
    }
    if !insists_on("assertions") {
        let can_tell = |text: &String| {
            let assertions = Assertion::parse(text).into_iter().collect();
            Options { assertions, ..Options::default() }.validate(&check).is_ok()
        };
        draft.assertions.retain(can_tell);
    }
    let headers = draft.headers.iter().map(|header| (header.name.clone(), header.value.clone())).collect();
    for useless in check.set_extras(extras(draft, headers)) {
        match useless.field {
            field if insists_on(field) => {}
            "headers" => draft.headers.clear(),
            "send" => draft.send.clear(),
            "expect" => draft.expect.clear(),
            _ => draft.certificate_days = 0,
        }
    }
}

/// What is asked besides the target. Days that no number holds are more than any check may ask for.
fn extras(asked: &wire::Monitor, headers: Vec<(String, String)>) -> Extras {
    Extras {
        headers,
        send: asked.send.clone(),
        expect: asked.expect.clone(),
        certificate_days: u16::try_from(asked.certificate_days).unwrap_or(u16::MAX),
    }
}

fn read_headers(asked: &[wire::Header], invalid: &mut Invalid) -> Vec<(String, String)> {
    if asked.len() > MAX_LISTED {
        invalid.add("headers", format!("at most {MAX_LISTED} are allowed"));
        return vec![];
    }
    let read = |header: &wire::Header| {
        let sound = validate_header(&header.name, &header.value).map_err(|error| error.problem);
        invalid.check("headers", sound).map(|()| (header.name.clone(), header.value.clone()))
    };
    asked.iter().filter_map(read).collect()
}

fn read_statuses(asked: &[u32], invalid: &mut Invalid) -> Vec<u16> {
    if asked.len() > MAX_LISTED {
        invalid.add("expected_status", format!("at most {MAX_LISTED} are allowed"));
        return vec![];
    }
    let read = |status: &u32| {
        let sound = u16::try_from(*status).ok().filter(|status| (100..=599).contains(status));
        if sound.is_none() {
            invalid.add("expected_status", format!("{status} is not an HTTP status: use 100 to 599"));
        }
        sound
    };
    asked.iter().filter_map(read).collect()
}

fn read_health(asked: &str, invalid: &mut Invalid) -> HealthPolicy {
    if asked.is_empty() {
        return HealthPolicy::default();
    }
    HealthPolicy::parse(asked).unwrap_or_else(|| {
        invalid.add("health", "must be ignore, read, expect or strict");
        HealthPolicy::default()
    })
}
