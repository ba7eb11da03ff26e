//! The files of an agent that joins: its token (for its own eyes) and its configuration beside it. Whatever is written is
//! written whole or not at all, and nothing of another agent is replaced unasked.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use model::{Random, Secret};
use proto::probe::join::JoinToken;
use proto::probe::token::AgentToken;
use serde::{Deserialize, Serialize};
use url::Url;

use super::NotJoined;

/// Where the files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Paths {
    pub(super) config: PathBuf,
    pub(super) token: PathBuf,
    spool: PathBuf,
}

/// The files as they were found.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) paths: Paths,
    /// The agent has joined already.
    own: Option<AgentToken>,
    /// Whether the configuration says already what it has to.
    pub(super) is_config_kept: bool,
}

/// What a configuration says of joining; there may be more in it.
#[derive(Debug, PartialEq, Eq, Deserialize, Serialize)]
struct Essentials {
    coordinator: String,
    token_file: PathBuf,
    spool: PathBuf,
}

impl Paths {
    /// As they were given; else where they belong for root and for everybody else.
    pub(super) fn new(
        config: Option<PathBuf>,
        state: Option<PathBuf>,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, NotJoined> {
        let is_root = rustix::process::geteuid().is_root();
        let own = |variable: &str, below: &str| {
            let of = |name: &str| environment.get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
            of(variable).or_else(|| Some(of("HOME")?.join(below)))
        };
        let default = |system: &str, variable: &str, home: &str, name: &str| {
            if is_root { Some(PathBuf::from(system)) } else { Some(own(variable, home)?.join(name)) }
        };
        let config = config.or_else(|| {
            default("/etc/vigilmon/agent.toml", "XDG_CONFIG_HOME", ".config", "vigilmon/agent.toml")
        });
        let spool = state.or_else(|| {
            default("/var/lib/vigilmon-agent", "XDG_STATE_HOME", ".local/state", "vigilmon-agent")
        });
        let (Some(config), Some(spool)) = (config, spool) else { return Err(NotJoined::NoHome) };
        // What is written must hold wherever `run` is started from.
        let config = std::path::absolute(&config).map_err(|error| NotJoined::File(config, error))?;
        let spool = std::path::absolute(&spool).map_err(|error| NotJoined::File(spool, error))?;
        Ok(Self { token: config.with_extension("token"), config, spool })
    }

    /// Holds the secret until it is registered.
    fn prepared(&self) -> PathBuf {
        self.config.with_extension("token.joining")
    }

    fn essentials(&self, coordinator: &Url) -> Essentials {
        Essentials {
            coordinator: coordinator.as_str().trim_end_matches('/').to_owned(),
            token_file: self.token.clone(),
            spool: self.spool.clone(),
        }
    }
}

impl Files {
    /// Looks at what is there. Nothing is touched.
    pub(super) fn look(paths: Paths, token: &JoinToken, force: bool) -> Result<Self, NotJoined> {
        let own = read(&paths.token)?;
        let is_ours = |own: &AgentToken| own.agent == token.agent && own.fingerprint == token.fingerprint;
        let parsed = own.as_deref().and_then(|text| text.parse().ok()).filter(is_ours);
        if own.is_some() && parsed.is_none() && !force {
            return Err(NotJoined::Occupied(paths.token, "another agent's token"));
        }
        let config = read(&paths.config)?;
        let said = config.as_deref().and_then(|text| toml::from_str::<Essentials>(text).ok());
        let is_config_kept = said.is_some_and(|said| said == paths.essentials(&token.address));
        if config.is_some() && !is_config_kept && !force {
            return Err(NotJoined::Occupied(paths.config, "a different configuration"));
        }
        Ok(Self { paths, own: parsed, is_config_kept })
    }

    /// The agent's token, if it has joined before.
    pub(super) const fn own(&self) -> Option<&AgentToken> {
        self.own.as_ref()
    }

    /// The agent's token to be, on disk: the one of an earlier try, or a new one.
    pub(super) fn prepare(&self, token: &JoinToken, random: &dyn Random) -> Result<AgentToken, NotJoined> {
        let path = self.paths.prepared();
        let earlier = read(&path)?.and_then(|text| text.parse::<AgentToken>().ok());
        if let Some(earlier) =
            earlier.filter(|it| it.agent == token.agent && it.fingerprint == token.fingerprint)
        {
            return Ok(earlier);
        }
        let secret = Secret::new(model::random::bytes(random));
        let own = AgentToken { agent: token.agent, secret, fingerprint: token.fingerprint };
        let directory = directory(&path);
        make(directory).map_err(|error| NotJoined::File(directory.to_owned(), error))?;
        place(&path, 0o600, &own.expose()).map_err(|error| NotJoined::File(path, error))?;
        Ok(own)
    }

    /// Forgets a token of which the coordinator said that it is not let in; any other may be registered already.
    pub(super) fn forget_prepared(&self) {
        // Whatever stays is of no use, and the next try says so again.
        let _ = fs::remove_file(self.paths.prepared());
    }

    /// Puts token and configuration in their places.
    pub(super) fn keep(&self, coordinator: &Url) -> Result<(), NotJoined> {
        let Paths { config, token, .. } = &self.paths;
        if self.own.is_none() {
            let moved = fs::rename(self.paths.prepared(), token).and_then(|()| sync(directory(token)));
            moved.map_err(|error| NotJoined::File(token.clone(), error))?;
        }
        if self.is_config_kept {
            return Ok(());
        }
        let body = toml::to_string(&self.paths.essentials(coordinator)).map_err(io::Error::other);
        let text = |body| {
            format!(
                "# Written by `vigilmon-agent join`. `vigilmon-agent run --help` tells of more options.\n{body}"
            )
        };
        let written = body.and_then(|body| place(config, 0o644, &text(body)));
        written.map_err(|error| NotJoined::File(config.clone(), error))
    }
}

/// A file's text, if there is one.
fn read(path: &Path) -> Result<Option<String>, NotJoined> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(NotJoined::File(path.to_owned(), error)),
    }
}

