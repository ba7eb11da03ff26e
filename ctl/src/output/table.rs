//! Tables without borders, and sheets made of them.
//!
//! In: cells. Out: lines, columns two spaces apart, cut to the terminal's width if there is a terminal. Only words that
//! name a state have a colour. A cell never holds a control character, so nobody's target or job name can drive the
//! terminal, and a row is always one line.

use std::fmt::Write;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// How a table looks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    /// Whether the first line names the columns.
    pub(crate) headers: bool,
    /// Whether state words are coloured.
    pub(crate) colour: bool,
    /// Where lines are cut; `None` outside a terminal.
    pub(crate) width: Option<usize>,
}

/// What stands in one column of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    colour: Option<&'static str>,
}

impl Cell {
    /// Plain text; `-` if it is empty, so that every row has all its columns.
    pub(crate) fn text(text: impl AsRef<str>) -> Self {
        let text = one_line(text.as_ref());
        Self { text: if text.is_empty() { "-".to_owned() } else { text }, colour: None }
    }

    /// A state, coloured by its first word.
    pub(crate) fn state(text: impl AsRef<str>) -> Self {
        let mut cell = Self::text(text);
        cell.colour = match cell.text.split(' ').next().unwrap_or_default() {
            "up" | "pass" | "connected" | "resolved" | "running" | "success" | "succeeded" | "delivered" => {
                Some("32")
            }
            "down" | "fail" | "failed" | "missed" | "open" | "disconnected" | "dead" | "disabled" => {
                Some("31")
            }
            "degraded" | "late" | "lost:" | "error" | "unknown" | "quarantined" => Some("33"),
            _ => None,
        };
        cell
    }
}

/// Rows under headers.
pub(crate) struct Table {
    /// What stands above the columns.
    pub(crate) headers: &'static [&'static str],
    /// As many cells each as there are headers.
    pub(crate) rows: Vec<Vec<Cell>>,
}

impl Table {
    /// The table's lines.
    pub(crate) fn render(&self, style: &Style) -> String {
        let mut text = String::new();
        self.write(&mut text, "", style);
        text
    }

    fn write(&self, text: &mut String, indent: &str, style: &Style) {
        let headers: Vec<Cell> = self.headers.iter().map(Cell::text).collect();
        let rows = || style.headers.then_some(&headers).into_iter().chain(&self.rows);
        let mut widths = vec![0; self.headers.len()];
        for row in rows() {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.text.width().max(*width);
            }
        }
        for row in rows() {
            let mut line = Line::new(indent, style);
            for (number, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let padding = if number + 1 == row.len() { 0 } else { width - cell.text.width() + 2 };
                line.push(cell, padding);
            }
            text.push_str(&line.end());
        }
    }
}

/// One resource for people: its fields, then what belongs to it.
#[derive(Default)]
pub(crate) struct Sheet {
    fields: Vec<(&'static str, Cell)>,
    parts: Vec<(String, Table)>,
}

impl Sheet {
    /// Adds a field, unless it is empty.
    pub(crate) fn field(mut self, name: &'static str, value: impl AsRef<str>) -> Self {
        if !value.as_ref().is_empty() {
            self.fields.push((name, Cell::text(value)));
        }
        self
    }

    /// Adds a field that names a state.
    pub(crate) fn state(mut self, name: &'static str, value: impl AsRef<str>) -> Self {
        self.fields.push((name, Cell::state(value)));
        self
    }

    /// Adds a table under a title, unless it has no rows.
    pub(crate) fn part(mut self, title: impl Into<String>, table: Table) -> Self {
        if !table.rows.is_empty() {
            self.parts.push((title.into(), table));
        }
        self
    }

