//! The configuration: flags over environment over file over defaults, all errors at once.
//!
//! Every option has one name in three spellings: `--http-listen`, `VIGILMON_HTTP_LISTEN`, `http_listen` in the TOML file
//! named by `--config`. This is the only place that knows the spellings and the only one that is handed the environment.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use model::address::Cidr;
use proto::probe::join::agent_address;
use url::Url;

/// Options as given on the command line.
#[derive(Args, Clone, Debug, Default)]
pub struct Flags {
    /// TOML file with the same options (`http_listen = "…"`)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Database: sqlite:PATH [default: DATA/vigilmon.db]
    #[arg(long, value_name = "URL")]
    pub database: Option<String>,
    /// Directory for the database, keys and certificates [default: ./vigilmon-data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,
    /// Where people, jobs and admin clients connect [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR:PORT")]
    pub http_listen: Option<String>,
    /// Where probe agents connect, with TLS [default: 127.0.0.1:8443]
    #[arg(long, value_name = "ADDR:PORT")]
    pub agent_listen: Option<String>,
    /// What agents that join are to dial [default: https://HOST:PORT, the host of PUBLIC-URL, the port of AGENT-LISTEN]
    #[arg(long, value_name = "URL")]
    pub agent_address: Option<String>,
    /// How people reach the HTTP listener; goes into heartbeat and page URLs [default: http://HTTP-LISTEN]
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,
    /// Private addresses that notifications may go to; may be repeated
    #[arg(long, value_name = "CIDR")]
    pub allow_receiver: Vec<String>,
    /// PEM file of authorities that receivers' certificates may also come from
    #[arg(long, value_name = "FILE")]
    pub receiver_ca_file: Option<String>,
}

/// What the process runs with.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The SQLite file.
    pub database: PathBuf,
    /// The data directory.
    pub data: PathBuf,
    /// Where people, jobs and admin clients connect.
    pub http_listen: SocketAddr,
    /// Where agents connect.
    pub agent_listen: SocketAddr,
    /// What agents that join are to dial; `None`: the public URL's host and the port for agents.
    pub agent_address: Option<Url>,
    /// How people reach the HTTP listener; `None`: by the address it is bound to.
    pub public_url: Option<Url>,
    /// Private addresses that notifications may go to.
    pub allow_receiver: Vec<Cidr>,
    /// PEM text of further authorities for receivers.
    pub receiver_ca: Option<Vec<u8>>,
    /// Whether commits wait for the disk. Only the tests that show why they must say no.
    pub synchronous: bool,
}

/// One option that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{option} (from {origin}): {problem}")]
pub struct Problem {
    /// The option in the spelling of the place it came from.
    pub option: String,
    /// Where it came from: `the command line`, `the environment`, the file's path.
    pub origin: String,
    /// What is wrong and what is allowed.
    pub problem: String,
}

/// The options by the names of the file.
const OPTIONS: [&str; 8] = [
    "database",
    "data",
    "http_listen",
    "agent_listen",
    "agent_address",
    "public_url",
    "allow_receiver",
    "receiver_ca_file",
];

