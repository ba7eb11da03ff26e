//! Bodies that get their secrets at the attempt: the stored part and what may not be stored.

use bytes::Bytes;
use serde_json::{Map, Value};
use url::form_urlencoded;

use super::provider::Unsendable;

/// A stored JSON object with further text fields. The same every time.
///
/// # Errors
/// When what is stored is no JSON object.
pub fn json(stored: &[u8], fields: &[(&str, &str)]) -> Result<Bytes, Unsendable> {
    let mut object: Map<String, Value> =
        serde_json::from_slice(stored).map_err(|_| Unsendable("the stored body is not a JSON object"))?;
    for (name, value) in fields {
        object.insert((*name).to_owned(), Value::from(*value));
    }
    Ok(Value::Object(object).to_string().into())
}

/// A stored form with further fields.
///
/// # Errors
/// When what is stored is no text.
pub fn form(stored: &[u8], fields: &[(&str, &str)]) -> Result<Bytes, Unsendable> {
    let stored = std::str::from_utf8(stored).map_err(|_| Unsendable("the stored body is not a form"))?;
    let mut form = form_urlencoded::Serializer::new(stored.to_owned());
    Ok(form.extend_pairs(fields).finish().into())
}

/// The body of a form (`application/x-www-form-urlencoded`).
#[must_use]
pub fn new_form(fields: &[(&str, &str)]) -> Vec<u8> {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_added_to_what_is_stored() {
        assert_eq!(json(br#"{"b":1}"#, &[("a", "h\"sh")]).unwrap(), r#"{"a":"h\"sh","b":1}"#);
        assert!(json(b"[]", &[]).is_err() && json(b"\xff", &[]).is_err());
        let stored = new_form(&[("message", "a & b=c"), ("title", "🔴")]);
        assert_eq!(stored, b"message=a+%26+b%3Dc&title=%F0%9F%94%B4");
        assert_eq!(form(&stored, &[("token", "h&sh")]).unwrap(), [&stored[..], b"&token=h%26sh"].concat());
        assert!(form(b"\xff", &[]).is_err());
    }
}
