//! `tidegate check`: is this configuration usable?

use super::arguments::Check;
use super::{Error, output};
use crate::config::Sources;

pub fn check(check: &Check) -> Result<(), Error> {
    let sources = Sources { file: Some(check.config.clone()), insecure: check.insecure, ..Sources::default() };
    match sources.with_environment().load() {
        Ok(_) => output::print(&format!("{}: no mistakes\n", check.config.display())),
        Err(mistakes) => {
            let count = mistakes.mistakes.len();
            let noun = if count == 1 { "mistake" } else { "mistakes" };
            Err(Error::failed(format!("{count} {noun}\n{mistakes}")))
        }
    }
}
