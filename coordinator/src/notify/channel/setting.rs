//! A channel's settings: a table that its kind declares, and the values that a user gave.
//!
//! In come texts by name; out come texts that have passed their setting's check. Problems name the setting and never
//! repeat the value, which may be a secret.

use std::collections::BTreeMap;
use std::fmt;

use model::Secret;

use super::provider::{Provider, Unsendable};
use super::receiver_url::ReceiverUrl;
use crate::notify::template::Template;

/// What stands for what is not shown.
pub const HIDDEN: char = '…';

/// What makes a value fit to be kept, or says what is wrong with it without repeating it.
pub type Check = fn(&str) -> Result<String, String>;

/// One thing that can be set.
#[derive(Clone, Copy)]
pub struct Setting {
    /// What users call it, and what is stored: `chat_id`.
    pub name: &'static str,
    /// What it is and how to get it, in one line.
    pub about: &'static str,
    /// Whether there is no channel without it.
    pub is_required: bool,
    /// Whether it is never shown again.
    pub is_secret: bool,
    /// What holds where nothing is set.
    pub default: Option<&'static str>,
    /// What is allowed.
    pub check: Check,
}

impl Setting {
    /// A setting that every channel of the kind has.
    #[must_use]
    pub const fn required(name: &'static str, about: &'static str, check: Check) -> Self {
        Self { name, about, is_required: true, is_secret: false, default: None, check }
    }

    /// A setting that may be absent.
    #[must_use]
    pub const fn optional(name: &'static str, about: &'static str, check: Check) -> Self {
        Self { name, about, is_required: false, is_secret: false, default: None, check }
    }

    /// The setting, never shown again.
    #[must_use]
    pub const fn secret(mut self) -> Self {
        self.is_secret = true;
        self
    }

    /// The setting with a value that holds where none is given.
    #[must_use]
    pub const fn or(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }

    /// What answers show of a value.
    fn shown(&self, value: &str) -> String {
        if !self.is_secret {
            return value.to_owned();
        }
        match ReceiverUrl::parse(value) {
            Ok(url) => format!("{url}/{HIDDEN}"),
            Err(_) => HIDDEN.to_string(),
        }
    }
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setting").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The values of one channel, each checked. `Debug` shows names only.
#[derive(Clone)]
pub struct Settings {
    provider: &'static dyn Provider,
    values: BTreeMap<String, Secret<String>>,
}

/// A setting that cannot be kept, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The setting.
    pub name: String,
    /// What is wrong and what is allowed. Does not repeat the value.
    pub problem: String,
}

impl Settings {
    /// Values as they were stored.
    pub(super) const fn stored(
        provider: &'static dyn Provider,
        values: BTreeMap<String, Secret<String>>,
    ) -> Self {
        Self { provider, values }
    }

    /// Nothing set yet.
    #[must_use]
    pub const fn new(provider: &'static dyn Provider) -> Self {
        Self::stored(provider, BTreeMap::new())
    }

    /// These settings with what is given: an empty value takes the setting away, what is not named stays.
    ///
    /// # Errors
    /// All that is wrong with the result.
    pub fn changed(&self, given: &BTreeMap<String, String>) -> Result<Self, Vec<Problem>> {
        let mut settings = self.clone();
        let mut problems = vec![];
        for (name, value) in given {
            let Some(setting) = self.table().find(|setting| setting.name == name) else {
                let known: Vec<_> = self.table().map(|setting| setting.name).collect();
                let problem =
                    format!("is no setting of {}; these are: {}", self.provider.name(), known.join(", "));
                let name = name.chars().filter(|c| !c.is_control()).take(40).collect();
                problems.push(Problem { name, problem });
                continue;
            };
            match setting.read(value) {
                Ok(Some(value)) => {
                    settings.values.insert(setting.name.to_owned(), Secret::new(value));
                }
                Ok(None) => {
                    settings.values.remove(setting.name);
                }
                Err(problem) => problems.push(Problem { name: setting.name.to_owned(), problem }),
            }
        }
        let is_told = |problems: &[Problem], name: &str| problems.iter().any(|problem| problem.name == name);
        for setting in self.table().filter(|setting| setting.is_required) {
            if !settings.values.contains_key(setting.name) && !is_told(&problems, setting.name) {
                let problem = format!("is required: {}", setting.about);
                problems.push(Problem { name: setting.name.to_owned(), problem });
            }
        }
        if problems.is_empty()
            && let Err((name, problem)) = self.provider.verify(&settings)
        {
            problems.push(Problem { name: name.to_owned(), problem: problem.to_owned() });
        }
        if problems.is_empty() { Ok(settings) } else { Err(problems) }
    }

