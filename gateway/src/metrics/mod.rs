//! What there is to measure with: counters that listeners count with, and families of samples as they are shown.

mod counter;
mod family;
mod open;
mod tally;

pub use counter::Counter;
pub use family::{Family, Labels, Number, Samples, encode, encode_classic};
pub(crate) use open::Open;
pub use tally::Tally;
pub(crate) use tally::traffic;

/// Gathers metrics of one part of the gateway.
pub type Gather = Box<dyn Fn() -> Vec<Family> + Send + Sync>;
