//! Producers, consumers and crashes from a seed, and a checker of the promises.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod checker;
mod value;
