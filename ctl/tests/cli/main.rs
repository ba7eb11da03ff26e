//! `vigilctl` from outside: the real binary against a coordinator that answers canned data on a loopback port.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod canned;
mod changes;
mod exits;
mod fake;
mod golden;
mod heartbeat_run;
mod tls;
mod webhook;

use std::io::Write;
use std::process::{Command, Stdio};

/// What a run of the binary left.
pub(crate) struct Run {
    /// The exit code.
    pub(crate) code: i32,
    /// Data.
    pub(crate) stdout: String,
    /// Talk.
    pub(crate) stderr: String,
}

/// The binary with an empty environment but for the server's address.
pub(crate) fn command(server: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vigilctl"));
    command.env_clear().env("VIGILMON_SERVER", server).env("VIGILMON_API_KEY", "vk_test").args(args);
    command
}

/// Runs the binary to its end.
pub(crate) fn vigilctl(server: &str, args: &[&str]) -> Run {
    finish(&mut command(server, args), "")
}

/// Runs a prepared binary with something on stdin.
pub(crate) fn finish(command: &mut Command, stdin: &str) -> Run {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that reads no stdin may end before it gets any.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    Run {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}
