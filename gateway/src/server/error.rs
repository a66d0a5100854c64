//! Why the gateway does not start or stop as it should, and what to do about it.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tidegate_engine as engine;

/// Why not.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address cannot be listened on.
    #[error("cannot listen on {address} for {name}: {error}. {}", advice(.name, .error))]
    Bind {
        /// The listener.
        name: &'static str,
        /// Its address.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The data directory is another process's, or cannot be made, written or listed.
    #[error("{error}: {}", directory_advice(.data_dir, .error))]
    DataDir {
        /// The data directory.
        data_dir: PathBuf,
        /// What is wrong.
        error: engine::Error,
    },
    /// What is in the data directory cannot be opened, or the last write failed.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// The file with the cluster id and the signing key cannot be read or made.
    #[error("gateway.json in {} cannot be used: {error}. Restore it from a backup; without it a new cluster id and key are made, and outstanding acknowledgement ids become invalid", data_dir.display())]
    Identity {
        /// The data directory.
        data_dir: PathBuf,
        /// What is wrong.
        error: io::Error,
    },
    /// Exchanges, queues and bindings cannot be read, or the queues that a restart removes cannot be removed.
    #[error("the stored exchanges, queues and bindings cannot be used: {0}")]
    Routing(#[from] crate::broker::Error),
    /// Our fault.
    #[error("{0}")]
    Internal(String),
}

fn directory_advice(data_dir: &Path, error: &engine::Error) -> String {
    match error {
        engine::Error::Locked => {
            format!("stop that, or choose another directory than {} with --data-dir", data_dir.display())
        }
        _ => "it must be this user's to write, so change its owner, or choose another with --data-dir".to_owned(),
    }
}

fn advice(name: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("Another program has it: stop that, or choose another address with --{name}")
        }
        io::ErrorKind::PermissionDenied => {
            format!("Choose a port above 1023 with --{name}, or grant CAP_NET_BIND_SERVICE")
        }
        io::ErrorKind::AddrNotAvailable => format!("This machine has no such address: choose another with --{name}"),
        _ => format!("Choose another address with --{name}, or --{name} off"),
    }
}
