//! What the tests read of their surroundings: variables, tools, privileges, the time, and randomness.

use std::env;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use model::{Clock, Random, SystemClock, SystemRandom, Timestamp};

/// A variable of the environment, if it is set and not empty.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place where the tests read the environment")]
pub fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// A whole number from the environment, or `default`.
///
/// # Errors
/// When the variable is set to something else.
pub fn number(name: &str, default: u32) -> Result<u32> {
    variable(name)
        .map_or(Ok(default), |text| text.parse().with_context(|| format!("{name}: must be a whole number")))
}

/// The wall time, which the receivers' arrivals and the coordinator's dates share on one machine.
#[must_use]
pub fn now() -> Timestamp {
    SystemClock::start().wall()
}

/// `N` random bytes.
#[must_use]
pub fn random_bytes<const N: usize>() -> [u8; N] {
    model::random::bytes(&SystemRandom)
}

/// A random number in `0.0 .. 1.0`.
#[must_use]
pub fn random_unit() -> f64 {
    model::random::unit(&SystemRandom as &dyn Random)
}

/// Whether the tests run as root.
#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// One of the project's binaries, from the directory that the test itself was built into.
///
/// # Errors
/// When it was not built.
pub fn binary(name: &str) -> Result<PathBuf> {
    let own = env::current_exe()?;
    let path = own.parent().and_then(Path::parent).context("a test has a target directory")?.join(name);
    if !path.is_file() {
        bail!("{} is missing: run `cargo build --workspace --bins` first, or ./tests/run", path.display());
    }
    Ok(path)
}

/// The directory of the checkout.
#[must_use]
pub fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("`tests` is below the checkout").to_owned()
}

/// A program in `PATH`, in the places where system daemons stand, or in one of `further` directories.
#[must_use]
pub fn tool(name: &str, further: &[PathBuf]) -> Option<PathBuf> {
    let path = variable("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let mut places = env::split_paths(&path).chain(usual).chain(further.iter().cloned());
    places.find_map(|place| Some(place.join(name)).filter(|path| path.is_file()))
}

/// The interpreter of the tests' virtual environment, which `tests/run` makes.
#[must_use]
pub fn python() -> Option<PathBuf> {
    let venv = checkout().join("target/test-venv/bin/python");
    variable("VIGILMON_TEST_PYTHON").map(PathBuf::from).or(Some(venv)).filter(|path| path.exists())
}

/// The JavaScript interpreter and the modules of the tests' own, which `tests/run` installs.
#[must_use]
pub fn node() -> Option<(PathBuf, PathBuf)> {
    let modules = checkout().join("target/test-node/node_modules");
    tool("node", &[]).zip(Some(modules).filter(|path| path.is_dir()))
}

/// Reports that `test` cannot run here because `what` is missing; the test then returns. `tests/run` lists these by
/// name.
///
/// # Errors
/// Where `CI=true`: there everything must run.
pub fn skip(test: &str, what: &str) -> Result<()> {
    println!("skipped: {test}: {what}");
    if let Some(file) = variable("VIGILMON_SKIPPED") {
        let mut file = OpenOptions::new().create(true).append(true).open(file)?;
        writeln!(file, "{test}: {what}")?;
    }
    if variable("CI").as_deref() == Some("true") {
        bail!("{test} cannot run: {what}");
    }
    Ok(())
}
