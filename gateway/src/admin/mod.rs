//! The admin listener: health, metrics, the running configuration. It answers while everything else starts and stops.

mod config;

pub use config::Config;
