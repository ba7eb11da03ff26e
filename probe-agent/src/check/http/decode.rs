//! From a body as it is sent to what it says: compressed answers, where they were asked for, are unpacked as they come.
//!
//! What a few bytes unpack to is bounded as a body is, and no more than that is ever held. Both encodings look back 32 KiB
//! at most; those of `br` (16 MiB) and `zstd` (8 MiB) a target could choose for each check, so they are not asked for.

use std::io::{self, Write};

use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::HeaderValue;
use model::check::MAX_BODY_BYTES;
use model::result::clean;
use model::{Failure, FailureKind};

/// What is asked for: all that [`Decoder`] unpacks.
pub(super) const ENCODINGS: &str = "gzip, deflate";
/// How much of an encoding's name is told.
const MAX_NAME_CHARS: usize = 40;

/// How a body is encoded, and what has been unpacked so far.
pub(super) enum Decoder {
    /// It is what it says.
    Plain,
    /// Nothing has come of it yet.
    Gzip,
    Gzipped(Box<MultiGzDecoder<Unpacked>>),
    /// What it is shows in its first byte.
    Deflate,
    Zlib(Box<ZlibDecoder<Unpacked>>),
    RawDeflate(Box<DeflateDecoder<Unpacked>>),
    /// An encoding that was not asked for; nobody hears the body.
    Unasked(String),
    /// It is not what it was said to be.
    Broken,
}

/// What was unpacked and not yet heard; fails with [`io::ErrorKind::StorageFull`] once there is enough.
pub(super) struct Unpacked {
    bytes: Vec<u8>,
    left_bytes: usize,
}

impl Decoder {
    /// The decoder of a body of this encoding (RFC 9110 §8.4), which may have been asked for.
    pub(super) fn new(encoding: Option<&HeaderValue>, is_asked: bool) -> Self {
        let Some(encoding) = encoding else { return Self::Plain };
        let encoding = String::from_utf8_lossy(encoding.as_bytes()).trim().to_ascii_lowercase();
        match encoding.as_str() {
            "" | "identity" => Self::Plain,
            "gzip" | "x-gzip" if is_asked => Self::Gzip,
            "deflate" if is_asked => Self::Deflate,
            _ if is_packed(&encoding) => Self::Unasked(clean(&encoding, MAX_NAME_CHARS)),
            // Not an encoding: some servers write the charset here, or `none`.
            _ => Self::Plain,
        }
    }

    /// Has what a piece of the body says heard. Returns whether more can be of use.
    pub(super) fn decode(&mut self, data: &[u8], mut hear: impl FnMut(&[u8])) -> bool {
        if matches!(self, Self::Gzip) && !data.is_empty() {
            *self = Self::Gzipped(Box::new(MultiGzDecoder::new(Unpacked::new())));
        }
        if matches!(self, Self::Deflate) {
            *self = match data.first() {
                None => return true,
                // The header of zlib (RFC 1950), which belongs there, and which some servers leave out.
                Some(first) if first & 0x0f == 8 => Self::Zlib(Box::new(ZlibDecoder::new(Unpacked::new()))),
                Some(_) => Self::RawDeflate(Box::new(DeflateDecoder::new(Unpacked::new()))),
            };
        }
        let (written, unpacked) = match self {
            Self::Plain => {
                hear(data);
                return true;
            }
            Self::Gzipped(decoder) => (decoder.write_all(data), decoder.get_mut()),
            Self::Zlib(decoder) => (decoder.write_all(data), decoder.get_mut()),
            Self::RawDeflate(decoder) => (decoder.write_all(data), decoder.get_mut()),
            Self::Gzip | Self::Deflate | Self::Unasked(_) | Self::Broken => return true,
        };
        hear(&unpacked.bytes);
        unpacked.bytes.clear();
        match written {
            Ok(()) => unpacked.left_bytes > 0,
            Err(error) if error.kind() == io::ErrorKind::StorageFull => false,
            Err(_) => {
                *self = Self::Broken;
                false
            }
        }
    }

    /// Hears out the last of a body that has come to its end.
    pub(super) fn finish(&mut self, mut hear: impl FnMut(&[u8])) {
        let (finished, unpacked) = match self {
            Self::Gzipped(decoder) => (decoder.try_finish(), decoder.get_mut()),
            Self::Zlib(decoder) => (decoder.try_finish(), decoder.get_mut()),
            Self::RawDeflate(decoder) => (decoder.try_finish(), decoder.get_mut()),
            Self::Plain | Self::Gzip | Self::Deflate | Self::Unasked(_) | Self::Broken => return,
        };
        hear(&unpacked.bytes);
        unpacked.bytes.clear();
        if finished.is_err_and(|error| error.kind() != io::ErrorKind::StorageFull) {
            *self = Self::Broken;
        }
    }

    /// Why the body could not be read; if nobody needs it, only where it was asked for in this encoding.
    pub(super) fn problem(&self, is_needed: bool) -> Option<Failure> {
        match self {
            Self::Broken => Some(Failure::new(FailureKind::Body, "the body cannot be unpacked")),
            Self::Unasked(encoding) if is_needed => {
                let detail = format_args!("the body is encoded as `{encoding}`, which was not asked for");
                Some(Failure::new(FailureKind::Body, detail))
            }
            _ => None,
        }
    }
}

/// Whether a body with this header is packed (the registered encodings, RFC 9110 §8.4.1, and several of them).
fn is_packed(encoding: &str) -> bool {
    const ENCODINGS: [&str; 9] =
        ["aes128gcm", "br", "compress", "dcb", "dcz", "deflate", "gzip", "x-gzip", "zstd"];
    encoding.split(',').any(|one| ENCODINGS.contains(&one.trim()))
}

impl Unpacked {
    const fn new() -> Self {
        Self { bytes: vec![], left_bytes: MAX_BODY_BYTES }
    }
}

impl Write for Unpacked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.left_bytes);
        if count == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend_from_slice(&bytes[..count]);
        self.left_bytes -= count;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
