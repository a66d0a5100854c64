//! Runs futures without threads and without time: they are asked again after each turn of the engine.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// A future that is asked now and then.
pub type Asked<T> = Pin<Box<dyn Future<Output = T>>>;

/// Its output, if it has one now.
pub fn ask<T>(future: &mut Asked<T>) -> Option<T> {
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}