    /// The kind whose settings these are.
    #[must_use]
    pub const fn provider(&self) -> &'static dyn Provider {
        self.provider
    }

    /// A setting's value, or its default; `None` where there is neither.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let value = self.values.get(name).map(|value| value.expose().as_str());
        value.or_else(|| self.table().find(|setting| setting.name == name)?.default)
    }

    /// A required setting's value. Empty if what is stored lacks it.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// Whether a setting is `true`.
    #[must_use]
    pub fn is_on(&self, name: &str) -> bool {
        self.get(name) == Some("true")
    }

    /// A setting that is a URL.
    ///
    /// # Errors
    /// When what is stored is none.
    pub fn url(&self, name: &str) -> Result<ReceiverUrl, Unsendable> {
        ReceiverUrl::parse(self.text(name)).map_err(|_| Unsendable("the channel's stored URL cannot be read"))
    }

    /// All that is set, as it may be shown.
    #[must_use]
    pub fn shown(&self) -> BTreeMap<String, String> {
        let is_set = |setting: &Setting| {
            let value = self.values.get(setting.name)?.expose();
            Some((setting.name.to_owned(), setting.shown(value)))
        };
        self.table().filter_map(is_set).collect()
    }

    /// All that is set, for storing.
    pub(super) const fn values(&self) -> &BTreeMap<String, Secret<String>> {
        &self.values
    }

    fn table(&self) -> impl Iterator<Item = &'static Setting> + use<> {
        table(self.provider)
    }
}

/// What can be set in channels of every kind.
static COMMON: [Setting; 2] = [
    Setting::optional("title", "a title of your own, with fields such as {{subject.name}}", own_words),
    Setting::optional(
        "text",
        "a text of your own instead of the lines below the title, with fields",
        own_words,
    ),
];

fn own_words(value: &str) -> Result<String, String> {
    Template::parse(value).map(|_| value.trim().to_owned())
}

/// What can be set in channels of a kind.
pub fn table(provider: &'static dyn Provider) -> impl Iterator<Item = &'static Setting> {
    provider.settings().iter().chain(&COMMON)
}

impl Setting {
    /// A value to keep; `None` to keep nothing.
    fn read(&self, value: &str) -> Result<Option<String>, String> {
        if value.trim().is_empty() {
            return Ok(None);
        }
        if self.is_secret && value.contains(HIDDEN) {
            return Err("is shortened, as answers show it: give the whole value".to_owned());
        }
        (self.check)(value).map(Some)
    }
}

impl PartialEq for Settings {
    fn eq(&self, other: &Self) -> bool {
        self.provider.name() == other.provider.name() && self.values == other.values
    }
}

impl Eq for Settings {}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(self.provider.name()).field("settings", &self.values.keys()).finish()
    }
}

/// What values can be checked for. Each returns what is kept.
pub mod check {
    use super::ReceiverUrl;

    /// An `http:` or `https:` URL without credentials.
    pub fn url(value: &str) -> Result<String, String> {
        let url = ReceiverUrl::parse(value).map_err(|error| error.problem().to_owned())?;
        Ok(url.expose().as_str().to_owned())
    }

