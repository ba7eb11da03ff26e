//! The servers that both look at, and how each is asked about them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use support::certificate::{Authority, Files, Validity, acceptor};
use support::name_server::{A, NameServer};
use support::process::{Process, free_address};
use support::task::Task;
use support::{Coordinator, SOON, Scratch, environment, eventually, http};

use super::scripted::{greeting, mail, serve, slowly};
use super::{Case, Expected};

/// All of them.
pub(super) struct Servers {
    /// The file of the authority that both are to trust.
    pub(super) authority: PathBuf,
    nginx: Ports,
    slow: SocketAddr,
    banner: SocketAddr,
    mail: SocketAddr,
    names: NameServer,
    coordinator: Coordinator,
    closed: SocketAddr,
    _process: Process,
    _tasks: Vec<Task>,
    _scratch: Scratch,
}

/// Where nginx listens.
#[derive(Clone, Copy)]
struct Ports {
    plain: SocketAddr,
    good: SocketAddr,
    expired: SocketAddr,
    relic: SocketAddr,
}

impl Servers {
    pub(super) async fn start() -> Result<Self> {
        let scratch = Scratch::new()?;
        let authority = Authority::new()?;
        let good = authority.issue(&scratch, "good", &["localhost"], Validity::Current)?;
        let expired = authority.issue(&scratch, "expired", &["localhost"], Validity::Expired)?;
        // What it shows besides its own ended long ago, which hurts nobody.
        let chain = [&good, &expired].map(|files| std::fs::read_to_string(&files.certificate));
        let chain = chain.into_iter().collect::<Result<Vec<_>, _>>()?.concat();
        let relic = Files { certificate: scratch.write("relic.pem", chain)?, key: good.key.clone() };
        let nginx = Ports {
            plain: free_address()?,
            good: free_address()?,
            expired: free_address()?,
            relic: free_address()?,
        };
        let process = start_nginx(&scratch, nginx, [&good, &expired, &relic]).await?;
        let (slow, slowly) = serve(slowly).await?;
        let (banner, greeting) = serve(greeting).await?;
        let acceptor = acceptor(&good, 0)?;
        let (mail, mailing) = serve(move |stream| mail(stream, acceptor.clone())).await?;
        let names = NameServer::start(|question| match question.name.as_str() {
            "a.servers.test" if question.record == A => vec![question.answer(&[(A, &[192, 0, 2, 1])])],
            "a.servers.test" => vec![question.answer(&[])],
            _ => vec![question.refusal(3)],
        });
        Ok(Self {
            authority: authority.write(&scratch)?,
            nginx,
            slow,
            banner,
            mail,
            names: names.await?,
            coordinator: Coordinator::start().await?,
            closed: free_address()?,
            _process: process,
            _tasks: vec![slowly, greeting, mailing],
            _scratch: scratch,
        })
    }

