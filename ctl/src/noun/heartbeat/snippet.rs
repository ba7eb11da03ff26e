//! `vigilctl heartbeat snippet`: how a job in some language pings.
//!
//! In: a heartbeat and a language. Out: a text to paste, complete with retries, time limits, the start, the exit code and
//! the output's end. The texts are the files beside this one; all that is put into them are a URL, a name and a slug of
//! it, each held to characters that mean nothing in any of the languages.

use clap::{Args, ValueEnum};
use model::Secret;

use super::run::secret;
use crate::exit::Failure;

/// Arguments of `snippet`.
#[derive(Debug, Args)]
pub(crate) struct Snippet {
    /// Id or name
    pub(crate) heartbeat: String,
    /// What the job is written in, or runs under
    #[arg(long = "for", value_enum, value_name = "LANGUAGE")]
    language: Language,
    /// The ping URL to write into it, as `heartbeat create` printed it [default: read VIGILMON_PING_URL where it runs]
    #[arg(long, value_parser = secret, value_name = "URL")]
    url: Option<Secret<String>>,
}

/// What a snippet is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Language {
    // Plain comments: documented, each would take a line of the help text.
    // A shell script around a command.
    Curl,
    Cron,
    Systemd,
    Python,
    // Jobs of APScheduler, with httpx.
    Apscheduler,
    Node,
    Go,
    Php,
    Ruby,
    Powershell,
    GithubActions,
    Kubernetes,
}

