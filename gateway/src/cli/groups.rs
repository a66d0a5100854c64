//! stub
use super::Error;
#[derive(Debug, clap::Subcommand)]
pub enum Groups {
    /// List
    List,
}
pub async fn groups(_: Groups) -> Result<(), Error> {
    Ok(())
}
