//! A gauge of what is open, which cannot be forgotten to go down.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counted as open until it is dropped.
#[derive(Debug)]
pub(crate) struct Open(Arc<AtomicU64>);

impl Open {
    /// One more in `gauge`.
    pub(crate) fn new(gauge: &Arc<AtomicU64>) -> Self {
        gauge.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(gauge))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