/// Where a snippet has its URL from.
enum Source {
    /// A string literal, or this expression.
    Expression(&'static str),
    /// The URL itself, or a placeholder.
    Literal,
    /// A secret beside the file, which others may read.
    Elsewhere,
}

/// Stands for a URL that was not given where no expression can.
const PLACEHOLDER: &str = "https://vigilmon.example/api/heartbeat/TOKEN";
/// The longest name of a `CronJob`.
const SLUG_CHARS: usize = 52;

impl Language {
    const fn template(self) -> (&'static str, Source) {
        use Source::{Elsewhere, Expression, Literal};
        match self {
            Self::Curl => (include_str!("snippet/curl.sh"), Expression("${VIGILMON_PING_URL:?is not set}")),
            Self::Cron => (include_str!("snippet/crontab.txt"), Literal),
            Self::Systemd => (include_str!("snippet/systemd.txt"), Elsewhere),
            Self::Python => {
                (include_str!("snippet/python.py"), Expression(r#"os.environ["VIGILMON_PING_URL"]"#))
            }
            Self::Apscheduler => {
                (include_str!("snippet/apscheduler.py"), Expression(r#"os.environ["VIGILMON_PING_URL"]"#))
            }
            Self::Node => (include_str!("snippet/node.mjs"), Expression("process.env.VIGILMON_PING_URL")),
            Self::Go => (include_str!("snippet/go.go"), Expression(r#"os.Getenv("VIGILMON_PING_URL")"#)),
            Self::Php => (include_str!("snippet/php.php"), Expression("getenv('VIGILMON_PING_URL')")),
            Self::Ruby => (include_str!("snippet/ruby.rb"), Expression(r#"ENV.fetch("VIGILMON_PING_URL")"#)),
            Self::Powershell => {
                (include_str!("snippet/powershell.ps1"), Expression("$env:VIGILMON_PING_URL"))
            }
            Self::GithubActions => (include_str!("snippet/github-actions.yaml"), Elsewhere),
            Self::Kubernetes => (include_str!("snippet/kubernetes.yaml"), Elsewhere),
        }
    }
}

impl Snippet {
    /// The text, and what is to be said beside it.
    ///
    /// # Errors
    /// Usage when the URL is none.
    pub(crate) fn text(&self, name: &str) -> Result<(String, Option<&'static str>), Failure> {
        let url = self.url.as_ref().map(|url| plain_url(url.expose())).transpose()?;
        let (template, source) = self.language.template();
        let (url, remark) = match (source, url) {
            (Source::Expression(_), Some(url)) => (format!("\"{url}\""), None),
            (Source::Expression(expression), None) => (expression.to_owned(), None),
            (Source::Literal, Some(url)) => (url.to_owned(), None),
            (Source::Literal, None) => (
                PLACEHOLDER.to_owned(),
                Some(
                    "put the ping URL in, or give --url: `heartbeat create` printed it, and nobody knows it since",
                ),
            ),
            (Source::Elsewhere, None) => (String::new(), None),
            (Source::Elsewhere, Some(_)) => (
                String::new(),
                Some(
                    "--url is not written into this one: it is a secret, and belongs where the snippet says",
                ),
            ),
        };
        let text = template
            .replace("{{PING_URL}}", &url)
            .replace("{{NAME}}", &plain_name(name))
            .replace("{{SLUG}}", &slug(name));
        Ok((text, remark))
    }
}

/// The URL, if it has no character that any of the languages could take for something else.
fn plain_url(url: &str) -> Result<&str, Failure> {
    let url = url.trim();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~:/?=&[]".contains(c);
    let is_url = url.starts_with("https://") || url.starts_with("http://");
    if is_url && url.chars().all(is_plain) {
        Ok(url.trim_end_matches('/'))
    } else {
        Err(Failure::usage("--url: must be the ping URL that `heartbeat create` printed"))
    }
}

/// A name that can stand in a comment of any language.
fn plain_name(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() || " ._-/:".contains(c) { c } else { '_' }).collect()
}

/// A name as units, workflows and Kubernetes have them.
fn slug(name: &str) -> String {
    let lower = name.to_lowercase();
    let words = lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let slug: String = words.collect::<Vec<_>>().join("-").chars().take(SLUG_CHARS).collect();
    match slug.trim_end_matches('-') {
        "" => "job".to_owned(),
        slug => slug.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snippet(language: Language, url: Option<&str>) -> Snippet {
        let url = url.map(|url| Secret::new(url.to_owned()));
        Snippet { heartbeat: String::new(), language, url }
    }

    #[test]
    fn nothing_is_left_to_be_filled_in() {
        for &language in Language::value_variants() {
            for url in [None, Some("https://h/api/heartbeat/T")] {
                let (text, _) = snippet(language, url).text("nightly").unwrap();
                for place in ["{{PING_URL}}", "{{NAME}}", "{{SLUG}}"] {
                    assert!(!text.contains(place), "{language:?}: {place}");
                }
                assert!(text.contains("nightly"), "{language:?}");
            }
        }
    }

    #[test]
    fn a_url_is_never_written_into_what_others_read() {
        for &language in Language::value_variants() {
            let (text, remark) = snippet(language, Some("https://h/api/heartbeat/T")).text("n").unwrap();
            let is_elsewhere = matches!(language.template().1, Source::Elsewhere);
            assert_eq!(text.contains("https://h/api/heartbeat/T"), !is_elsewhere, "{language:?}");
            assert_eq!(remark.is_some(), is_elsewhere, "{language:?}");
        }
    }

    #[test]
    fn what_could_be_code_is_refused_or_made_harmless() {
        for url in
            ["x", "https://h/$(id)", "https://h/\"+x", "https://h/`id`", "https://h/%41", "https://h/a b"]
        {
            assert!(snippet(Language::Curl, Some(url)).text("n").is_err(), "{url}");
        }
        let (text, _) = snippet(Language::Python, None).text("a\"\"\"\n?> */ {{SLUG}}").unwrap();
        assert!(text.contains("heartbeat a______ _/ __SLUG__ of"), "{text}");
        assert_eq!(slug("Nightly clean-up (eu/west)"), "nightly-clean-up-eu-west");
        assert_eq!(slug("äö"), "job");
        assert_eq!(slug(&"ab ".repeat(40)).len(), SLUG_CHARS);
    }
}