/// Writes a file durably under another name, then gives it its own. Its mode is this one whatever the umask.
fn place(path: &Path, mode: u32, text: &str) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let temporary = PathBuf::from(name);
    // One that somebody left may have another mode.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(text.as_bytes())?;
    file.write_all(if text.ends_with('\n') { b"" } else { b"\n" })?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync(directory(path))
}

/// Makes a directory and what is missing above it. Whatever the umask, everybody may enter what is made: the service
/// may run as a user of its own, and the token has a mode of its own.
fn make(directory: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = directory.ancestors().take_while(|path| !path.exists()).collect();
    fs::create_dir_all(directory)?;
    missing.into_iter().try_for_each(|made| fs::set_permissions(made, Permissions::from_mode(0o755)))
}

fn directory(path: &Path) -> &Path {
    path.parent().unwrap_or_else(|| Path::new("/"))
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use model::{AgentId, SystemRandom};
    use proto::probe::join::agent_address;

    use super::*;

    fn token(agent: u8) -> JoinToken {
        JoinToken {
            agent: AgentId::from_bytes([agent; 16]),
            secret: Secret::new([2; 32]),
            fingerprint: [3; 32],
            address: agent_address("https://a.example:8443").unwrap(),
        }
    }

    fn paths(name: &str) -> Paths {
        let root = std::env::temp_dir().join(format!("vigilmon-join-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        Paths::new(Some(root.join("etc/agent.toml")), Some(root.join("state")), &BTreeMap::new()).unwrap()
    }

    fn joined(paths: &Paths, token: &JoinToken) -> AgentToken {
        let files = Files::look(paths.clone(), token, false).unwrap();
        let own = files.prepare(token, &SystemRandom).unwrap();
        files.keep(&token.address).unwrap();
        own
    }

    #[test]
    fn token_and_configuration_are_what_run_reads_and_the_token_is_for_its_owner_alone() {
        let paths = paths("written");
        let own = joined(&paths, &token(1));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&paths.token), mode(&paths.config)), (0o600, 0o644));
        assert_eq!(mode(directory(&paths.config)), 0o755);
        let options = crate::config::RunOptions { config: Some(paths.config.clone()), ..Default::default() };
        let config = crate::config::load(options, &BTreeMap::new()).unwrap();
        assert_eq!((config.token, config.spool), (own.clone(), Some(paths.spool.clone())));
        assert_eq!(config.coordinator.as_str(), "https://a.example:8443/");
        assert_eq!(Files::look(paths.clone(), &token(1), false).unwrap().own(), Some(&own));
        fs::remove_dir_all(paths.spool.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_file_has_the_mode_it_should_whatever_the_umask_and_a_directory_that_was_there_keeps_its_own() {
        let path = paths("modes").config;
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        make(directory(&path)).unwrap();
        fs::set_permissions(directory(&path), Permissions::from_mode(0o700)).unwrap();
        make(directory(&path)).unwrap();
        // The usual umask would take two bits of these.
        place(&path, 0o666, "x").unwrap();
        assert_eq!((mode(directory(&path)), mode(&path)), (0o700, 0o666));
        fs::remove_dir_all(directory(directory(&path))).unwrap();
    }

    #[test]
    fn whoever_was_interrupted_before_the_answer_goes_on_with_the_same_secret() {
        let paths = paths("interrupted");
        let files = Files::look(paths.clone(), &token(1), false).unwrap();
        let first = files.prepare(&token(1), &SystemRandom).unwrap();
        assert_eq!(files.prepare(&token(1), &SystemRandom).unwrap(), first);
        assert_ne!(files.prepare(&token(2), &SystemRandom).unwrap().secret, first.secret);
        fs::remove_dir_all(paths.spool.parent().unwrap()).unwrap();
    }

    #[test]
    fn nothing_of_another_agent_is_replaced_unasked() {
        let paths = paths("occupied");
        joined(&paths, &token(1));
        let refused = Files::look(paths.clone(), &token(2), false).unwrap_err();
        assert!(matches!(&refused, NotJoined::Occupied(path, _) if *path == paths.token), "{refused}");
        assert!(Files::look(paths.clone(), &token(2), true).unwrap().own().is_none());

        let tuned = fs::read_to_string(&paths.config).unwrap() + "max_checks = 9\n";
        fs::write(&paths.config, &tuned).unwrap();
        joined_again(&paths);
        assert_eq!(fs::read_to_string(&paths.config).unwrap(), tuned, "it says the same and more");
        fs::write(&paths.config, "coordinator = 'https://b.example'\n").unwrap();
        let refused = Files::look(paths.clone(), &token(1), false).unwrap_err();
        assert!(matches!(&refused, NotJoined::Occupied(path, _) if *path == paths.config), "{refused}");
        fs::remove_dir_all(paths.spool.parent().unwrap()).unwrap();
    }

    fn joined_again(paths: &Paths) {
        let files = Files::look(paths.clone(), &token(1), false).unwrap();
        assert!(files.own().is_some() && files.is_config_kept);
        files.keep(&token(1).address).unwrap();
    }
}
