//! From what people write to the expressions that the library reads: durations become calls, `matches` a method, and
//! what is joined by `&&` comes apart.

/// A part of an assertion, as it was written and as CEL.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) text: String,
    pub(super) cel: String,
}

/// Most operators and brackets of one part: readers, ours and the library's, go one level deeper for each at worst,
/// and the library's takes some 20 KB for that without optimization.
const MAX_OPERATORS: usize = 48;
const UNITS: [&str; 5] = ["ms", "s", "m", "h", "d"];

/// The parts joined by `&&` outside of parentheses; all of it where that is not what joins them.
pub(super) fn conjuncts(text: &str) -> Result<Vec<Written>, String> {
    let mut parts = vec![];
    let mut cel = String::new();
    let (mut from, mut at, mut depth) = (0, 0, 0_usize);
    let (mut is_whole, mut closes_matches, mut operators) = (false, false, 0);
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let length = match first {
            '"' | '\'' => {
                let length = string(rest, cel.ends_with(['r', 'R']))?;
                cel.push_str(&rest[..length]);
                if std::mem::take(&mut closes_matches) {
                    cel.push(')');
                }
                length
            }
            '0'..='9' if !cel.ends_with(|c: char| is_word(c) || c == '.') => {
                let length = rest.find(|c: char| !is_word(c) && c != '.').unwrap_or(rest.len());
                let number = &rest[..length];
                let unit = number.find(|c: char| c.is_ascii_alphabetic()).map(|at| &number[at..]);
                if unit.is_some_and(|unit| UNITS.contains(&unit)) {
                    cel.push_str(&format!("duration(\"{number}\")"));
                } else {
                    cel.push_str(number);
                }
                length
            }
            c if is_word(c) => {
                let length = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
                let follows = rest[length..].trim_start().trim_start_matches(['r', 'R']);
                if &rest[..length] == "matches" && !cel.ends_with('.') && follows.starts_with(['"', '\'']) {
                    cel.truncate(cel.trim_end().len());
                    cel.push_str(".matches(");
                    closes_matches = true;
                } else {
                    cel.push_str(&rest[..length]);
                }
                length
            }
            '&' if rest.starts_with("&&") && depth == 0 && !is_whole => {
                parts.push(Written { text: text[from..at].trim().to_owned(), cel: std::mem::take(&mut cel) });
                from = at + 2;
                2
            }
            other => {
                operators += usize::from(!other.is_whitespace());
                if operators > MAX_OPERATORS {
                    return Err(format!(
                        "has more than {MAX_OPERATORS} operators and brackets: make several assertions of it"
                    ));
                }
                match other {
                    '(' | '[' | '{' => depth += 1,
                    ')' | ']' | '}' => depth = depth.saturating_sub(1),
                    '?' if depth == 0 => is_whole = true,
                    '|' if depth == 0 => is_whole = true,
                    _ => {}
                }
                cel.push(other);
                other.len_utf8()
            }
        };
        at += length;
    }
    parts.push(Written { text: text[from..].trim().to_owned(), cel });
    if is_whole && parts.len() > 1 {
        // `a && b || c` is not `a` and `b || c`.
        let whole: Vec<_> = parts.into_iter().map(|part| part.cel).collect();
        return Ok(vec![Written { text: text.to_owned(), cel: whole.join("&&") }]);
    }
    Ok(parts)
}

const fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The length of a string literal, quotes included.
fn string(rest: &str, is_raw: bool) -> Result<usize, String> {
    let quote = &rest[..1];
    if rest.starts_with(&quote.repeat(3)) {
        return Err("a text in three quotes is not supported: use one".to_owned());
    }
    let mut is_escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if !is_raw => is_escaped = true,
            _ if quote.starts_with(c) => return Ok(at + 1),
            _ => {}
        }
    }
    Err(format!("a text that begins with {quote} does not end"))
}
