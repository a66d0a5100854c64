//! stub
use crate::group::*;
use crate::shard::Shard;
use crate::*;
use std::sync::Arc;
pub(crate) async fn lease(_: &Engine, _: &Arc<Shard>, _: &GroupName, _: LeaseRequest) -> Result<Vec<Delivery>> {
    Ok(vec![])
}
impl Shard {
    pub fn create_group(&self, name: GroupName, config: GroupConfig) -> Result<Commit> {
        self.change(crate::record::StateRecord::GroupSet { name, config })
    }
    pub fn alter_group(&self, name: &GroupName, config: GroupConfig) -> Result<Commit> {
        self.create_group(name.clone(), config)
    }
    pub fn delete_group(&self, name: &GroupName) -> Result<Commit> {
        self.change(crate::record::StateRecord::GroupDeleted(name.clone()))
    }
    pub fn set_assigned(&self, _: &GroupName, _: bool) -> Result<()> {
        Ok(())
    }
    pub fn commit_offsets(&self, _: &GroupName, _: Vec<OffsetCommit>) -> Result<Commit> {
        Ok(Commit::ready(Ok(())))
    }
    pub fn delete_offsets(&self, _: &GroupName, _: &[PartitionId]) -> Result<Commit> {
        Ok(Commit::ready(Ok(())))
    }
    pub fn seek(&self, _: &GroupName, _: &[(PartitionId, u64)]) -> Result<Commit> {
        Ok(Commit::ready(Ok(())))
    }
    pub fn settle(&self, _: &GroupName, _: Vec<Settlement>) -> Result<(Vec<Result<()>>, Commit)> {
        Ok((vec![], Commit::ready(Ok(()))))
    }
    pub fn release_consumer(&self, _: &GroupName, _: ConsumerId) -> Result<()> {
        Ok(())
    }
    pub fn lag(&self, _: &GroupName) -> Result<Vec<PartitionLag>> {
        Ok(vec![])
    }
    pub fn expire_leases(&self) {}
    pub fn append_atomic(
        &self,
        atomic: Atomic,
        budget: Option<tokio::sync::OwnedSemaphorePermit>,
    ) -> Result<(Vec<Appended>, Commit)> {
        let mut inner = self.lock();
        let mut entries = vec![];
        let r = self.append_all(&mut inner, atomic.writes, &mut entries)?;
        Ok((r, self.queue(&mut inner, entries, Durability::Fsync, budget)))
    }
}
