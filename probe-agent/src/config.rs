//! What an agent is told by its operator: flags before `VIGILMON_…` variables before the TOML file. All mistakes are
//! told at once.

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use model::Check;
use model::address::Cidr;
use model::check::{CERTIFICATE_NAMES, is_certificate_name};
use proto::probe::token::AgentToken;
use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};
use url::Url;

use crate::check::{AddressPolicy, ClientCertificate, Exempt, Proxy, Targets, Unusable};
use crate::gate::Concurrency;

/// A complete configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the coordinator listens for agents: `https://HOST:PORT`.
    pub coordinator: Url,
    /// Who this agent is, how it proves it, and the coordinator's fingerprint.
    pub token: AgentToken,
    /// Where checks may go, and by what means.
    pub targets: Targets,
    /// How many checks run at the same time.
    pub concurrency: Concurrency,
    /// Targets that are known to be well: when most of them fail, it is this agent.
    pub canaries: Vec<Check>,
    /// Directory for results until the coordinator has them; `None`: they wait in memory.
    pub spool: Option<PathBuf>,
    /// The most bytes in that directory.
    pub spool_bytes: u64,
    /// Whether this process takes over from one that runs on the same spool, and lets another take over from it.
    pub takes_over: bool,
    /// Whether checks that were in flight when the process died are suspected. Only of a process of its own: of one that
    /// does more, others may be to blame.
    pub sets_aside: bool,
    /// Whether what was suspected of checks is forgotten at the start.
    pub forgets_quarantine: bool,
}

/// The most bytes of results in the spool, unless its operator says otherwise.
const SPOOL_MIB: u64 = 256;
/// The smallest spool.
const MIN_SPOOL_MIB: u64 = 16;
/// The largest: a terabyte.
const MAX_SPOOL_MIB: u64 = 1 << 20;

impl Config {
    /// A configuration with nothing but what is needed.
    #[must_use]
    pub fn new(coordinator: Url, token: AgentToken) -> Self {
        Self {
            coordinator,
            token,
            targets: Targets::default(),
            concurrency: Concurrency::default(),
            canaries: vec![],
            spool: None,
            spool_bytes: SPOOL_MIB << 20,
            takes_over: false,
            sets_aside: false,
            forgets_quarantine: false,
        }
    }
}

/// What can be said of where checks go; common to `run` and `check`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct TargetOptions {
    /// PEM file with further certificate authorities to trust [env: VIGILMON_CA_FILE]
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Range of addresses that may be checked whatever else is denied; may be repeated [env: VIGILMON_ALLOW_TARGET,
    /// separated by commas]
    #[arg(long, value_name = "CIDR")]
    pub allow_target: Vec<String>,
    /// Check nothing but the public Internet and what --allow-target names [env: VIGILMON_DENY_PRIVATE]
    #[arg(long)]
    pub deny_private: bool,
    /// Certificate and key (PEM) that a check can have shown to its target, under the name by which monitors ask for it;
    /// `check` shows the first. The key may stand in the certificate's file. May be repeated
    /// [env: VIGILMON_CLIENT_CERTIFICATE, separated by commas]
    #[arg(long, value_name = "NAME=CERTIFICATE[:KEY]")]
    pub client_certificate: Vec<String>,
    /// Proxy for http:// and https:// targets; HTTP_PROXY and its like are not looked at [env: VIGILMON_PROXY]
    #[arg(long, value_name = "http://[USER:PASSWORD@]HOST:PORT")]
    pub proxy: Option<ProxyUrl>,
    /// Host, with all names below it, or range of addresses to check without the proxy, or * for all; may be repeated
    /// [env: VIGILMON_NO_PROXY, separated by commas]
    #[arg(long, value_delimiter = ',', value_name = "HOST|CIDR")]
    pub no_proxy: Vec<String>,
}

/// A proxy's URL as the operator wrote it; it may hold a password, which is never shown.
#[derive(Clone, Deserialize)]
pub struct ProxyUrl(String);

impl FromStr for ProxyUrl {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProxyUrl")
    }
}

