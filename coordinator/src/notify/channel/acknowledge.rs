//! The link that acknowledges an incident, for kinds of channel that show it as a link or a button.

use crate::notify::Message;
use crate::notify::text::ACKNOWLEDGE;

/// A message without the line that spells its link out, and the link.
pub(super) fn apart(message: &Message) -> (Message, Option<&str>) {
    let mut rest = message.clone();
    if message.acknowledge_url.is_some() {
        rest.lines.retain(|line| line.label != ACKNOWLEDGE);
    }
    (rest, message.acknowledge_url.as_deref())
}

/// The link in a markdown, on a line of its own; empty if there is none.
pub(super) fn markdown_line(url: Option<&str>) -> String {
    url.map(|url| format!("\n[{ACKNOWLEDGE}]({})", url.replace('(', "%28").replace(')', "%29")))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::samples;

    #[test]
    fn the_link_stands_apart_and_ends_where_it_should() {
        let event = samples::escalated();
        let message = Message::render(&event, event.occurred_at);
        let (rest, url) = apart(&message);
        assert_eq!(rest.lines.len() + 1, message.lines.len());
        assert!(!rest.details().contains(ACKNOWLEDGE) && url.is_some());
        assert_eq!(
            markdown_line(Some("https://a.example/(x)")),
            "\n[Acknowledge](https://a.example/%28x%29)"
        );
        assert_eq!(markdown_line(None), "");
    }
}
