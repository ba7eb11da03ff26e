//! From a driver's row to the words of the domain. What cannot be read is [`Error::Corrupt`], naming the column.

use std::fmt;
use std::str::FromStr;

use model::{SubjectId, Timestamp};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::failure::failure;
use crate::Error;

pub(super) fn text(row: &AnyRow, column: &str) -> Result<String, Error> {
    row.try_get(column).map_err(failure)
}

pub(super) fn blob(row: &AnyRow, column: &str) -> Result<Vec<u8>, Error> {
    row.try_get(column).map_err(failure)
}

pub(super) fn optional_blob(row: &AnyRow, column: &str) -> Result<Option<Vec<u8>>, Error> {
    row.try_get(column).map_err(failure)
}

/// A blob of exactly `N` bytes.
pub(super) fn bytes<const N: usize>(row: &AnyRow, column: &str) -> Result<[u8; N], Error> {
    exact(blob(row, column)?, column)
}

pub(super) fn optional_bytes<const N: usize>(row: &AnyRow, column: &str) -> Result<Option<[u8; N]>, Error> {
    optional_blob(row, column)?.map(|blob| exact(blob, column)).transpose()
}

fn exact<const N: usize>(blob: Vec<u8>, column: &str) -> Result<[u8; N], Error> {
    blob.try_into()
        .map_err(|blob: Vec<u8>| Error::Corrupt(format!("`{column}` has {} bytes, not {N}", blob.len())))
}

/// A number that is never negative in the domain.
pub(super) fn number<N: TryFrom<i64>>(row: &AnyRow, column: &str) -> Result<N, Error> {
    within(row.try_get(column).map_err(failure)?, column)
}

pub(super) fn optional_number<N: TryFrom<i64>>(row: &AnyRow, column: &str) -> Result<Option<N>, Error> {
    let number: Option<i64> = row.try_get(column).map_err(failure)?;
    number.map(|number| within(number, column)).transpose()
}

/// A number, where a negative one stands for none.
pub(super) fn natural<N: TryFrom<i64>>(row: &AnyRow, column: &str) -> Result<Option<N>, Error> {
    let number: i64 = row.try_get(column).map_err(failure)?;
    (number >= 0).then(|| within(number, column)).transpose()
}

fn within<N: TryFrom<i64>>(number: i64, column: &str) -> Result<N, Error> {
    N::try_from(number).map_err(|_| Error::Corrupt(format!("`{column}` is out of range: {number}")))
}

pub(super) fn instant(row: &AnyRow, column: &str) -> Result<Timestamp, Error> {
    row.try_get(column).map(Timestamp::from_micros).map_err(failure)
}

pub(super) fn optional_instant(row: &AnyRow, column: &str) -> Result<Option<Timestamp>, Error> {
    let micros: Option<i64> = row.try_get(column).map_err(failure)?;
    Ok(micros.map(Timestamp::from_micros))
}

/// Anything that is stored as its text.
pub(super) fn parsed<T>(row: &AnyRow, column: &str) -> Result<T, Error>
where
    T: FromStr<Err: fmt::Display>,
{
    let text: &str = row.try_get(column).map_err(failure)?;
    text.parse().map_err(|error| Error::Corrupt(format!("`{column}`: {error}")))
}

/// The same where there may be nothing.
pub(super) fn optional_parsed<T>(row: &AnyRow, column: &str) -> Result<Option<T>, Error>
where
    T: FromStr<Err: fmt::Display>,
{
    let text: Option<&str> = row.try_get(column).map_err(failure)?;
    let parse = |text: &str| text.parse().map_err(|error| Error::Corrupt(format!("`{column}`: {error}")));
    text.map(parse).transpose()
}

pub(super) fn subject(row: &AnyRow, column: &str) -> Result<SubjectId, Error> {
    let text: &str = row.try_get(column).map_err(failure)?;
    SubjectId::parse(text)
        .ok_or_else(|| Error::Corrupt(format!("`{column}` is the id of no kind of subject")))
}

/// A word of an enumeration that serde writes as a word.
pub(super) fn word<T: serde::de::DeserializeOwned>(row: &AnyRow, column: &str) -> Result<T, Error> {
    let text: &str = row.try_get(column).map_err(failure)?;
    T::deserialize(serde::de::value::StrDeserializer::new(text))
        .map_err(|error: serde::de::value::Error| Error::Corrupt(format!("`{column}`: {error}")))
}

/// A value that is stored as JSON.
pub(super) fn json<T: serde::de::DeserializeOwned>(row: &AnyRow, column: &str) -> Result<T, Error> {
    let text: &str = row.try_get(column).map_err(failure)?;
    serde_json::from_str(text).map_err(|error| Error::Corrupt(format!("`{column}`: {error}")))
}