impl Serialize for ProxyUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let proxy = Proxy::new(&self.0, vec![]).map_err(S::Error::custom)?;
        serializer.serialize_str(proxy.shown())
    }
}

impl TargetOptions {
    /// The name of the first client certificate that a flag brings.
    #[must_use]
    pub fn shown_certificate(&self) -> Option<String> {
        let (name, _) = self.client_certificate.first()?.split_once('=')?;
        Some(name.to_owned())
    }
}

/// What can be said of a running agent, by flag, variable or file.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct RunOptions {
    /// The coordinator's address for agents, such as https://vigilmon.example.com:8443 [env: VIGILMON_COORDINATOR]
    #[arg(long, value_name = "URL")]
    pub coordinator: Option<String>,
    /// File with the agent's token, as `vigilctl agent create` printed it [env: VIGILMON_TOKEN_FILE; or the token
    /// itself: VIGILMON_AGENT_TOKEN]
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Most checks at the same time; 512 by default [env: VIGILMON_MAX_CHECKS]
    #[arg(long, value_name = "N")]
    pub max_checks: Option<usize>,
    /// Most checks of one host at the same time; 64 by default [env: VIGILMON_MAX_CHECKS_PER_HOST]
    #[arg(long, value_name = "N")]
    pub max_checks_per_host: Option<usize>,
    /// Target that is known to be well, looked at every 15 s: when most of them fail, this agent is not believed; may
    /// be repeated [env: VIGILMON_CANARY, separated by commas]
    #[arg(long, value_name = "URL")]
    pub canary: Vec<String>,
    /// Directory for results until the coordinator has them, kept over restarts of this agent and of the machine; without
    /// it 16 MiB of them wait in memory [env: VIGILMON_SPOOL]
    #[arg(long, value_name = "DIR")]
    pub spool: Option<PathBuf>,
    /// The most that the spool takes on disk, in MiB; 256 by default [env: VIGILMON_SPOOL_MIB]
    #[arg(long, value_name = "MIB")]
    pub spool_mib: Option<u64>,
    /// Neither take over from an agent that runs on the same spool, which otherwise lets its checks end and ends, nor let
    /// another take over from this one [env: VIGILMON_NO_TAKE_OVER]
    #[arg(long)]
    pub no_take_over: bool,
    /// Run checks again that brought the agent down, and are quarantined; for this start only
    #[arg(long)]
    pub forget_quarantine: bool,
    /// Where checks go.
    #[command(flatten)]
    pub targets: TargetOptions,
    /// TOML file with the same options, in snake_case [env: VIGILMON_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Prints what flags, variables and file come to, as such a file, and ends; the token is not in it
    #[arg(long)]
    pub print_config: bool,
}

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Invalid(pub Vec<String>);

/// The TOML file.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    coordinator: Option<String>,
    token_file: Option<PathBuf>,
    max_checks: Option<usize>,
    max_checks_per_host: Option<usize>,
    canary: Vec<String>,
    spool: Option<PathBuf>,
    spool_mib: Option<u64>,
    no_take_over: bool,
    ca_file: Option<PathBuf>,
    allow_target: Vec<String>,
    deny_private: bool,
    client_certificate: Vec<String>,
    proxy: Option<ProxyUrl>,
    no_proxy: Vec<String>,
}

