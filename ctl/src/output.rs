//! What goes to stdout: a table for people, JSON or YAML for programs.
//!
//! In: messages of the admin API. Out: text. JSON and YAML come from the protocol's own descriptors ([`document`]), so
//! no field can be forgotten; tables are what each noun chooses to show ([`Listed`], [`Described`]). Whatever the
//! network sent is stripped of control characters before it reaches a terminal.

mod document;
mod table;

use std::io::{self, ErrorKind, Write};

use clap::ValueEnum;
use model::Timestamp;

use crate::exit::{Exit, Failure};

pub(crate) use document::{Message, enum_word};
pub(crate) use table::{Cell, Sheet, Style, Table, lines, one_line};

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    // Plain comments: documented, each would take a line of every help text.
    // For people.
    Table,
    // An object with the fields of the API, or an array of them.
    Json,
    // The same as YAML.
    Yaml,
}

/// A message that can be a row of a table.
pub(crate) trait Listed: Message {
    /// What stands above the columns.
    const COLUMNS: &'static [&'static str];

    /// One cell per column.
    fn row(&self, now: Timestamp) -> Vec<Cell>;
}

/// A message that can be shown on its own.
pub(crate) trait Described: Message {
    /// Its fields, and the tables that belong to it.
    fn sheet(&self, now: Timestamp) -> Sheet;
}

/// The way to stdout.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    /// What was asked for.
    pub(crate) format: Format,
    /// Whether stdout is a terminal, which a redraw may clear.
    pub(crate) terminal: bool,
    /// How tables look.
    pub(crate) style: Style,
}

impl Output {
    /// The text of a list.
    ///
    /// # Errors
    /// When a message cannot be told by the descriptors, which would be a bug.
    pub(crate) fn list<M: Listed>(&self, messages: &[M], now: Timestamp) -> Result<String, Failure> {
        match self.format {
            Format::Table => {
                let rows = messages.iter().map(|message| message.row(now)).collect();
                Ok(Table { headers: M::COLUMNS, rows }.render(&self.style))
            }
            Format::Json => document::json_array(messages),
            Format::Yaml => document::yaml_array(messages),
        }
    }

    /// The text of one message.
    ///
    /// # Errors
    /// As [`Output::list`].
    pub(crate) fn one<M: Described>(&self, message: &M, now: Timestamp) -> Result<String, Failure> {
        match self.document(message) {
            Some(document) => document,
            None => Ok(message.sheet(now).render(&self.style)),
        }
    }

    /// Answers a change: programs get the message; people get `essence` alone on stdout, ready for `$(…)`, and the talk
    /// on stderr.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub(crate) fn changed<M: Message>(
        &self,
        message: &M,
        essence: Option<&str>,
        talk: &str,
    ) -> Result<(), Failure> {
        match self.document(message) {
            Some(document) => print(&document?)?,
            None => essence.map_or(Ok(()), |essence| print(&format!("{}\n", one_line(essence))))?,
        }
        say(talk);
        Ok(())
    }

    /// Answers with a text of several lines: programs get the message, people the text.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub(crate) fn text<M: Message>(&self, message: &M, text: &str) -> Result<(), Failure> {
        match self.document(message) {
            Some(document) => print(&document?),
            None => {
                let text = lines(text);
                let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
                print(&format!("{text}{end}"))
            }
        }
    }

    /// Adds a line under a table. Programs do not get it.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub(crate) fn footer(&self, text: &str) -> Result<(), Failure> {
        match self.format {
            Format::Table => print(&format!("\n{}\n", one_line(text))),
            Format::Json | Format::Yaml => Ok(()),
        }
    }

    fn document<M: Message>(&self, message: &M) -> Option<Result<String, Failure>> {
        match self.format {
            Format::Table => None,
            Format::Json => Some(document::json(message)),
            Format::Yaml => Some(document::yaml(message)),
        }
    }
}

/// Writes to stdout.
///
/// # Errors
/// When that fails; a reader that has gone (`| head`) ends the program quietly.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure::reader_gone(),
        _ => Failure::new(Exit::Negative, format!("cannot write to stdout: {error}")),
    })
}

/// Says something to the person, on stderr.
pub(crate) fn say(talk: &str) {
    // Talk that nobody can hear changes nothing.
    let _ = writeln!(io::stderr(), "{}", one_line(talk));
}
