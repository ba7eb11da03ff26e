//! What a check sends and expects: the flags that monitors and single checks have in common.

use clap::Args;
use clap::builder::PossibleValuesParser;
use model::HealthPolicy;
use proto::admin::v1::{Header, Monitor};

/// What a check does, besides its target and how long it may take.
#[derive(Debug, Args)]
pub(super) struct Exchange {
    /// HTTP method [default: GET]
    #[arg(long)]
    method: Option<String>,
    /// HTTP header to send, such as 'Accept: text/html'; may be repeated
    #[arg(long = "header", value_parser = header, value_name = "NAME: VALUE")]
    headers: Vec<Header>,
    /// HTTP statuses that pass [default: any 2xx]
    #[arg(long, value_delimiter = ',', value_name = "STATUS")]
    expect_status: Vec<u32>,
    /// What a health report in the body means. ignore: it is not read; read: degraded at most; expect: there has to be
    /// one, and unhealthy is down; strict: degraded is down too [default: read]
    #[arg(long, value_parser = PossibleValuesParser::new(HealthPolicy::ALL.map(HealthPolicy::as_str)))]
    health: Option<String>,
    /// What to send once connected, over HTTP as the body of a POST, PUT or PATCH; for http://, https://, tcp://, ws://
    /// and wss:// only. \r, \n, \t, \\ and \xHH stand for single bytes
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    send: Option<String>,
    /// What must come: text for http://, https://, tcp://, ws:// and wss://, a record or a response code for dns:, a
    /// capability for mail servers; may be repeated
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    expect: Vec<String>,
    /// A certificate that ends within so many days is a failure [default: only one that is not valid]
    #[arg(long, value_name = "DAYS")]
    certificate_days: Option<u32>,
    /// What must hold of what is found: status, latency, body, header("name"), json("$.path") and certificate_days, as in
    /// 'status == 200 && latency < 300ms && json("$.queue") < 10'; may be repeated
    #[arg(long = "assert", value_name = "EXPRESSION")]
    assertions: Vec<String>,
    /// Passes exactly when it would have failed: for what must not be reachable
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    upside_down: Option<bool>,
    /// 4 or 6: the target is reached that way or not at all; 0: whichever is reached first [default: 0]
    #[arg(long, value_name = "VERSION")]
    ip_version: Option<u32>,
    /// Address to connect to instead of where the target's name points
    #[arg(long, value_name = "ADDRESS")]
    connect_to: Option<String>,
    /// Name that is asked for in TLS (SNI) and that the certificate must be for, instead of the target's
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// Redirects to follow, up to 20; 0: a redirect is the answer that is judged; HTTP only [default: 5]
    #[arg(long, value_name = "COUNT")]
    max_redirects: Option<u32>,
    /// Client certificate to show in TLS, by the name that agents know it by (vigilmon-agent run --client-certificate
    /// NAME=…) [default: none]
    #[arg(long, value_name = "NAME")]
    client_certificate: Option<String>,
    /// 1.1, or 2 for HTTP/2 and nothing else; HTTP only [default: 1.1]
    #[arg(long, value_name = "VERSION")]
    http_version: Option<String>,
    /// Ask for compressed answers (gzip, deflate) and unpack them; HTTP only
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    compressed: Option<bool>,
    /// Keep connections and TLS sessions for the next check: quicker, and not what a visitor meets; HTTP/1.1 only
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    reuse_connection: Option<bool>,
}

/// Sets the fields of a monitor for which there is a value, and notes their names.
macro_rules! set {
    ($monitor:ident, $paths:ident: $($field:ident = $value:expr;)+) => { $(
        if let Some(value) = $value {
            $monitor.$field = value;
            $paths.push(stringify!($field));
        }
    )+ };
}
pub(super) use set;

impl Exchange {
    /// Sets what was given and notes the names of those fields.
    pub(super) fn apply(self, monitor: &mut Monitor, paths: &mut Vec<&'static str>) {
        set! { monitor, paths:
            method = self.method;
            headers = given(self.headers);
            expected_status = given(self.expect_status);
            health = self.health;
            send = self.send;
            expect = given(self.expect);
            certificate_days = self.certificate_days;
            assertions = given(self.assertions);
            upside_down = self.upside_down;
            ip_version = self.ip_version;
            connect_to = self.connect_to;
            server_name = self.server_name;
            max_redirects = self.max_redirects.map(Some);
            client_certificate = self.client_certificate;
            http_version = self.http_version;
            compressed = self.compressed;
            reuse_connection = self.reuse_connection;
        }
    }
}

/// A list that was given; an empty one was not.
pub(super) fn given<T>(list: Vec<T>) -> Option<Vec<T>> {
    Some(list).filter(|list| !list.is_empty())
}

fn header(text: &str) -> Result<Header, &'static str> {
    let (name, value) = text.split_once(':').ok_or("use 'Name: value'")?;
    Ok(Header { name: name.trim().to_owned(), value: value.trim().to_owned() })
}
