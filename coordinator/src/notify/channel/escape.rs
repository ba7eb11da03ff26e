//! What others worded, made harmless in the markups that several providers share.
//!
//! In comes a text, out come its pieces for [`fitted`](super::fitted): a character each, with all that it takes to be
//! read as itself, so that no cut can split an escape.

use std::borrow::Cow;

/// Keeps what follows from being a mention, a link or a tag, and is not seen.
const UNSEEN: &str = "\u{200b}";

/// Text within HTML elements. An `@name` is no mention.
pub(super) fn html(text: &str) -> impl Iterator<Item = Cow<'_, str>> {
    text.chars().map(|c| match c {
        '&' => "&amp;".into(),
        '<' => "&lt;".into(),
        '>' => "&gt;".into(),
        '"' => "&quot;".into(),
        '@' => parted(c),
        other => other.to_string().into(),
    })
}

/// Text in a markdown where a backslash escapes the characters in `special`; what it would not stop from being a
/// mention stands in `mentions` and is parted.
pub(super) fn markdown<'a>(text: &str, special: &str, mentions: &str) -> impl Iterator<Item = Cow<'a, str>> {
    let chars: Vec<char> = text.chars().collect();
    let is_in_word = |index: usize| {
        let neighbours = [index.checked_sub(1), Some(index + 1)];
        neighbours.iter().all(|&at| at.and_then(|at| chars.get(at)).is_some_and(|c| c.is_alphanumeric()))
    };
    let pieces: Vec<_> = (chars.iter().enumerate())
        .map(|(index, &c)| match c {
            // Within a word it is no markup, and `nightly_cleanup` stays readable where escapes are shown.
            '_' if is_in_word(index) => "_".into(),
            c if mentions.contains(c) => parted(c),
            c if special.contains(c) => format!("\\{c}").into(),
            other => other.to_string().into(),
        })
        .collect();
    pieces.into_iter()
}

/// Text where no escapes are known: what begins a mention, a tag, a channel's name or a code span, or joins the halves
/// of a disguised link, is parted from what follows. Emphasis may still be read as such; it harms nobody.
pub(super) fn inert(text: &str) -> impl Iterator<Item = Cow<'_, str>> {
    text.chars().map(|c| match c {
        '@' | '<' | '#' | '`' | ']' | '|' => parted(c),
        other => other.to_string().into(),
    })
}

/// Text where nothing is markup.
pub(super) fn plain(text: &str) -> impl Iterator<Item = Cow<'_, str>> {
    text.chars().map(|c| c.to_string().into())
}

fn parted(c: char) -> Cow<'static, str> {
    format!("{c}{UNSEEN}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_is_read_as_written_and_mentions_nobody() {
        let escaped: String = html("<b>\"R&D\"</b> @here").collect();
        assert_eq!(escaped, "&lt;b&gt;&quot;R&amp;D&quot;&lt;/b&gt; @\u{200b}here");
    }

    #[test]
    fn mentions_links_and_code_are_parted() {
        let escaped: String = inert("@**all** <users/all> [l](http://e.example) `c`").collect();
        assert_eq!(
            escaped,
            "@\u{200b}**all** <\u{200b}users/all> [l]\u{200b}(http://e.example) `\u{200b}c`\u{200b}"
        );
    }
}
