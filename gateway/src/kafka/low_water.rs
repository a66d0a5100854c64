//! Waking once for a large request instead of once for every packet of it.

use std::io;

use tokio::net::TcpStream;

/// Below this a request comes in one or two pieces anyway.
const WORTHWHILE: usize = 32 << 10;
/// What the kernel is asked to gather at most, so that its buffer stays small.
const MAX: usize = 256 << 10;

/// How much of a request the kernel gathers before the connection's task is woken (`SO_RCVLOWAT`, socket(7)).
#[derive(Debug)]
pub(super) struct LowWater {
    set: usize,
}

impl LowWater {
    pub(super) fn new() -> Self {
        Self { set: 1 }
    }

    /// Says how many bytes are missing to the request that has begun. Must be called before every wait for more: a mark above
    /// what still comes would never be reached.
    pub(super) fn expect(&mut self, stream: &TcpStream, missing: usize) -> io::Result<()> {
        let mark = if missing < WORTHWHILE { 1 } else { missing.min(MAX) };
        if mark != self.set {
            set(stream, mark)?;
            self.set = mark;
        }
        Ok(())
    }
}

// Measured with 256 KiB requests over loopback: 19 wake-ups per request without it. No crate in use has this option.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn set(stream: &TcpStream, mark: usize) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let mark = libc::c_int::try_from(mark).unwrap_or(libc::c_int::MAX);
    let size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the descriptor is open as long as `stream` is borrowed, and `mark` outlives the call, which reads `size` bytes of it.
    let result = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVLOWAT,
            std::ptr::from_ref(&mark).cast(),
            size,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(not(target_os = "linux"))]
fn set(_: &TcpStream, _: usize) -> io::Result<()> {
    Ok(())
}
