//! How a command fails: words that say what to do next, and an exit code for programs.

use std::fmt;
use std::io;
use std::process::ExitCode;

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It did not work.
    Failed = 1,
    /// The gateway cannot be reached or cannot answer now: the same command may work later.
    Unavailable = 3,
    /// The gateway refused: the same command will be refused again.
    Refused = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What is shown when a command fails, and the exit code it ends with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The exit code.
    pub exit: Exit,
    /// For people; empty when there is nobody left to read it.
    pub message: String,
}

impl Error {
    /// It did not work.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, message: message.into() }
    }

    /// Later, perhaps.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self { exit: Exit::Unavailable, message: message.into() }
    }

    /// Not like this.
    pub fn refused(message: impl Into<String>) -> Self {
        Self { exit: Exit::Refused, message: message.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    /// Reading standard input or writing standard output. A reader that has gone away (`| head`) needs no words.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::failed(""),
            _ => Self::failed(error.to_string()),
        }
    }
}

impl From<crate::config::Mistakes> for Error {
    fn from(mistakes: crate::config::Mistakes) -> Self {
        Self::failed(format!("the configuration cannot be used:\n{mistakes}"))
    }
}

impl From<crate::server::Error> for Error {
    fn from(error: crate::server::Error) -> Self {
        Self::failed(error.to_string())
    }
}
