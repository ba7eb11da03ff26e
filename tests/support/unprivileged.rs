//! Programs that run as nobody, also where the tests run as root: agents are made for users without any rights.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::{Scratch, environment};

/// User and group of nobody, as every Linux system has them.
const NOBODY: u32 = 65_534;

/// What stands before a command line so that it is run as nobody, without groups, and with no way to more rights. Empty
/// where the tests have no rights to give up. `has_raw_sockets` leaves it CAP_NET_RAW.
#[must_use]
pub fn prefix(has_raw_sockets: bool) -> Vec<String> {
    if !environment::is_root() {
        return vec![];
    }
    let user = [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")];
    let rest = ["--clear-groups", "--no-new-privs", "--"].map(str::to_owned);
    let left = ["--inh-caps=+net_raw", "--ambient-caps=+net_raw"].map(str::to_owned);
    let left = if has_raw_sockets { left.into() } else { vec![] };
    [vec!["setpriv".to_owned()], user.into(), left, rest.into()].concat()
}

/// One of the project's binaries where nobody can reach it: in its own place, or copied into `scratch`.
///
/// # Errors
/// When it was not built, or cannot be copied.
pub fn binary(name: &str, scratch: &Scratch) -> Result<PathBuf> {
    let binary = environment::binary(name)?;
    if !environment::is_root() || is_reachable(&binary)? {
        return Ok(binary);
    }
    let copy = scratch.join(name);
    if !copy.exists() {
        fs::copy(&binary, &copy)?;
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
    }
    Ok(copy)
}

/// A directory of `scratch` that belongs to whom [`prefix`] makes of a process.
///
/// # Errors
/// When the file system refuses.
pub fn directory(name: &str, scratch: &Scratch) -> Result<PathBuf> {
    let path = scratch.join(name);
    fs::create_dir_all(&path)?;
    if environment::is_root() {
        chown(&path, Some(NOBODY), Some(NOBODY))?;
    }
    Ok(path)
}

/// Whether everybody may pass through all directories above, and run the file.
fn is_reachable(file: &Path) -> Result<bool> {
    for path in file.ancestors() {
        if fs::metadata(path)?.permissions().mode() & 0o001 == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}