/// Puts a configuration together from flags, environment and file.
///
/// # Errors
/// With every mistake, each naming the option.
pub fn load(flags: RunOptions, environment: &BTreeMap<String, String>) -> Result<Config, Invalid> {
    let mut mistakes = Mistakes::default();
    let options = merge(flags, environment, &mut mistakes);
    let coordinator = coordinator(options.coordinator.as_deref(), &mut mistakes);
    let inline = environment.get("VIGILMON_AGENT_TOKEN").map(String::as_str);
    let token = token(options.token_file.as_deref(), inline, &mut mistakes);
    let targets = targets_or(&options.targets, &mut mistakes);
    let default = Concurrency::default();
    let concurrency = Concurrency {
        total: mistakes.at_least_one("max_checks", options.max_checks).unwrap_or(default.total),
        per_host: mistakes
            .at_least_one("max_checks_per_host", options.max_checks_per_host)
            .unwrap_or(default.per_host),
    };
    let canaries = canaries(&options.canary, &mut mistakes);
    let spool_mib = options.spool_mib.unwrap_or(SPOOL_MIB);
    if !(MIN_SPOOL_MIB..=MAX_SPOOL_MIB).contains(&spool_mib) {
        mistakes.add("spool_mib", format_args!("must be from {MIN_SPOOL_MIB} to {MAX_SPOOL_MIB}"));
    }
    match (coordinator, token) {
        (Some(coordinator), Some(token)) if mistakes.0.is_empty() => Ok(Config {
            coordinator,
            token,
            targets,
            concurrency,
            canaries,
            spool: options.spool,
            spool_bytes: spool_mib << 20,
            takes_over: !options.no_take_over,
            sets_aside: true,
            forgets_quarantine: options.forget_quarantine,
        }),
        _ => Err(Invalid(mistakes.0)),
    }
}

/// What flags, environment and file come to, as a file that says all of it. Of the token only where it is, and of a proxy
/// what it takes besides the password.
///
/// # Errors
/// As [`load`].
pub fn effective(flags: RunOptions, environment: &BTreeMap<String, String>) -> Result<String, Invalid> {
    let config = load(flags.clone(), environment)?;
    let options = merge(flags, environment, &mut Mistakes::default());
    let file = File {
        coordinator: Some(config.coordinator.to_string()),
        token_file: options.token_file,
        max_checks: Some(config.concurrency.total),
        max_checks_per_host: Some(config.concurrency.per_host),
        canary: options.canary,
        spool: config.spool,
        spool_mib: Some(config.spool_bytes >> 20),
        no_take_over: options.no_take_over,
        ca_file: options.targets.ca_file,
        allow_target: options.targets.allow_target,
        deny_private: options.targets.deny_private,
        client_certificate: options.targets.client_certificate,
        proxy: options.targets.proxy,
        no_proxy: options.targets.no_proxy,
    };
    let text = toml::to_string(&file).map_err(|error| Invalid(vec![error.to_string()]))?;
    Ok(format!("# agent {}\n{text}", config.token.agent))
}

/// Puts together what is said of targets alone.
///
/// # Errors
/// With every mistake, each naming the option.
pub fn targets(flags: TargetOptions, environment: &BTreeMap<String, String>) -> Result<Targets, Invalid> {
    let mut mistakes = Mistakes::default();
    let options = merge_targets(flags, environment, TargetOptions::default(), &mut mistakes);
    let targets = targets_or(&options, &mut mistakes);
    if mistakes.0.is_empty() { Ok(targets) } else { Err(Invalid(mistakes.0)) }
}

#[derive(Default)]
struct Mistakes(Vec<String>);

impl Mistakes {
    fn add(&mut self, option: &str, problem: impl fmt::Display) {
        self.0.push(format!("{option}: {problem}"));
    }

    fn at_least_one(&mut self, option: &str, value: Option<usize>) -> Option<usize> {
        if value == Some(0) {
            self.add(option, "must be at least 1");
        }
        value
    }

    fn read(&mut self, option: &str, path: &Path) -> Option<Vec<u8>> {
        std::fs::read(path)
            .map_err(|error| self.add(option, format_args!("{}: {error}", path.display())))
            .ok()
    }
}

