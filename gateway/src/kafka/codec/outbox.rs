//! Responses on their way to the socket, written many at a time.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::Frame;

/// The most pieces given to one write.
const MAX_PIECES: usize = 64;

/// Pieces to be written, in order.
#[derive(Debug, Default)]
pub(in crate::kafka) struct Outbox {
    pieces: VecDeque<Bytes>,
}

impl Outbox {
    pub(in crate::kafka) fn push(&mut self, frame: Frame) {
        self.pieces.extend(frame.0.into_iter().filter(|piece| !piece.is_empty()));
    }

    pub(in crate::kafka) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Whether another frame should rather wait for the next write.
    pub(in crate::kafka) fn is_full(&self) -> bool {
        self.pieces.len() >= MAX_PIECES
    }

    /// Writes everything; returns how many bytes that were.
    pub(in crate::kafka) async fn flush(&mut self, socket: &mut (impl AsyncWrite + Unpin)) -> io::Result<usize> {
        let mut total = 0;
        while !self.pieces.is_empty() {
            let mut slices = [IoSlice::new(&[]); MAX_PIECES];
            let count = self.pieces.len().min(MAX_PIECES);
            for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
                *slice = IoSlice::new(piece);
            }
            let written = socket.write_vectored(&slices[..count]).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            total += written;
            self.advance(written);
        }
        Ok(total)
    }

    fn advance(&mut self, mut written: usize) {
        while let Some(piece) = self.pieces.front_mut() {
            if written < piece.len() {
                piece.advance(written);
                return;
            }
            written -= piece.len();
            self.pieces.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn everything_is_written_in_order(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..200), room in 1usize..64) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let expected: Vec<u8> = pieces.concat();
            let mut outbox = Outbox::default();
            outbox.push(Frame(pieces.into_iter().map(Bytes::from).collect()));
            let got = runtime.block_on(async move {
                let (mut ours, mut theirs) = tokio::io::duplex(room);
                let writer = async move { outbox.flush(&mut ours).await.unwrap() };
                let reader = async move {
                    let mut got = Vec::new();
                    tokio::io::AsyncReadExt::read_to_end(&mut theirs, &mut got).await.unwrap();
                    got
                };
                let (written, got) = tokio::join!(writer, reader);
                assert_eq!(written, got.len());
                got
            });
            prop_assert_eq!(got, expected);
        }
    }
}