    /// The exporter's configuration.
    pub(super) fn modules(&self) -> String {
        let trust = format!("tls_config: {{ ca_file: {} }}", self.authority.display());
        let dns = |name: &str, kind: &str| {
            format!("{{ query_name: {name}, query_type: {kind}, preferred_ip_protocol: ip4 }}")
        };
        format!(
            "modules:
  http: {{ prober: http, timeout: 3s, http: {{ preferred_ip_protocol: ip4, {trust} }} }}
  tcp: {{ prober: tcp, timeout: 3s, tcp: {{ preferred_ip_protocol: ip4 }} }}
  banner: {{ prober: tcp, timeout: 3s, tcp: {{ preferred_ip_protocol: ip4, query_response: [{{ expect: '^220 ' }}, {{ send: 'NOOP' }}, {{ expect: '^250 ' }}] }} }}
  absent: {{ prober: tcp, timeout: 3s, tcp: {{ preferred_ip_protocol: ip4, query_response: [{{ expect: '^SSH' }}] }} }}
  tls: {{ prober: tcp, timeout: 3s, tcp: {{ preferred_ip_protocol: ip4, tls: true, {trust} }} }}
  starttls:
    prober: tcp
    timeout: 3s
    tcp:
      preferred_ip_protocol: ip4
      query_response: [{{ expect: '^220 ' }}, {{ send: 'EHLO prober' }}, {{ expect: '^250 STARTTLS' }}, {{ send: STARTTLS }}, {{ expect: '^220 ' }}, {{ starttls: true }}, {{ send: QUIT }}]
      {trust}
  known: {{ prober: dns, timeout: 3s, dns: {known} }}
  unknown: {{ prober: dns, timeout: 3s, dns: {unknown} }}
  empty: {{ prober: dns, timeout: 3s, dns: {empty} }}
  icmp: {{ prober: icmp, timeout: 3s, icmp: {{ preferred_ip_protocol: ip4 }} }}
  grpc: {{ prober: grpc, timeout: 3s, grpc: {{ preferred_ip_protocol: ip4, tls: false }} }}
  grpc_unknown: {{ prober: grpc, timeout: 3s, grpc: {{ preferred_ip_protocol: ip4, tls: false, service: no.such.Service }} }}
",
            known = dns("a.servers.test", "A"),
            unknown = dns("b.servers.test", "A"),
            empty = dns("a.servers.test", "MX"),
        )
    }

    /// What both are asked.
    pub(super) fn cases(&self) -> Vec<Case> {
        use Expected::{Fail, FailHere, Pass};
        let Ports { plain, good, expired, .. } = self.nginx;
        let web = |path: &str| format!("http://{plain}{path}");
        let (by_name, by_address) = (format!("localhost:{}", good.port()), good.to_string());
        let own = self.coordinator.url("");
        let own = own.trim_start_matches("http://").trim_end_matches('/');
        let names = self.names.address();
        let dns = |question: &str| format!("dns://{names}/{question}");
        let is_tcp = |address: SocketAddr| format!("tcp://{address}");
        let talk = ["--send", r"NOOP\r\n", "--expect", "220 ", "--expect", "250 "];
        vec![
            Case::http("200", &web("/"), Pass),
            Case::http("204", &web("/204"), Pass),
            Case::http("503", &web("/503"), Fail),
            Case::http("404", &web("/nothing/here"), Fail),
            Case::http("redirect to 200", &web("/moved"), Pass),
            Case::http("redirect to 503", &web("/moved-to-503"), Fail),
            Case::http("five redirects", &web("/hop/1"), Pass),
            Case::http(
                "seven redirects",
                &web("/long/1"),
                FailHere("browsers follow 20, health checks need 5"),
            ),
            Case::http("redirect loop", &web("/loop"), Fail),
            Case::http("closed port", &format!("http://{}/", self.closed), Fail),
            Case::http("HTTPS", &format!("https://{by_name}/"), Pass),
            Case::http("wrong name", &format!("https://{by_address}/"), Fail),
            Case::http("expired", &format!("https://localhost:{}/", expired.port()), Fail),
            Case::http("HTTPS on the port of HTTP", &format!("https://{plain}/"), Fail),
            // nginx says 400 to that.
            Case::http("HTTP on the port of HTTPS", &format!("http://{by_name}/"), Fail),
            Case::new("open port", &is_tcp(plain), "tcp", &plain.to_string(), Pass),
            Case::new("closed port of TCP", &is_tcp(self.closed), "tcp", &self.closed.to_string(), Fail),
            Case::new("banner", &is_tcp(self.banner), "banner", &self.banner.to_string(), Pass).with(&talk),
            Case::new("another banner", &is_tcp(self.banner), "absent", &self.banner.to_string(), Fail)
                .with(&["--expect", "SSH"]),
            Case::new("TLS", &format!("tls://{by_name}"), "tls", &by_name, Pass),
            Case::new("TLS, wrong name", &format!("tls://{by_address}"), "tls", &by_address, Fail),
            Case::new("STARTTLS", &self.mail_url(), "starttls", &self.mail_place(), Pass),
            Case::new("DNS", &dns("a.servers.test"), "known", &names.to_string(), Pass),
            Case::new("DNS, no such name", &dns("b.servers.test"), "unknown", &names.to_string(), Fail),
            Case::new(
                "DNS, no such record",
                &dns("a.servers.test?type=MX"),
                "empty",
                &names.to_string(),
                FailHere("who asks for a record wants one"),
            ),
            Case::new("ICMP", "icmp://127.0.0.1", "icmp", "127.0.0.1", Pass),
            Case::new("ICMP, nobody there", "icmp://10.77.1.99", "icmp", "10.77.1.99", Fail),
            Case::new("gRPC", &format!("grpc://{own}"), "grpc", own, Pass),
            Case::new(
                "gRPC, no such service",
                &format!("grpc://{own}/no.such.Service"),
                "grpc_unknown",
                own,
                Fail,
            ),
        ]
    }