fn merge(flags: RunOptions, environment: &BTreeMap<String, String>, mistakes: &mut Mistakes) -> RunOptions {
    let mut number = |name: &str| {
        let value = variable(environment, name)?.parse::<u64>();
        value.map_err(|_| mistakes.add(name, "must be a number")).ok()
    };
    let mut count = |name: &str| number(name).map(|value| usize::try_from(value).unwrap_or(usize::MAX));
    let (max_checks, max_checks_per_host) =
        (count("VIGILMON_MAX_CHECKS"), count("VIGILMON_MAX_CHECKS_PER_HOST"));
    let spool_mib = number("VIGILMON_SPOOL_MIB");
    let path = |name| variable(environment, name).map(PathBuf::from);
    let config = flags.config.or_else(|| path("VIGILMON_CONFIG"));
    let file = config.as_deref().and_then(|path| file(path, mistakes)).unwrap_or_default();
    let coordinator = variable(environment, "VIGILMON_COORDINATOR").map(str::to_owned);
    let file_targets = TargetOptions {
        ca_file: file.ca_file,
        allow_target: file.allow_target,
        deny_private: file.deny_private,
        client_certificate: file.client_certificate,
        proxy: file.proxy,
        no_proxy: file.no_proxy,
    };
    RunOptions {
        coordinator: flags.coordinator.or(coordinator).or(file.coordinator),
        token_file: flags.token_file.or_else(|| path("VIGILMON_TOKEN_FILE")).or(file.token_file),
        max_checks: flags.max_checks.or(max_checks).or(file.max_checks),
        max_checks_per_host: flags.max_checks_per_host.or(max_checks_per_host).or(file.max_checks_per_host),
        canary: match variable(environment, "VIGILMON_CANARY") {
            _ if !flags.canary.is_empty() => flags.canary,
            Some(list) => list.split(',').map(|target| target.trim().to_owned()).collect(),
            None => file.canary,
        },
        spool: flags.spool.or_else(|| path("VIGILMON_SPOOL")).or(file.spool),
        spool_mib: flags.spool_mib.or(spool_mib).or(file.spool_mib),
        no_take_over: flags.no_take_over
            || flag(environment, "VIGILMON_NO_TAKE_OVER", mistakes).unwrap_or(file.no_take_over),
        forget_quarantine: flags.forget_quarantine,
        targets: merge_targets(flags.targets, environment, file_targets, mistakes),
        config,
        print_config: flags.print_config,
    }
}

fn merge_targets(
    flags: TargetOptions,
    environment: &BTreeMap<String, String>,
    file: TargetOptions,
    mistakes: &mut Mistakes,
) -> TargetOptions {
    let deny_private = flag(environment, "VIGILMON_DENY_PRIVATE", mistakes).unwrap_or(file.deny_private);
    let list = |name, flags: Vec<String>, file| match variable(environment, name) {
        _ if !flags.is_empty() => flags,
        Some(list) => list.split(',').map(|item| item.trim().to_owned()).collect(),
        None => file,
    };
    let ca_file = variable(environment, "VIGILMON_CA_FILE").map(PathBuf::from);
    let proxy = variable(environment, "VIGILMON_PROXY").map(|url| ProxyUrl(url.to_owned()));
    TargetOptions {
        ca_file: flags.ca_file.or(ca_file).or(file.ca_file),
        allow_target: list("VIGILMON_ALLOW_TARGET", flags.allow_target, file.allow_target),
        deny_private: flags.deny_private || deny_private,
        client_certificate: list(
            "VIGILMON_CLIENT_CERTIFICATE",
            flags.client_certificate,
            file.client_certificate,
        ),
        proxy: flags.proxy.or(proxy).or(file.proxy),
        no_proxy: list("VIGILMON_NO_PROXY", flags.no_proxy, file.no_proxy),
    }
}

/// A variable that says yes or no, if it is set.
fn flag(environment: &BTreeMap<String, String>, name: &str, mistakes: &mut Mistakes) -> Option<bool> {
    match variable(environment, name)? {
        "true" | "1" | "yes" => Some(true),
        "false" | "0" | "no" => Some(false),
        _ => {
            mistakes.add(name, "must be true or false");
            None
        }
    }
}

/// A variable that is set to something.
fn variable<'a>(environment: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    environment.get(name).map(String::as_str).filter(|value| !value.is_empty())
}

fn file(path: &Path, mistakes: &mut Mistakes) -> Option<File> {
    let bytes = mistakes.read("config", path)?;
    let parsed = String::from_utf8(bytes).map_err(|error| error.to_string());
    let parsed = parsed.and_then(|text| toml::from_str(&text).map_err(|error| error.to_string()));
    parsed
        .map_err(|error| mistakes.add("config", format_args!("{}: {}", path.display(), error.trim_end())))
        .ok()
}

