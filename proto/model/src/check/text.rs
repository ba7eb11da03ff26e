//! Bytes as people write them: text in which `\r`, `\n`, `\t`, `\\` and `\xHH` stand for single bytes.

use super::{InvalidCheck, invalid};

/// The longest text that may be sent or expected, as written.
pub const MAX_TEXT_BYTES: usize = 8_192;
/// Most things that one check may expect.
pub const MAX_EXPECTED: usize = 20;

/// The bytes that a text stands for; `None` if a backslash is followed by something else.
#[must_use]
pub fn to_bytes(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let [escaped, tail @ ..] = rest else { return None };
        rest = tail;
        bytes.push(match escaped {
            b'r' => b'\r',
            b'n' => b'\n',
            b't' => b'\t',
            b'\\' => b'\\',
            b'x' => {
                let [high, low, tail @ ..] = rest else { return None };
                rest = tail;
                hex(*high)? * 16 + hex(*low)?
            }
            _ => return None,
        });
    }
    Some(bytes)
}

/// The value of a hexadecimal digit, in either case.
#[must_use]
pub fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

pub(super) fn validate_send(send: &str) -> Result<(), InvalidCheck> {
    validate("send", send)
}

pub(super) fn validate_expect(expect: &[String]) -> Result<(), InvalidCheck> {
    validate_list(expect)?;
    expect.iter().try_for_each(|text| validate("expect", text))
}

/// For lists in which a backslash is one.
pub(super) fn validate_list(expect: &[String]) -> Result<(), InvalidCheck> {
    if expect.len() > MAX_EXPECTED {
        return Err(invalid("expect", format!("at most {MAX_EXPECTED} are allowed")));
    }
    if expect.iter().any(String::is_empty) {
        return Err(invalid("expect", "must not be empty"));
    }
    let is_long = |text: &String| text.len() > MAX_TEXT_BYTES;
    if expect.iter().any(is_long) {
        return Err(invalid("expect", format!("is longer than {MAX_TEXT_BYTES} bytes")));
    }
    Ok(())
}

fn validate(field: &'static str, text: &str) -> Result<(), InvalidCheck> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(invalid(field, format!("is longer than {MAX_TEXT_BYTES} bytes")));
    }
    match to_bytes(text) {
        Some(_) => Ok(()),
        None => Err(invalid(field, r"a backslash must begin \r, \n, \t, \\ or \xHH")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_bytes_and_everything_else_is_itself() {
        assert_eq!(to_bytes(r"PING\r\n").unwrap(), b"PING\r\n");
        assert_eq!(to_bytes(r"\x00\xfF\\\t€").unwrap(), b"\x00\xff\\\t\xe2\x82\xac");
        for wrong in [r"\", r"\q", r"\x", r"\x1", r"\xg0"] {
            assert_eq!(to_bytes(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_too_much_empty_or_wrong_is_refused_by_field() {
        assert_eq!(validate_send(&"x".repeat(MAX_TEXT_BYTES)), Ok(()));
        assert_eq!(validate_send(&"x".repeat(MAX_TEXT_BYTES + 1)).unwrap_err().field, "send");
        for wrong in [vec![String::new()], vec!["x".to_owned(); MAX_EXPECTED + 1], vec![r"\y".to_owned()]] {
            assert_eq!(validate_expect(&wrong).unwrap_err().field, "expect", "{wrong:?}");
        }
    }
}
