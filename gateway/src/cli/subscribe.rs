//! stub
use super::Error;
pub async fn subscribe(_: super::arguments::Subscribe) -> Result<(), Error> {
    Ok(())
}
