//! Pages of lists: how many, from where, and the token that leads on.
//!
//! A token holds the place after which the next page begins, not a count, so that walking a list while it changes shows
//! everything that was there all the time exactly once. It belongs to one list under one set of filters.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost::Message;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::invalid::Invalid;

const DEFAULT_SIZE: usize = 100;
const MAX_SIZE: usize = 1_000;
/// The longest token that is looked at; those made here are shorter.
const MAX_TOKEN_CHARS: usize = 4_096;
/// A page ends before its items need more: an answer may hold 4 MiB.
const MAX_PAGE_BYTES: usize = 3 << 20;

/// Which list a token belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Scope([u8; 8]);

impl Scope {
    /// The list of that name under these filters.
    pub(super) fn new(list: &str, filters: &[&dyn std::fmt::Debug]) -> Self {
        let mut first = [0; 8];
        first.copy_from_slice(&Sha256::digest(format!("{list} {filters:?}"))[..8]);
        Self(first)
    }
}

/// One page as it was asked for.
#[derive(Clone, Debug)]
pub(super) struct Page<P> {
    /// At most this many items.
    pub(super) size: usize,
    /// Where it begins; `None`: at the list's beginning.
    pub(super) after: Option<P>,
    scope: Scope,
}

impl<P: Serialize + DeserializeOwned> Page<P> {
    /// Reads what a request says.
    pub(super) fn read(scope: Scope, page_size: i32, page_token: &str, invalid: &mut Invalid) -> Self {
        let size = match usize::try_from(page_size) {
            Ok(0) => DEFAULT_SIZE,
            Ok(size) => size.min(MAX_SIZE),
            Err(_) => {
                invalid.add("page_size", "must not be negative: use 1 to 1000, or 0 for 100");
                DEFAULT_SIZE
            }
        };
        let after = if page_token.is_empty() { None } else { decode(scope, page_token) };
        if after.is_none() && !page_token.is_empty() {
            invalid.add(
                "page_token",
                "is not a next_page_token of this list under these filters: leave it empty to begin anew",
            );
        }
        Self { size, after, scope }
    }

    /// The token of the page that begins after `place`.
    pub(super) fn token(&self, place: &P) -> String {
        let bytes = postcard::to_stdvec(&(self.scope, place))
            .expect("places hold nothing that postcard cannot write");
        URL_SAFE_NO_PAD.encode(bytes)
    }
}

fn decode<P: DeserializeOwned>(scope: Scope, token: &str) -> Option<P> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok().filter(|_| token.len() <= MAX_TOKEN_CHARS)?;
    let ((found, place), rest): ((Scope, P), _) = postcard::take_from_bytes(&bytes).ok()?;
    (found == scope && rest.is_empty()).then_some(place)
}

/// A page being filled.
#[derive(Debug)]
pub(super) struct Filling<T> {
    pub(super) items: Vec<T>,
    size: usize,
    bytes: usize,
}

impl<T: Message> Filling<T> {
    /// An empty page that is to hold at most `size` items.
    pub(super) const fn new(size: usize) -> Self {
        Self { items: Vec::new(), size, bytes: 0 }
    }

    /// Adds an item. `false`: there is no room for it, it begins the next page.
    pub(super) fn add(&mut self, item: T) -> bool {
        let bytes = self.bytes + item.encoded_len();
        if self.is_full() || (bytes > MAX_PAGE_BYTES && !self.items.is_empty()) {
            return false;
        }
        self.bytes = bytes;
        self.items.push(item);
        true
    }

    /// Whether it holds as many items as were asked for.
    pub(super) fn is_full(&self) -> bool {
        self.items.len() >= self.size
    }
}

/// A place in a list that is sorted by name, then by id.
pub(super) type ByName = (String, [u8; 16]);

/// One page of everything there is, sorted, and the token of the next one; an empty token after the last.
pub(super) fn cut<S, T: Message>(
    page: &Page<ByName>,
    all: impl IntoIterator<Item = S>,
    place: impl Fn(&S) -> ByName,
    render: impl Fn(&S) -> T,
) -> (Vec<T>, String) {
    let mut rest: Vec<(ByName, S)> = all.into_iter().map(|item| (place(&item), item)).collect();
    rest.retain(|(place, _)| page.after.as_ref().is_none_or(|after| place > after));
    rest.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    let mut filling = Filling::new(page.size);
    let mut last = None;
    for (place, item) in &rest {
        if !filling.add(render(item)) {
            return (filling.items, last.map_or_else(String::new, |place| page.token(place)));
        }
        last = Some(place);
    }
    (filling.items, String::new())
}

#[cfg(test)]
mod tests {
    use proto::admin::v1::Region;

    use super::*;

    fn scope() -> Scope {
        Scope::new("regions", &[])
    }

    fn read(size: i32, token: &str) -> (Page<ByName>, Result<(), tonic::Status>) {
        let mut invalid = Invalid::default();
        let page = Page::read(scope(), size, token, &mut invalid);
        (page, invalid.refuse())
    }

    fn cut_names(names: &[&str], size: i32, token: &str) -> (Vec<String>, String) {
        let (page, sound) = read(size, token);
        sound.unwrap();
        let render = |name: &&&str| Region { id: (**name).to_owned(), ..Region::default() };
        let (items, next) = cut(&page, names, |name| ((**name).to_owned(), [0; 16]), render);
        (items.into_iter().map(|region| region.id).collect(), next)
    }

    #[test]
    fn walking_a_changing_list_shows_what_stays_exactly_once() {
        let (first, token) = cut_names(&["d", "b", "f", "a"], 2, "");
        assert_eq!(first, ["a", "b"]);
        let (second, token) = cut_names(&["c", "aa", "b", "d", "f", "g"], 3, &token);
        assert_eq!((second.join(" ").as_str(), token.is_empty()), ("c d f", false));
        let (third, token) = cut_names(&["c", "g"], 3, &token);
        assert_eq!((third, token.as_str()), (vec!["g".to_owned()], ""));
    }

    #[test]
    fn a_full_last_page_has_no_token() {
        assert_eq!(cut_names(&["a", "b"], 2, "").1, "");
        assert_eq!(cut_names(&[], 0, ""), (vec![], String::new()));
    }

    #[test]
    fn sizes_have_a_default_and_a_limit_and_are_not_negative() {
        assert_eq!((read(0, "").0.size, read(7, "").0.size, read(i32::MAX, "").0.size), (100, 7, 1_000));
        assert!(read(-1, "").1.unwrap_err().message().starts_with("page_size: must not be negative"));
    }

    #[test]
    fn tokens_of_other_lists_and_nonsense_are_refused() {
        let (page, _) = read(0, "");
        let good = page.token(&("x".to_owned(), [1; 16]));
        assert_eq!(read(0, &good).0.after, Some(("x".to_owned(), [1; 16])));
        let mut elsewhere = Invalid::default();
        Page::<ByName>::read(Scope::new("regions", &[&"x"]), 0, &good, &mut elsewhere);
        assert!(elsewhere.refuse().is_err());
        for bad in ["x", "%%", &good[..good.len() - 2], &format!("{good}AA"), &"A".repeat(100_000)] {
            let refusal = read(0, bad).1.unwrap_err();
            assert!(refusal.message().starts_with("page_token: is not a next_page_token"), "{refusal}");
        }
    }

    #[test]
    fn a_page_ends_before_its_answer_grows_too_large() {
        let huge = "x".repeat(MAX_PAGE_BYTES / 2);
        let names = [format!("{huge}a"), format!("{huge}b"), format!("{huge}c")];
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(cut_names(&names, 0, "").0.len(), 1);
    }
}