fn coordinator(text: Option<&str>, mistakes: &mut Mistakes) -> Option<Url> {
    let Some(text) = text else {
        mistakes.add("coordinator", "is required, such as https://vigilmon.example.com:8443");
        return None;
    };
    match Url::parse(text) {
        Ok(url) if url.scheme() == "https" && url.has_host() => Some(url),
        Ok(_) => {
            mistakes.add("coordinator", "must be an https:// URL, such as https://vigilmon.example.com:8443");
            None
        }
        Err(error) => {
            mistakes.add("coordinator", format_args!("cannot be read as a URL: {error}"));
            None
        }
    }
}

fn token(file: Option<&Path>, inline: Option<&str>, mistakes: &mut Mistakes) -> Option<AgentToken> {
    let (option, text) = match (file, inline) {
        (Some(path), _) => {
            let bytes = mistakes.read("token_file", path)?;
            ("token_file", String::from_utf8_lossy(&bytes).into_owned())
        }
        (None, Some(text)) => ("VIGILMON_AGENT_TOKEN", text.to_owned()),
        (None, None) => {
            mistakes.add("token_file", "is required, or the token itself in VIGILMON_AGENT_TOKEN");
            return None;
        }
    };
    text.parse().map_err(|error| mistakes.add(option, error)).ok()
}

fn canaries(targets: &[String], mistakes: &mut Mistakes) -> Vec<Check> {
    let mut canaries = vec![];
    for target in targets {
        match Check::from_target(target) {
            Ok(check) => canaries.push(check),
            Err(error) => mistakes.add("canary", format_args!("{}", error.problem)),
        }
    }
    canaries
}

fn targets_or(options: &TargetOptions, mistakes: &mut Mistakes) -> Targets {
    let mut allow = Vec::new();
    for text in &options.allow_target {
        match text.parse::<Cidr>() {
            Ok(range) => allow.push(range),
            Err(error) => mistakes.add("allow_target", error),
        }
    }
    let extra_roots = options.ca_file.as_deref().and_then(|path| mistakes.read("ca_file", path));
    let mut warnings = vec![];
    let mut client_certificates: Vec<ClientCertificate> = vec![];
    for text in &options.client_certificate {
        let Some(certificate) = client_certificate(text, &mut warnings, mistakes) else { continue };
        if client_certificates.iter().any(|other| other.name() == certificate.name()) {
            mistakes
                .add("client_certificate", format_args!("there are two of the name {}", certificate.name()));
        }
        client_certificates.push(certificate);
    }
    let addresses = AddressPolicy { allow, deny_private: options.deny_private };
    let proxy = proxy(options, mistakes);
    Targets { addresses, extra_roots, client_certificates, proxy, warnings }
}

fn proxy(options: &TargetOptions, mistakes: &mut Mistakes) -> Option<Proxy> {
    let mut exempt: Vec<Exempt> = vec![];
    for text in &options.no_proxy {
        match text.parse() {
            Ok(read) => exempt.push(read),
            Err(problem) => mistakes.add("no_proxy", problem),
        }
    }
    let ProxyUrl(url) = options.proxy.as_ref()?;
    Proxy::new(url, exempt).map_err(|problem| mistakes.add("proxy", problem)).ok()
}

/// Reads `NAME=CERTIFICATE[:KEY]` and the files that it names.
fn client_certificate(
    text: &str,
    warnings: &mut Vec<String>,
    mistakes: &mut Mistakes,
) -> Option<ClientCertificate> {
    const OPTION: &str = "client_certificate";
    let named = text.split_once('=').filter(|(name, files)| is_certificate_name(name) && !files.is_empty());
    let Some((name, files)) = named else {
        mistakes.add(OPTION, format_args!("must be NAME=CERTIFICATE[:KEY], and NAME {CERTIFICATE_NAMES}"));
        return None;
    };
    let (certificate, key) = files.split_once(':').unwrap_or((files, files));
    let (certificate, key) = (Path::new(certificate), Path::new(key));
    let (chain, secret) = (mistakes.read(OPTION, certificate)?, mistakes.read(OPTION, key)?);
    if is_open_to_others(key) {
        warnings.push(format!("{OPTION}: {}: everybody on this machine can read this key", key.display()));
    }
    let read = ClientCertificate::new(name, &chain, &secret).map_err(|problem| {
        let file = if problem == Unusable::Key { key } else { certificate };
        mistakes.add(OPTION, format_args!("{}: {problem}", file.display()));
    });
    read.ok()
}

