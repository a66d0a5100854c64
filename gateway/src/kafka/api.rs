//! The one table: API key → versions → handler. ApiVersions is made from it.

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::Decodable;

use super::codec::{self, Frame, Malformed};
use super::context::Context;

/// One API served.
#[derive(Debug, Clone, Copy)]
pub(super) struct Api {
    pub(super) key: ApiKey,
    /// The versions told to clients.
    pub(super) versions: Versions,
}

/// A range of versions, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Versions {
    pub(super) min: i16,
    pub(super) max: i16,
}

pub(super) const fn versions(min: i16, max: i16) -> Versions {
    Versions { min, max }
}

macro_rules! apis {
    (pipelined $first:ident => $pipelined:ident, $($api:ident => $module:ident),* $(,)?) => {
        /// Every API served, by key.
        pub(super) const TABLE: &[Api] = &[
            Api { key: ApiKey::$first, versions: super::$pipelined::VERSIONS },
            $(Api { key: ApiKey::$api, versions: super::$module::VERSIONS }),*
        ];

        /// Handles one request to its response, `None` when that cannot be encoded.
        /// Produce does not come this way: see [`super::api_00_produce::start`].
        pub(super) async fn handle(context: &Context<'_>, mut body: Bytes) -> Result<Option<Frame>, Malformed> {
            let (api, version) = (context.header.api, context.header.version);
            match api {
                $(ApiKey::$api => {
                    let request = Decodable::decode(&mut body, version).map_err(|_| Malformed::Undecodable)?;
                    // Boxed, so that a quiet connection is not as large as its largest handler.
                    let response = Box::pin(super::$module::handle(context, request)).await;
                    Ok(response.into_frame(context))
                })*
                _ => Err(Malformed::UnknownKey(api as i16)),
            }
        }
    };
}

apis! {
    pipelined Produce => api_00_produce,
    Fetch => api_01_fetch,
    ListOffsets => api_02_list_offsets,
    Metadata => api_03_metadata,
    OffsetCommit => api_08_offset_commit,
    OffsetFetch => api_09_offset_fetch,
    FindCoordinator => api_10_find_coordinator,
    JoinGroup => api_11_join_group,
    Heartbeat => api_12_heartbeat,
    LeaveGroup => api_13_leave_group,
    SyncGroup => api_14_sync_group,
    DescribeGroups => api_15_describe_groups,
    ListGroups => api_16_list_groups,
    ApiVersions => api_18_api_versions,
    CreateTopics => api_19_create_topics,
    DeleteTopics => api_20_delete_topics,
    DeleteRecords => api_21_delete_records,
    InitProducerId => api_22_init_producer_id,
    OffsetForLeaderEpoch => api_23_offset_for_leader_epoch,
    DescribeConfigs => api_32_describe_configs,
    AlterConfigs => api_33_alter_configs,
    DescribeLogDirs => api_35_describe_log_dirs,
    CreatePartitions => api_37_create_partitions,
    DeleteGroups => api_42_delete_groups,
    ElectLeaders => api_43_elect_leaders,
    IncrementalAlterConfigs => api_44_incremental_alter_configs,
    ListPartitionReassignments => api_46_list_partition_reassignments,
    OffsetDelete => api_47_offset_delete,
    DescribeCluster => api_60_describe_cluster,
    ListConfigResources => api_74_list_config_resources,
    DescribeTopicPartitions => api_75_describe_topic_partitions,
}

/// Whether a request of this key and version can be handled.
pub(super) fn check(api: ApiKey, version: i16) -> Result<(), Malformed> {
    let served = TABLE.iter().find(|served| served.key == api).ok_or(Malformed::UnknownKey(api as i16))?;
    let versions = if api == ApiKey::Produce { super::api_00_produce::DECODED } else { served.versions };
    if (versions.min..=versions.max).contains(&version) {
        Ok(())
    } else {
        Err(Malformed::UnknownVersion(api as i16, version))
    }
}

/// What a handler returns.
pub(super) trait Response {
    /// The response as it goes to the client; `None` when it cannot be encoded.
    fn into_frame(self, context: &Context<'_>) -> Option<Frame>;
}

impl<R: kafka_protocol::protocol::Encodable> Response for R {
    fn into_frame(self, context: &Context<'_>) -> Option<Frame> {
        codec::encode(context.header.api, context.header.version, context.header.correlation, &self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_lists_every_api_with_its_versions() {
        let page = include_str!("../../../docs/kafka.md");
        let listed: Vec<_> = page
            .lines()
            .filter_map(|line| line.strip_prefix("| ")?.split_once(" |"))
            .filter(|(key, _)| key.parse::<i16>().is_ok())
            .map(|(key, rest)| format!("{key} |{}", rest.split(" |").take(2).collect::<Vec<_>>().join(" |")))
            .collect();
        let row = |api: &Api| format!("{} | {:?} | {}-{}", api.key as i16, api.key, api.versions.min, api.versions.max);
        assert_eq!(listed, TABLE.iter().map(row).collect::<Vec<_>>());
    }
}