/// Puts the configuration together.
///
/// # Errors
/// Every option that cannot be used, not just the first.
pub fn load(flags: &Flags, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, Vec<Problem>> {
    let mut reader = Reader { sources: vec![], problems: vec![] };
    reader.sources.push(from_flags(flags));
    reader.sources.push(from_env(env));
    let file = flags.config.clone().or_else(|| env("VIGILMON_CONFIG").map(PathBuf::from));
    if let Some(file) = file {
        match from_file(&file) {
            Ok(source) => reader.sources.push(source),
            Err(problem) => reader.problems.push(problem),
        }
    }
    reader.read(env("VIGILMON_UNSAFE_SYNCHRONOUS").as_deref() != Some("off"))
}

/// Options from one place.
struct Source {
    origin: String,
    spell: fn(&str) -> String,
    values: BTreeMap<&'static str, Vec<String>>,
}

fn from_flags(flags: &Flags) -> Source {
    let one = |value: &Option<String>| value.iter().cloned().collect::<Vec<_>>();
    let given = [
        ("database", one(&flags.database)),
        ("data", one(&flags.data)),
        ("http_listen", one(&flags.http_listen)),
        ("agent_listen", one(&flags.agent_listen)),
        ("agent_address", one(&flags.agent_address)),
        ("public_url", one(&flags.public_url)),
        ("allow_receiver", flags.allow_receiver.clone()),
        ("receiver_ca_file", one(&flags.receiver_ca_file)),
    ];
    Source {
        origin: "the command line".into(),
        spell: |name| format!("--{}", name.replace('_', "-")),
        values: given.into_iter().filter(|(_, values)| !values.is_empty()).collect(),
    }
}

fn from_env(env: &dyn Fn(&str) -> Option<String>) -> Source {
    let spell = |name: &str| format!("VIGILMON_{}", name.to_ascii_uppercase());
    let mut values = BTreeMap::new();
    for name in OPTIONS {
        if let Some(value) = env(&spell(name)).filter(|value| !value.is_empty()) {
            let list = name == "allow_receiver";
            let split = value.split(',').map(|part| part.trim().to_owned()).collect();
            values.insert(name, if list { split } else { vec![value] });
        }
    }
    Source { origin: "the environment".into(), spell, values }
}

fn from_file(path: &Path) -> Result<Source, Problem> {
    let origin = path.display().to_string();
    let problem =
        |option: &str, problem: String| Problem { option: option.into(), origin: origin.clone(), problem };
    let text = std::fs::read_to_string(path).map_err(|error| problem("--config", error.to_string()))?;
    let table: toml::Table = text
        .parse()
        .map_err(|error: toml::de::Error| problem("the file", error.to_string().trim().replace('\n', " ")))?;
    let mut values = BTreeMap::new();
    for (name, value) in table {
        let Some(known) = OPTIONS.into_iter().find(|option| *option == name) else {
            return Err(problem(&name, format!("is not an option: use one of {}", OPTIONS.join(", "))));
        };
        let strings = match value {
            toml::Value::String(text) => vec![text],
            toml::Value::Array(items) if items.iter().all(toml::Value::is_str) => {
                items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
            }
            _ => return Err(problem(&name, "must be a text, or a list of texts".into())),
        };
        values.insert(known, strings);
    }
    Ok(Source { origin: origin.clone(), spell: str::to_owned, values })
}

/// Reads options from the first source that has them and gathers what is wrong.
struct Reader {
    sources: Vec<Source>,
    problems: Vec<Problem>,
}

impl Reader {
    fn read(mut self, synchronous: bool) -> Result<Config, Vec<Problem>> {
        let data = self.one("data", |text| Ok(PathBuf::from(text))).unwrap_or_else(|| "vigilmon-data".into());
        let database = self.one("database", database).unwrap_or_else(|| data.join("vigilmon.db"));
        let http_listen = self.one("http_listen", listen).unwrap_or_else(|| ([127, 0, 0, 1], 8080).into());
        let agent_listen = self.one("agent_listen", listen).unwrap_or_else(|| ([127, 0, 0, 1], 8443).into());
        let agent_address =
            self.one("agent_address", |text| agent_address(text).map_err(|error| error.to_string()));
        let public_url = self.one("public_url", public_url);
        let allow_receiver =
            self.many("allow_receiver", |text| text.parse().map_err(|error| format!("{error}")));
        let receiver_ca =
            self.one("receiver_ca_file", |path| std::fs::read(path).map_err(|error| error.to_string()));
        if http_listen == agent_listen && http_listen.port() != 0 {
            self.problems.push(Problem {
                option: "http_listen and agent_listen".into(),
                origin: "both together".into(),
                problem: "must be different addresses".into(),
            });
        }
        if !self.problems.is_empty() {
            return Err(self.problems);
        }
        Ok(Config {
            database,
            data,
            http_listen,
            agent_listen,
            agent_address,
            public_url,
            allow_receiver,
            receiver_ca,
            synchronous,
        })
    }

    fn many<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let Some(source) = self.sources.iter().find(|source| source.values.contains_key(name)) else {
            return vec![];
        };
        let mut parsed = vec![];
        for text in &source.values[name] {
            match parse(text) {
                Ok(value) => parsed.push(value),
                Err(problem) => self.problems.push(Problem {
                    option: (source.spell)(name),
                    origin: source.origin.clone(),
                    problem,
                }),
            }
        }
        parsed
    }

    fn one<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        self.many(name, parse).into_iter().next()
    }
}

fn listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("`{text}` must be ADDRESS:PORT, such as 127.0.0.1:8080 or [::]:8080"))
}

fn database(text: &str) -> Result<PathBuf, String> {
    let path = text.strip_prefix("sqlite://").or_else(|| text.strip_prefix("sqlite:"));
    match path {
        Some(path) if !path.is_empty() => Ok(path.into()),
        // A URL may hold a password: it is not repeated.
        _ => Err("must be sqlite:PATH".into()),
    }
}

fn public_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("`{text}` is not a URL: {error}"))?;
    let plain = matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.fragment().is_none();
    if plain { Ok(url) } else { Err("must be http:// or https:// without query or fragment".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_env(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn nothing_given_means_the_documented_defaults() {
        let config = load(&Flags::default(), &no_env).unwrap();
        assert_eq!(config.http_listen.to_string(), "127.0.0.1:8080");
        assert_eq!(config.agent_listen.to_string(), "127.0.0.1:8443");
        assert_eq!(config.database, Path::new("vigilmon-data/vigilmon.db"));
        assert!(config.synchronous);
    }

    #[test]
    fn flags_go_before_the_environment_and_that_before_the_file() {
        let file = std::env::temp_dir().join(format!("vigilmon-config-{}.toml", std::process::id()));
        std::fs::write(
            &file,
            "data = \"/file\"\nhttp_listen = \"127.0.0.1:1\"\nagent_listen = \"127.0.0.1:2\"",
        )
        .unwrap();
        let flags = Flags { config: Some(file.clone()), data: Some("/flag".into()), ..Flags::default() };
        let env = |name: &str| match name {
            "VIGILMON_DATA" => Some("/env".to_owned()),
            "VIGILMON_HTTP_LISTEN" => Some("127.0.0.1:3".to_owned()),
            _ => None,
        };
        let config = load(&flags, &env).unwrap();
        std::fs::remove_file(file).unwrap();
        assert_eq!(config.data, Path::new("/flag"));
        assert_eq!(config.http_listen.port(), 3);
        assert_eq!(config.agent_listen.port(), 2);
    }

    #[test]
    fn all_errors_come_at_once_and_name_the_option_as_it_was_spelt() {
        let flags = Flags {
            http_listen: Some("8080".into()),
            database: Some("mysql://root:hush@db/x".into()),
            allow_receiver: vec!["10.0.0.0/8".into(), "intranet".into()],
            ..Flags::default()
        };
        let env = |name: &str| (name == "VIGILMON_PUBLIC_URL").then(|| "ftp://x".to_owned());
        let problems = load(&flags, &env).unwrap_err();
        let text = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        for part in
            ["--http-listen (from the command line)", "--database", "VIGILMON_PUBLIC_URL", "`intranet`"]
        {
            assert!(text.contains(part), "{part} is missing from\n{text}");
        }
        assert_eq!(problems.len(), 4);
        assert!(!text.contains("hush"));
    }
}