    pub(super) fn slow(&self) -> String {
        format!("http://{}/", self.slow)
    }

    /// A server that shows nothing but its own certificate.
    pub(super) fn trusted(&self) -> Case {
        Case::http("certificate", &format!("https://localhost:{}/", self.nginx.good.port()), Expected::Pass)
    }

    /// A server that shows a certificate which ended long ago besides its own.
    pub(super) fn with_a_relic(&self) -> Case {
        let url = format!("https://localhost:{}/", self.nginx.relic.port());
        Case::http("certificate and an old one", &url, Expected::Pass)
    }

    fn mail_place(&self) -> String {
        format!("localhost:{}", self.mail.port())
    }

    fn mail_url(&self) -> String {
        format!("smtp://{}", self.mail_place())
    }
}

async fn start_nginx(scratch: &Scratch, ports: Ports, files: [&Files; 3]) -> Result<Process> {
    let config = scratch.write("nginx.conf", configuration(scratch.path(), ports, files))?;
    let mut command = Command::new(environment::tool("nginx", &[]).context("nginx")?);
    command.arg("-p").arg(scratch.path()).arg("-c").arg(config).args(["-e", "stderr"]);
    let mut process = Process::start("nginx", command, scratch.join("nginx.log"))?;
    eventually("nginx answered", SOON, async || {
        process.assert_running()?;
        Ok(http::get(&format!("http://{}/", ports.plain)).await.ok())
    })
    .await?;
    Ok(process)
}

fn configuration(root: &Path, ports: Ports, files: [&Files; 3]) -> String {
    let root = root.display();
    let hops = |name: &str, count: usize| -> String {
        let hop = |from: usize| format!("location = /{name}/{from} {{ return 302 /{name}/{}; }} ", from + 1);
        let end = format!("location = /{name}/{count} {{ return 302 /; }} ");
        (1..count).map(hop).chain([end]).collect()
    };
    let (five, seven) = (hops("hop", 5), hops("long", 7));
    let secure = [ports.good, ports.expired, ports.relic].into_iter().zip(files).map(|(address, files)| {
        let (certificate, key) = (files.certificate.display(), files.key.display());
        format!(
            "server {{ listen {address} ssl; ssl_certificate {certificate}; ssl_certificate_key {key}; location / {{ return 200 'fine'; }} }}\n"
        )
    });
    let secure: String = secure.collect();
    let plain = ports.plain;
    format!(
        "daemon off;
worker_processes 1;
pid {root}/nginx.pid;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path {root}/body; proxy_temp_path {root}/proxy; fastcgi_temp_path {root}/fastcgi;
  uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;
  server {{
    listen {plain};
    location = / {{ return 200 'fine'; }}
    location = /204 {{ return 204; }}
    location = /503 {{ return 503; }}
    location = /moved {{ return 301 /; }}
    location = /moved-to-503 {{ return 307 /503; }}
    location = /loop {{ return 302 /loop; }}
    {five}
    {seven}
    location / {{ return 404; }}
  }}
  {secure}
}}
"
    )
}
