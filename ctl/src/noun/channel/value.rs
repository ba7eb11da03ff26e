//! Values that may be secrets: from the command line, from stdin or from a file.

use std::collections::BTreeMap;
use std::io::Read;
use std::str::FromStr;

use crate::exit::Failure;

/// `SETTING=VALUE`, not yet read.
#[derive(Clone, Debug)]
pub(crate) struct Assignment {
    name: String,
    value: String,
}

impl FromStr for Assignment {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let (name, value) = text.split_once('=').ok_or("use SETTING=VALUE")?;
        Ok(Self { name: name.trim().to_owned(), value: value.to_owned() })
    }
}

/// Settings by name, each read from where it says.
///
/// # Errors
/// When one is given twice or cannot be read.
pub(super) fn settings(assignments: Vec<Assignment>) -> Result<BTreeMap<String, String>, Failure> {
    let mut settings = BTreeMap::new();
    for Assignment { name, value } in assignments {
        let value = self::value(&format!("--set {name}"), &value)?;
        if settings.insert(name.clone(), value).is_some() {
            return Err(Failure::usage(format!("--set {name}: is given twice")));
        }
    }
    Ok(settings)
}

/// The text itself; all of stdin for `-`, of a file for `@FILE`; `@…` for `@@…`. Line breaks at the end are dropped.
///
/// # Errors
/// When it cannot be read, or there is nothing.
pub(super) fn value(option: &str, text: &str) -> Result<String, Failure> {
    let (read, from) = match text.strip_prefix('@') {
        _ if text == "-" => {
            let mut read = String::new();
            (std::io::stdin().lock().read_to_string(&mut read).map(|_| read), "stdin".to_owned())
        }
        Some(literal) if literal.starts_with('@') => return Ok(literal.to_owned()),
        Some(file) => (std::fs::read_to_string(file), format!("the file {file}")),
        None => return Ok(text.to_owned()),
    };
    let read = read.map_err(|error| Failure::usage(format!("{option}: cannot read {from}: {error}")))?;
    match read.trim_end_matches(['\r', '\n']) {
        "" => Err(Failure::usage(format!("{option}: there is nothing in {from}"))),
        value => Ok(value.to_owned()),
    }
}