fn is_open_to_others(path: &Path) -> bool {
    const OTHERS_READ: u32 = 0o004;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & OTHERS_READ != 0)
}

#[cfg(test)]
mod tests {
    use model::{AgentId, Secret};

    use super::*;

    fn token() -> AgentToken {
        AgentToken { agent: AgentId::from_bytes([1; 16]), secret: Secret::new([2; 32]), fingerprint: [3; 32] }
    }

    fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let flags = RunOptions {
            coordinator: Some("http://x".into()),
            max_checks: Some(0),
            spool_mib: Some(1),
            canary: vec!["example.com".into()],
            targets: TargetOptions { allow_target: vec!["10.0.0.0/99".into()], ..TargetOptions::default() },
            ..RunOptions::default()
        };
        let Invalid(mistakes) =
            load(flags, &environment(&[("VIGILMON_AGENT_TOKEN", "vat_secret")])).unwrap_err();
        let options: Vec<_> = mistakes.iter().filter_map(|mistake| mistake.split(':').next()).collect();
        assert_eq!(
            options,
            ["coordinator", "VIGILMON_AGENT_TOKEN", "allow_target", "max_checks", "canary", "spool_mib"]
        );
        assert!(!mistakes.join("").contains("vat_secret"));
    }

    #[test]
    fn flags_go_before_variables_and_variables_before_the_file() {
        let directory = std::env::temp_dir().join(format!("vigilmon-agent-config-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("agent.toml");
        std::fs::write(
            &path,
            "coordinator = 'https://file'\nmax_checks = 1\nmax_checks_per_host = 2\nspool = '/a'\n",
        )
        .unwrap();
        let flags = RunOptions {
            coordinator: Some("https://flag".into()),
            config: Some(path.clone()),
            ..RunOptions::default()
        };
        let text = token().expose();
        let variables = environment(&[
            ("VIGILMON_AGENT_TOKEN", &text),
            ("VIGILMON_COORDINATOR", "https://variable"),
            ("VIGILMON_MAX_CHECKS", "7"),
            ("VIGILMON_SPOOL_MIB", "16"),
            ("VIGILMON_CANARY", "https://a.example, tcp://b.example:443"),
            ("VIGILMON_ALLOW_TARGET", "10.0.0.0/8, 169.254.169.254"),
        ]);
        let config = load(flags, &variables).unwrap();
        assert_eq!(config.coordinator.host_str(), Some("flag"));
        assert_eq!(config.concurrency, Concurrency { total: 7, per_host: 2 });
        assert_eq!(config.targets.addresses.allow.len(), 2);
        assert_eq!(config.canaries.len(), 2);
        assert_eq!((config.spool, config.spool_bytes), (Some("/a".into()), 16 << 20));
        assert_eq!(config.token, token());
        let printed =
            effective(RunOptions { config: Some(path.clone()), ..RunOptions::default() }, &variables)
                .unwrap();
        assert!(!printed.contains(&text), "the token is a secret");
        std::fs::write(&path, &printed).unwrap();
        let again = RunOptions { config: Some(path.clone()), ..RunOptions::default() };
        let bare = environment(&[("VIGILMON_AGENT_TOKEN", &text)]);
        let again = load(again, &bare).unwrap();
        assert_eq!(again.coordinator.host_str(), Some("variable"));
        assert_eq!((again.concurrency.total, again.spool_bytes, again.canaries.len()), (7, 16 << 20, 2));

        std::fs::write(&path, "coordinater = 'https://file'\n").unwrap();
        let flags = RunOptions { config: Some(path), ..RunOptions::default() };
        let error = load(flags, &variables).unwrap_err().to_string();
        assert!(error.contains("unknown field `coordinater`"), "{error}");
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn client_certificates_are_read_at_the_start_and_what_is_wrong_names_the_file() {
        let directory = std::env::temp_dir().join(format!("vigilmon-agent-identity-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let file = |name: &str, text: &str, mode| {
            let path = directory.join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path.display().to_string()
        };
        let made = rcgen::generate_simple_self_signed(vec!["agent".into()]).unwrap();
        let (pem, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let certificate = file("agent.pem", &pem, 0o644);
        let secret = file("agent.key", &key, 0o600);
        let both = file("both.pem", &format!("{pem}{key}"), 0o644);
        let read = |items: &[&str]| {
            let client_certificate = items.iter().map(|item| (*item).to_owned()).collect();
            let flags = TargetOptions { client_certificate, ..TargetOptions::default() };
            targets(flags, &BTreeMap::new()).map_err(|error| error.to_string())
        };
        let (pair, single) = (format!("a={certificate}:{secret}"), format!("b={both}"));
        let targets = read(&[&pair, &single]).unwrap();
        let names: Vec<_> = targets.client_certificates.iter().map(ClientCertificate::name).collect();
        assert_eq!(names, ["a", "b"]);
        assert!(matches!(&targets.warnings[..], [one] if one.contains("both.pem")), "{:?}", targets.warnings);
        for (items, word) in [
            (vec!["no-name"], "NAME=CERTIFICATE"),
            (vec!["a b=c"], "NAME=CERTIFICATE"),
            (vec!["a=/nowhere.pem"], "/nowhere.pem"),
            (vec![pair.as_str(), pair.as_str()], "two of the name a"),
            (vec![&format!("a={secret}:{secret}")], "agent.key: holds no PEM certificate"),
            (vec![&format!("a={certificate}:{certificate}")], "agent.pem: holds no PEM private key"),
        ] {
            let refusal = read(&items).unwrap_err();
            assert!(refusal.starts_with("client_certificate: ") && refusal.contains(word), "{refusal}");
            assert!(!refusal.contains("PRIVATE"), "{refusal}");
        }
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_proxy_is_read_and_its_password_is_shown_nowhere() {
        let read = |proxy: &str, no_proxy: &str| {
            let variables = environment(&[("VIGILMON_PROXY", proxy), ("VIGILMON_NO_PROXY", no_proxy)]);
            targets(TargetOptions::default(), &variables)
        };
        let good = read("http://me:s3cret@proxy.example:3128", "10.0.0.0/8, .corp.example").unwrap();
        assert_eq!(good.proxy.as_ref().map(Proxy::shown), Some("http://proxy.example:3128"));
        assert!(!format!("{good:?}").contains("s3cret"));
        let wrong = read("https://me:s3cret@proxy.example", "a b").unwrap_err().to_string();
        assert!(wrong.contains("proxy: must be http://") && wrong.contains("no_proxy: "), "{wrong}");
        assert!(!wrong.contains("s3cret"), "{wrong}");
        let flags =
            TargetOptions { proxy: "http://me:s3cret@a.example:1".parse().ok(), ..TargetOptions::default() };
        assert!(!format!("{flags:?}").contains("s3cret"));
        let text = token().expose();
        let variables = environment(&[
            ("VIGILMON_AGENT_TOKEN", &text),
            ("VIGILMON_COORDINATOR", "https://a.example"),
            ("VIGILMON_PROXY", "http://me:s3cret@proxy.example:3128"),
        ]);
        let printed = effective(RunOptions::default(), &variables).unwrap();
        assert!(printed.contains("http://proxy.example:3128") && !printed.contains("s3cret"), "{printed}");
    }

    #[test]
    fn a_configuration_shows_no_secret() {
        let config = Config::new(Url::parse("https://a").unwrap(), token());
        assert!(!format!("{config:?}").contains("2, 2, 2"));
    }
}
