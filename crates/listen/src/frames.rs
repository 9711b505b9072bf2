//! Watches the frames that arrive, so that a client that stops within the preface, a frame or the
//! headers of a request is noticed: the HTTP/2 library waits for it for ever.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::progress::Moment;

const PREFACE_BYTES: usize = 24;
const HEAD_BYTES: usize = 9;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// Where in the stream of frames the last byte was.
#[derive(Debug)]
enum Place {
    Preface { left: usize },
    Head { bytes: [u8; HEAD_BYTES], have: usize },
    Payload { left: usize, ends: bool },
}

/// A stream whose incoming frames are watched.
#[derive(Debug)]
pub(crate) struct Watched<I> {
    io: I,
    place: Place,
    /// Since when the preface, a frame or the headers of a request are incomplete.
    incomplete: Arc<Moment>,
    is_incomplete: bool,
}

impl<I> Watched<I> {
    pub(crate) fn new(io: I) -> (Self, Arc<Moment>) {
        let incomplete = Arc::new(Moment::none(Instant::now()));
        incomplete.set();
        let place = Place::Preface { left: PREFACE_BYTES };
        (Self { io, place, incomplete: Arc::clone(&incomplete), is_incomplete: true }, incomplete)
    }

    fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if !self.is_incomplete {
                self.is_incomplete = true;
                self.incomplete.set();
            }
            let count = match &mut self.place {
                Place::Preface { left } | Place::Payload { left, .. } => {
                    let count = bytes.len().min(*left);
                    *left -= count;
                    count
                }
                Place::Head { bytes: head, have } => {
                    let count = bytes.len().min(HEAD_BYTES - *have);
                    head[*have..*have + count].copy_from_slice(&bytes[..count]);
                    *have += count;
                    count
                }
            };
            bytes = &bytes[count..];
            self.next_place();
        }
    }

    fn next_place(&mut self) {
        if let Place::Head { bytes: [a, b, c, kind, flags, ..], have: HEAD_BYTES } = self.place {
            let left = u32::from_be_bytes([0, a, b, c]) as usize;
            let is_headers = kind == HEADERS || kind == CONTINUATION;
            self.place = Place::Payload { left, ends: !is_headers || flags & END_HEADERS != 0 };
        }
        let ends = match self.place {
            // The first frame must follow the preface.
            Place::Preface { left: 0 } => false,
            Place::Payload { left: 0, ends } => ends,
            _ => return,
        };
        self.place = Place::Head { bytes: [0; HEAD_BYTES], have: 0 };
        if ends {
            self.is_incomplete = false;
            self.incomplete.clear();
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Watched<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        self.read(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Watched<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFACE: &[u8; PREFACE_BYTES] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let [_, a, b, c] = (payload.len() as u32).to_be_bytes();
        let mut bytes = vec![a, b, c, kind, flags, 0, 0, 0, 1];
        bytes.extend_from_slice(payload);
        bytes
    }

    #[tokio::test]
    async fn a_preface_a_frame_and_headers_are_incomplete_until_their_last_byte() {
        let steps: [(&[u8], bool); 9] = [
            (b"", true),
            (PREFACE, true),
            (&frame(4, 0, b""), false),
            (&frame(0, 0, b"data")[..12], true),
            (b"a", false),
            (&frame(HEADERS, 0, b"x"), true),
            (&frame(CONTINUATION, 0, b""), true),
            (&frame(CONTINUATION, END_HEADERS, b"y"), false),
            (&frame(6, 0, b"12345678"), false),
        ];
        // Also byte by byte.
        for size in [1, usize::MAX] {
            let (mut watched, incomplete) = Watched::new(());
            for (number, (bytes, expected)) in steps.iter().enumerate() {
                bytes.chunks(size.min(bytes.len().max(1))).for_each(|part| watched.read(part));
                assert_eq!(incomplete.age().is_some(), *expected, "step {number}, by {size}");
            }
        }
    }
}