    /// The sheet's lines.
    pub(crate) fn render(self, style: &Style) -> String {
        let mut text = String::new();
        let fields = self.fields.into_iter().map(|(name, value)| vec![Cell::text(format!("{name}:")), value]);
        let fields = Table { headers: &["", ""], rows: fields.collect() };
        fields.write(&mut text, "", &Style { headers: false, ..*style });
        for (title, table) in self.parts {
            let mut line = Line::new("", style);
            line.push(&Cell::text(format!("{title}:")), 0);
            text.push('\n');
            text.push_str(&line.end());
            let headers = style.headers && table.headers.iter().any(|header| !header.is_empty());
            table.write(&mut text, "  ", &Style { headers, ..*style });
        }
        text
    }
}

/// Text of several lines, without what could drive a terminal.
pub(crate) fn lines(text: &str) -> String {
    text.chars().filter(|&c| matches!(c, '\n' | '\t') || !(c.is_control() || is_bidi_control(c))).collect()
}

/// The text without control characters, on one line.
pub(crate) fn one_line(text: &str) -> String {
    let spaced = text.chars().map(|c| if c == '\n' || c == '\t' { ' ' } else { c });
    spaced.filter(|&c| !c.is_control() && !is_bidi_control(c)).collect::<String>().trim().to_owned()
}

/// Marks that reorder what follows them, by which a name could pass for another.
const fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}')
}

/// A line under construction that knows how much of the terminal is left.
struct Line<'a> {
    text: String,
    left: Option<usize>,
    style: &'a Style,
    full: bool,
}

impl<'a> Line<'a> {
    fn new(indent: &str, style: &'a Style) -> Self {
        let left = style.width.map(|width| width.saturating_sub(indent.len()));
        Self { text: indent.to_owned(), left, style, full: false }
    }

    fn push(&mut self, cell: &Cell, padding: usize) {
        if self.full {
            return;
        }
        let width = cell.text.width();
        let cut = match &mut self.left {
            Some(left) if width > *left => {
                self.full = true;
                truncated(&cell.text, *left)
            }
            Some(left) => {
                *left = left.saturating_sub(width + padding);
                cell.text.clone()
            }
            None => cell.text.clone(),
        };
        match cell.colour.filter(|_| self.style.colour) {
            Some(colour) => {
                let _ = write!(self.text, "\u{1b}[{colour}m{cut}\u{1b}[0m");
            }
            None => self.text.push_str(&cut),
        }
        self.text.extend(std::iter::repeat_n(' ', padding));
    }

    fn end(mut self) -> String {
        self.text.truncate(self.text.trim_end().len());
        self.text.push('\n');
        self.text
    }
}

/// The text cut to `width` columns, the last of them an ellipsis.
fn truncated(text: &str, width: usize) -> String {
    let mut cut = String::new();
    let mut used = 0;
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if used + wide + 1 > width {
            break;
        }
        used += wide;
        cut.push(c);
    }
    if width > 0 {
        cut.push('…');
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Style = Style { headers: true, colour: false, width: None };

    fn table() -> Table {
        let row =
            |name: &str, state: &str, url: &str| vec![Cell::text(name), Cell::state(state), Cell::text(url)];
        let rows =
            vec![row("shop", "up", "https://shop.example/health"), row("日本", "down (recovering)", "")];
        Table { headers: &["NAME", "STATUS", "URL"], rows }
    }

    #[test]
    fn columns_stand_two_spaces_apart_and_nothing_trails() {
        let expected = "\
NAME  STATUS             URL
shop  up                 https://shop.example/health
日本  down (recovering)  -
";
        assert_eq!(table().render(&PLAIN), expected);
    }

    #[test]
    fn lines_are_cut_to_the_terminal_s_width() {
        let text = table().render(&Style { width: Some(30), ..PLAIN });
        assert!(text.lines().all(|line| line.width() <= 30), "{text}");
        assert!(text.contains("  http…\n"), "{text}");
        let narrow = table().render(&Style { width: Some(1), ..PLAIN });
        assert!(narrow.lines().all(|line| line.width() <= 1), "{narrow}");
    }

    #[test]
    fn only_state_words_have_a_colour() {
        let text = table().render(&Style { colour: true, headers: false, ..PLAIN });
        assert_eq!(text.matches("\u{1b}[32mup\u{1b}[0m").count(), 1, "{text:?}");
        assert_eq!(text.matches('\u{1b}').count(), 4, "{text:?}");
        assert!(!table().render(&PLAIN).contains('\u{1b}'));
    }

    #[test]
    fn a_cell_cannot_drive_the_terminal_or_break_the_row() {
        assert_eq!(Cell::text("a\u{1b}]0;x\u{7}\nb\u{202e}").text, "a]0;x b");
    }
}
