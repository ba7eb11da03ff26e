//! A connection over which no more than so much is read, whatever the layers above make of it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream that fails with [`io::ErrorKind::QuotaExceeded`] once more has come than may.
#[derive(Debug)]
pub(super) struct Bounded<S> {
    stream: S,
    left_bytes: usize,
}

impl<S> Bounded<S> {
    pub(super) const fn new(stream: S, max_bytes: usize) -> Self {
        Self { stream, left_bytes: max_bytes }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let count = buffer.filled().len() - before;
        match self.left_bytes.checked_sub(count) {
            Some(left) => {
                self.left_bytes = left;
                Poll::Ready(Ok(()))
            }
            None => {
                // What fails has read nothing.
                buffer.set_filled(before);
                Poll::Ready(Err(io::ErrorKind::QuotaExceeded.into()))
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn as_much_as_may_come_is_read_and_no_more() {
        let mut whole = vec![];
        Bounded::new(&[7; 10][..], 10).read_to_end(&mut whole).await.unwrap();
        assert_eq!(whole, [7; 10]);
        let error = Bounded::new(&[7; 11][..], 10).read_to_end(&mut vec![]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded);
    }
}
