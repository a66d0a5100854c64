//! stub
use super::*;
use crate::{Error, Result};
#[derive(Debug)]
pub(crate) struct Group {
    name: GroupName,
    config: GroupConfig,
}
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum GroupRecord {
    X,
}
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct GroupSnapshot {
    name: GroupName,
    config: GroupConfig,
}
impl Group {
    pub fn new(name: GroupName, config: GroupConfig) -> Self {
        Self { name, config }
    }
    pub fn name(&self) -> &GroupName {
        &self.name
    }
    pub fn config(&self) -> &GroupConfig {
        &self.config
    }
    pub fn set_config(&mut self, c: GroupConfig) {
        self.config = c
    }
    pub fn apply(&mut self, _: &GroupRecord) {}
    pub fn snapshot(&self) -> GroupSnapshot {
        GroupSnapshot { name: self.name.clone(), config: self.config.clone() }
    }
    pub fn restore(s: GroupSnapshot) -> Self {
        Self { name: s.name, config: s.config }
    }
    pub fn forget_partitions(&mut self, _: &[PartitionId]) {}
}
impl Group {
    pub fn has_progress(&self, _: PartitionId) -> bool {
        false
    }
    pub fn lowest_unacknowledged(&self, _: PartitionId) -> u64 {
        0
    }
    pub fn info(&self) -> GroupInfo {
        GroupInfo { name: self.name.clone(), config: self.config.clone(), in_flight: 0, delayed: 0 }
    }
    pub fn committed(&self) -> Vec<Committed> {
        vec![]
    }
}
