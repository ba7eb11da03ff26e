//! Exim, a mail server that many run: takes mail over SMTP with STARTTLS and TLS from the first byte, and puts it into files.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use tokio::net::TcpStream;

use crate::certificate::{Authority, Validity};
use crate::process::{Process, free_address};
use crate::{SOON, Scratch, environment, eventually};

/// Who may send, with the password [`PASSWORD`], and only inside TLS.
pub const USERNAME: &str = "me";
/// See [`USERNAME`].
pub const PASSWORD: &str = "correct-horse";

/// A running server. Takes mail for everybody but `nobody@…`.
#[derive(Debug)]
pub struct Exim {
    /// The port of STARTTLS.
    pub port: u16,
    /// The port of TLS from the first byte.
    pub tls_port: u16,
    _process: Process,
    scratch: Scratch,
}

/// Where it is installed, if it is and may be run: only root may start it as a daemon.
#[must_use]
pub fn installed() -> Option<PathBuf> {
    environment::tool("exim4", &[]).filter(|_| environment::is_root())
}

impl Exim {
    /// Starts one with a certificate for 127.0.0.1.
    ///
    /// # Errors
    /// When it does not listen.
    pub async fn start(program: &Path, authority: &Authority) -> Result<Self> {
        let scratch = Scratch::new()?;
        // It leaves root behind as soon as it is given a configuration of ours.
        fs::set_permissions(scratch.path(), Permissions::from_mode(0o777))?;
        let files = authority.issue(&scratch, "mail", &["127.0.0.1"], Validity::Current)?;
        fs::set_permissions(&files.key, Permissions::from_mode(0o644))?;
        let (port, tls_port) = (free_address()?.port(), free_address()?.port());
        let config = config(scratch.path(), port, tls_port);
        let config = scratch.write("exim.conf", config)?;
        let mut command = Command::new(program);
        command.arg("-C").arg(config).arg("-bdf");
        let mut process = Process::start("exim4", command, scratch.join("exim.log"))?;
        eventually("the mail server listened", SOON, async || {
            process.assert_running()?;
            Ok(TcpStream::connect(("127.0.0.1", tls_port)).await.ok().map(drop))
        })
        .await?;
        Ok(Self { port, tls_port, _process: process, scratch })
    }

    /// The files of the mails that have arrived, in the order of their arrival.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn mails(&self) -> Result<Vec<PathBuf>> {
        let directory = self.scratch.join("mail/new");
        if !directory.is_dir() {
            return Ok(vec![]);
        }
        let mut mails =
            fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        mails.sort();
        Ok(mails)
    }
}

fn config(scratch: &Path, port: u16, tls_port: u16) -> String {
    let here = scratch.display();
    format!(
        "primary_hostname = mail.test
spool_directory = {here}/spool
log_file_path = {here}/%slog
pid_file_path = {here}/exim.pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port} : {tls_port}
tls_on_connect_ports = {tls_port}
tls_advertise_hosts = *
tls_certificate = {here}/mail.pem
tls_privatekey = {here}/mail.key
acl_smtp_rcpt = rcpt
host_lookup =
keep_environment =
deliver_drop_privilege
begin acl
rcpt:
  deny local_parts = nobody
       message = no such user here
  deny !authenticated = *
       message = log in first
  accept
begin routers
all:
  driver = accept
  transport = maildir
begin transports
maildir:
  driver = appendfile
  maildir_format
  directory = {here}/mail
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${{if and{{{{eq{{$auth2}}{{{USERNAME}}}}}{{eq{{$auth3}}{{{PASSWORD}}}}}}}}}
  server_set_id = $auth2
  server_advertise_condition = ${{if def:tls_in_cipher}}
"
    )
}
