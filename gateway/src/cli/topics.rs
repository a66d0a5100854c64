//! stub
use super::Error;
#[derive(Debug, clap::Subcommand)]
pub enum Topics {
    /// List
    List,
}
pub async fn topics(_: Topics) -> Result<(), Error> {
    Ok(())
}
