//! What the promises are for: kill -9, power cuts, full disks, failing syncs, damaged files.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod amqp;
mod crash;
mod damage;
mod disk;
mod mount;
mod sync;
