//! The colour beside a message, the same in every chat.

use crate::notify::text::Severity;

/// 24-bit RGB.
pub(super) const fn rgb(severity: Severity) -> u32 {
    match severity {
        Severity::Critical => 0xd9_2d_20,
        Severity::Warning => 0xf7_90_09,
        Severity::Good => 0x17_b2_6a,
        Severity::Neutral => 0x98_a2_b3,
    }
}

/// `#d92d20`.
pub(super) fn hex(severity: Severity) -> String {
    format!("#{:06x}", rgb(severity))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_the_same_colour() {
        assert_eq!(hex(Severity::Critical), "#d92d20");
        assert_eq!(hex(Severity::Good), "#17b26a");
    }
}
