//! The connection to a mail server. It breaks where a server says more than any reply is long: whoever reads replies keeps them in memory.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
};

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most bytes that may be read without a line break.
const MAX_LINE: usize = 4 * 1024;
/// Most lines. A reply is parsed anew with each of its lines.
const MAX_LINES: usize = 1000;
/// Most bytes that are read at all.
const MAX_READ: usize = 100_000;

/// A connection of which little is read.
#[derive(Debug)]
pub(super) struct Bounded<S> {
    inner: S,
    peer: SocketAddr,
    /// What is read before anything of the server.
    first: &'static [u8],
    line: usize,
    lines: usize,
    read: usize,
}

impl<S> Bounded<S> {
    pub(super) fn new(inner: S, peer: SocketAddr) -> Self {
        Self {
            inner,
            peer,
            first: b"",
            line: 0,
            lines: 0,
            read: 0,
        }
    }

    /// The same, which says this before the server says anything.
    pub(super) fn saying_first(self, first: &'static [u8]) -> Self {
        Self { first, ..self }
    }

    fn count(&mut self, new: &[u8]) -> io::Result<()> {
        self.read += new.len();
        self.lines += memchr::memchr_iter(b'\n', new).count();
        match new.iter().rposition(|byte| *byte == b'\n') {
            Some(at) => self.line = new.len() - at - 1,
            None => self.line += new.len(),
        }
        if self.line > MAX_LINE || self.lines > MAX_LINES || self.read > MAX_READ {
            return Err(io::Error::other("the mail server says too much"));
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let (said, rest) = self.first.split_at(self.first.len().min(buf.remaining()));
            buf.put_slice(said);
            self.first = rest;
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        let counted = self.count(&buf.filled()[before..]);
        if counted.is_err() {
            buf.set_filled(before);
        }
        Poll::Ready(counted)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin + std::fmt::Debug> AsyncTokioStream for Bounded<S> {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;

    async fn read(said: &[u8]) -> io::Result<Vec<u8>> {
        let peer = "127.0.0.1:25".parse().unwrap();
        let mut stream = Bounded::new(said, peer).saying_first(b"first\r\n");
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await.map(|_| read)
    }

    #[tokio::test]
    async fn what_is_read_has_line_breaks_and_an_end() {
        let lines = b"250 OK\r\n".repeat(MAX_LINES);
        assert_eq!(read(&lines).await.unwrap(), [b"first\r\n", &*lines].concat());
        assert!(read(&[b'a'; MAX_LINE]).await.is_ok());
        let long = [&*b"a".repeat(999), b"\n"].concat();
        for said in [
            vec![b'a'; MAX_LINE + 1],
            b"\n".repeat(MAX_LINES + 1),
            long.repeat(MAX_READ / 1000 + 1),
        ] {
            let error = read(&said).await.unwrap_err();
            assert!(error.to_string().contains("too much"), "{error}");
        }
    }
}
