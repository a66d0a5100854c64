//! The gateway as its operator sees it: a phase, a configuration, and once it runs, what it counts.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;

use crate::broker::Broker;
use crate::config;
use crate::metrics::Gather;

/// How far the gateway is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Opening its data.
    Starting = 0,
    /// Serving.
    Ready = 1,
    /// Finishing what was begun; nothing new is accepted.
    Draining = 2,
}

/// What there is once data is open.
pub struct Running {
    /// Topics and groups.
    pub broker: Broker,
    /// What each listener counts, gathered when it is asked for.
    pub listeners: Vec<Gather>,
}

/// Shared by the server, which changes it, and the admin listener, which shows it.
pub struct Gateway {
    phase: AtomicU8,
    config: ArcSwap<config::Config>,
    running: OnceLock<Running>,
}

impl Gateway {
    /// A gateway that is starting.
    #[must_use]
    pub fn new(config: Arc<config::Config>) -> Self {
        Self { phase: AtomicU8::new(Phase::Starting as u8), config: ArcSwap::new(config), running: OnceLock::new() }
    }

    /// How far it is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Ready,
            _ => Phase::Draining,
        }
    }

    /// It serves.
    pub fn set_ready(&self, running: Running) {
        if self.running.set(running).is_ok() {
            self.phase.store(Phase::Ready as u8, Ordering::Release);
        }
    }

    /// It is stopping.
    pub fn set_draining(&self) {
        self.phase.store(Phase::Draining as u8, Ordering::Release);
    }

    /// The configuration in effect.
    #[must_use]
    pub fn config(&self) -> Arc<config::Config> {
        self.config.load_full()
    }

    /// Puts another configuration into effect.
    pub fn set_config(&self, config: config::Config) {
        self.config.store(Arc::new(config));
    }

    /// What runs, once it does.
    #[must_use]
    pub fn running(&self) -> Option<&Running> {
        self.running.get()
    }

    /// Why it cannot serve at the moment, if so.
    #[must_use]
    pub fn unready(&self) -> Option<String> {
        match self.phase() {
            Phase::Starting => Some("starting".into()),
            Phase::Draining => Some("draining".into()),
            Phase::Ready => {
                self.running().filter(|running| running.broker.engine().usage().poisoned).map(|_| POISONED.into())
            }
        }
    }
}

/// What only a restart helps against.
const POISONED: &str = "a write or sync of the log failed: look at the disk, then restart";
