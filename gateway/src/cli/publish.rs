//! stub
use super::Error;
pub async fn publish(_: super::arguments::Publish) -> Result<(), Error> {
    Ok(())
}
