//! A connection's socket, which can be let rest.
//!
//! As a rule a thread wakes for every piece that arrives. While the socket rests nobody wakes for it: what arrives gathers in
//! the kernel until its owner looks. When that pays is decided by `pace`.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

/// A socket in one of its states.
pub(super) struct Socket(State);

enum State {
    Watched(TcpStream),
    Resting(std::net::TcpStream),
    /// It could not be moved from one to the other.
    Lost,
}

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self(State::Watched(stream))
    }

    pub(super) fn is_resting(&self) -> bool {
        matches!(self.0, State::Resting(_))
    }

    /// From now on nobody is woken: what can be read or written at once is, and everything else stays pending.
    pub(super) fn rest(&mut self) -> io::Result<()> {
        self.change(|state| match state {
            State::Watched(stream) => stream.into_std().map(State::Resting),
            other => Ok(other),
        })
    }

    /// From now on readers and writers are woken.
    pub(super) fn watch(&mut self) -> io::Result<()> {
        self.change(|state| match state {
            State::Resting(stream) => TcpStream::from_std(stream).map(State::Watched),
            other => Ok(other),
        })
    }

    fn change(&mut self, to: impl FnOnce(State) -> io::Result<State>) -> io::Result<()> {
        self.0 = to(mem::replace(&mut self.0, State::Lost))?;
        Ok(())
    }

    /// For one who reads and one who writes.
    pub(super) fn halves(&mut self) -> (Input<'_>, Output<'_>) {
        match &mut self.0 {
            State::Watched(stream) => {
                let (input, output) = stream.split();
                (Input(Side::Watched(input)), Output(Side::Watched(output)))
            }
            State::Resting(stream) => (Input(Side::Resting(stream)), Output(Side::Resting(stream))),
            State::Lost => (Input(Side::Lost), Output(Side::Lost)),
        }
    }
}

enum Side<'a, W> {
    Watched(W),
    Resting(&'a std::net::TcpStream),
    Lost,
}

/// What reads.
pub(super) struct Input<'a>(Side<'a, ReadHalf<'a>>);

/// What writes.
pub(super) struct Output<'a>(Side<'a, WriteHalf<'a>>);

impl AsyncRead for Input<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Side::Watched(half) => Pin::new(half).poll_read(context, buffer),
            Side::Resting(stream) => {
                at_once(stream.read(buffer.initialize_unfilled())).map_ok(|count| buffer.advance(count))
            }
            Side::Lost => Poll::Ready(Err(ErrorKind::NotConnected.into())),
        }
    }
}

impl AsyncWrite for Output<'_> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Side::Watched(half) => Pin::new(half).poll_write(context, bytes),
            Side::Resting(stream) => at_once(stream.write(bytes)),
            Side::Lost => Poll::Ready(Err(ErrorKind::NotConnected.into())),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Side::Watched(half) => Pin::new(half).poll_write_vectored(context, pieces),
            Side::Resting(stream) => at_once(stream.write_vectored(pieces)),
            Side::Lost => Poll::Ready(Err(ErrorKind::NotConnected.into())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Side::Watched(half) => Pin::new(half).poll_shutdown(context),
            Side::Resting(stream) => Poll::Ready(stream.shutdown(std::net::Shutdown::Write)),
            Side::Lost => Poll::Ready(Err(ErrorKind::NotConnected.into())),
        }
    }
}

/// Nobody will wake for what is pending: the owner tries again when it looks the next time.
fn at_once(done: io::Result<usize>) -> Poll<io::Result<usize>> {
    match done {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Poll::Pending,
        done => Poll::Ready(done),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_socket_that_rests_does_what_can_be_done_at_once_and_wakes_nobody() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut socket = Socket::new(listener.accept().await.unwrap().0);
        socket.rest().unwrap();
        assert!(socket.is_resting());
        let mut bytes = [0; 8];
        assert!(futures_util::poll!(std::pin::pin!(socket.halves().0.read(&mut bytes))).is_pending());
        socket.halves().1.write_all(b"to the peer").await.unwrap();
        peer.read_exact(&mut [0; 11]).await.unwrap();
        peer.write_all(b"back").await.unwrap();
        socket.watch().unwrap();
        assert!(!socket.is_resting());
        assert_eq!(socket.halves().0.read(&mut bytes).await.unwrap(), 4);
        assert_eq!(&bytes[..4], b"back");
    }
}