    /// One line of at most 200 characters.
    pub fn line(value: &str) -> Result<String, String> {
        let value = value.trim();
        if value.chars().count() > 200 || value.contains(char::is_control) {
            return Err("must be at most 200 characters on one line".to_owned());
        }
        Ok(value.to_owned())
    }

    /// Visible ASCII without spaces, at most 2,048 bytes: what can stand in a header or, encoded, in a URL.
    pub fn token(value: &str) -> Result<String, String> {
        let value = value.trim();
        if value.len() > 2_048 || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("must be at most 2,048 visible ASCII characters without spaces".to_owned());
        }
        Ok(value.to_owned())
    }

    /// `true` or `false`.
    pub fn flag(value: &str) -> Result<String, String> {
        one_of(value, &["true", "false"])
    }

    /// One of a few words, which is how a setting wraps it: `|value| one_of(value, &["a", "b"])`.
    pub fn one_of(value: &str, words: &[&str]) -> Result<String, String> {
        let value = value.trim();
        if words.contains(&value) {
            Ok(value.to_owned())
        } else {
            Err(format!("must be {}", words.join(" or ")))
        }
    }

    /// A whole number in a range, wrapped as [`one_of`] is.
    pub fn number(value: &str, range: std::ops::RangeInclusive<i64>) -> Result<String, String> {
        match value.trim().parse::<i64>() {
            Ok(number) if range.contains(&number) => Ok(number.to_string()),
            Ok(_) | Err(_) => {
                Err(format!("must be a whole number from {} to {}", range.start(), range.end()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::channel::{discord, webhook};

    fn given(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn new(provider: &'static dyn Provider, pairs: &[(&str, &str)]) -> Result<Settings, Vec<Problem>> {
        Settings::new(provider).changed(&given(pairs))
    }

    fn named(problems: Result<Settings, Vec<Problem>>) -> Vec<String> {
        let problems = problems.unwrap_err();
        assert!(!format!("{problems:?}").contains("hush"), "{problems:?}");
        problems.into_iter().map(|problem| problem.name).collect()
    }

    #[test]
    fn every_problem_is_named_and_no_value_is_repeated() {
        let discord = &discord::Discord;
        assert_eq!(named(new(discord, &[])), ["url"]);
        assert_eq!(named(new(discord, &[("url", "ftp://hush"), ("color", "hush")])), ["color", "url"]);
        assert_eq!(named(new(discord, &[("url", "https://a.example/…")])), ["url"]);
        let long = "n".repeat(1_000);
        let problems = new(&webhook::Webhook, &[(&long, "1"), ("url", "http://a.example")]).unwrap_err();
        assert!(
            problems[0].name.len() == 40 && problems[0].problem.contains("these are: url"),
            "{problems:?}"
        );
    }

    #[test]
    fn what_is_not_named_stays_and_what_is_empty_goes() {
        let first = new(&discord::Discord, &[("url", "https://a.example/hush")]).unwrap();
        assert_eq!(first.changed(&given(&[])).unwrap(), first);
        let moved = first.changed(&given(&[("url", "https://b.example/hush")])).unwrap();
        assert_eq!(moved.shown(), given(&[("url", "https://b.example/…")]));
        assert_eq!(named(first.changed(&given(&[("url", " ")]))), ["url"]);
        assert!(!format!("{moved:?}").contains("hush"));
    }

    #[test]
    fn checks_keep_what_they_say() {
        assert_eq!(check::token(" abc:DEF ").unwrap(), "abc:DEF");
        for bad in ["a b", "a\r\nb", "é", &"x".repeat(2_049)] {
            assert!(check::token(bad).is_err());
        }
        assert_eq!(check::line(" Ops ✓ ").unwrap(), "Ops ✓");
        assert!(check::line("a\nb").is_err() && check::line(&"x".repeat(201)).is_err());
        assert_eq!(check::number(" 007", 0..=10).unwrap(), "7");
        assert_eq!(check::number("11", 0..=10).unwrap_err(), "must be a whole number from 0 to 10");
        assert_eq!(check::flag("yes").unwrap_err(), "must be true or false");
    }
}
