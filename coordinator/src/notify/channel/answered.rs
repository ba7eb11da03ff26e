//! What providers say in their answers.

use std::time::Duration;

use serde_json::Value;

use super::provider::{Answer, Verdict};

/// The text at a JSON pointer of an answer; empty if there is none.
pub(super) fn words(told: &Value, pointer: &str) -> String {
    told.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// What an answer means that none of the provider's own words decides: what its status says, with what it `said`.
pub(super) fn otherwise(answer: &Answer<'_>, said: String) -> Option<Verdict> {
    (!answer.is_success() && answer.status != 410).then(|| Verdict::failed(said))
}

/// A wait that an answer gives in seconds, whole or not. What is no wait is `None`.
pub(super) fn seconds(told: &Value) -> Option<Duration> {
    told.as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn words_do_not_change_what_the_status_decides() {
        let otherwise = |status| otherwise(&Answer { status, body: b"" }, "no".to_owned());
        assert_eq!([200, 204, 410].map(otherwise), [const { None }; 3]);
        assert_eq!(otherwise(404), Some(Verdict::failed("no")));
    }

    #[test]
    fn what_is_not_there_is_empty_and_no_wait_is_negative_or_endless() {
        let told = json!({ "errors": ["a", 1], "wait": 0.5 });
        assert_eq!([words(&told, "/errors/0"), words(&told, "/errors/1"), words(&told, "/x")], ["a", "", ""]);
        assert_eq!(seconds(&told["wait"]), Some(Duration::from_millis(500)));
        for odd in [json!(-1), json!(1e300), json!("5"), Value::Null] {
            assert_eq!(seconds(&odd), None, "{odd}");
        }
    }
}
