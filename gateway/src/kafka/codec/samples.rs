//! Requests of every API and version, for tests.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use uuid::Uuid;

use super::flexible_from;
use crate::kafka::api;

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

fn topic() -> TopicName {
    TopicName(text("orders"))
}

fn group() -> GroupId {
    GroupId(text("billing"))
}

/// A request's frame, without the length.
fn frame(api: ApiKey, version: i16, request: &impl Encodable) -> Option<Bytes> {
    let mut out = BytesMut::new();
    out.put_i16(api as i16);
    out.put_i16(version);
    out.put_i32(7);
    out.put_i16(6);
    out.put_slice(b"client");
    if version >= flexible_from(api) {
        out.put_u8(0);
    }
    request.encode(&mut out, version).ok()?;
    Some(out.freeze())
}

/// Every version of every API served, with every array filled: key, version, frame.
pub(in crate::kafka) fn requests() -> Vec<(ApiKey, i16, Bytes)> {
    let versions =
        api::TABLE.iter().flat_map(|api| (api.versions.min..=api.versions.max).map(|version| (api.key, version)));
    let served = versions.filter(|(api, version)| api::check(*api, *version).is_ok());
    served.map(|(api, version)| (api, version, sample(api, version).unwrap_or_default())).collect()
}

#[allow(clippy::too_many_lines)] // One arm for each API: a table.
fn sample(api: ApiKey, v: i16) -> Option<Bytes> {
    let id = Uuid::from_u128(if matches!(api, ApiKey::Metadata) { 0 } else { 5 });
    match api {
        ApiKey::Produce => {
            let data =
                produce_request::PartitionProduceData::default().with_records(Some(Bytes::from_static(b"records")));
            let topics = produce_request::TopicProduceData::default().with_partition_data(vec![data; 2]);
            let topics = if v >= 13 { topics.with_topic_id(id) } else { topics.with_name(topic()) };
            frame(api, v, &ProduceRequest::default().with_acks(-1).with_topic_data(vec![topics; 2]))
        }
        ApiKey::Fetch => {
            let partition = fetch_request::FetchPartition::default().with_partition_max_bytes(1 << 20);
            let wanted = fetch_request::FetchTopic::default().with_partitions(vec![partition; 2]);
            let wanted = if v >= 13 { wanted.with_topic_id(id) } else { wanted.with_topic(topic()) };
            let forgotten = fetch_request::ForgottenTopic::default().with_partitions(vec![1, 2]);
            let forgotten = if v >= 13 { forgotten.with_topic_id(id) } else { forgotten.with_topic(topic()) };
            let request = FetchRequest::default().with_max_bytes(1 << 20).with_topics(vec![wanted; 2]);
            frame(api, v, &if v >= 7 { request.with_forgotten_topics_data(vec![forgotten]) } else { request })
        }
        ApiKey::ListOffsets => {
            let partition = list_offsets_request::ListOffsetsPartition::default().with_timestamp(-1);
            let topics =
                list_offsets_request::ListOffsetsTopic::default().with_name(topic()).with_partitions(vec![partition]);
            frame(api, v, &ListOffsetsRequest::default().with_topics(vec![topics; 2]))
        }
        ApiKey::Metadata => {
            let wanted = metadata_request::MetadataRequestTopic::default().with_name(Some(topic())).with_topic_id(id);
            frame(
                api,
                v,
                &MetadataRequest::default().with_topics(Some(vec![wanted; 2])).with_allow_auto_topic_creation(true),
            )
        }
        ApiKey::OffsetCommit => {
            let partition = offset_commit_request::OffsetCommitRequestPartition::default()
                .with_committed_metadata(Some(text("note")));
            let topics = offset_commit_request::OffsetCommitRequestTopic::default()
                .with_name(topic())
                .with_partitions(vec![partition; 2]);
            frame(api, v, &OffsetCommitRequest::default().with_group_id(group()).with_topics(vec![topics]))
        }
        ApiKey::OffsetFetch if v < 8 => {
            let topics = offset_fetch_request::OffsetFetchRequestTopic::default()
                .with_name(topic())
                .with_partition_indexes(vec![0, 1]);
            frame(api, v, &OffsetFetchRequest::default().with_group_id(group()).with_topics(Some(vec![topics])))
        }
        ApiKey::OffsetFetch => {
            let topics = offset_fetch_request::OffsetFetchRequestTopics::default()
                .with_name(topic())
                .with_partition_indexes(vec![0, 1]);
            let groups = offset_fetch_request::OffsetFetchRequestGroup::default()
                .with_group_id(group())
                .with_topics(Some(vec![topics]));
            frame(api, v, &OffsetFetchRequest::default().with_groups(vec![groups; 2]))
        }
        ApiKey::FindCoordinator if v < 4 => frame(api, v, &FindCoordinatorRequest::default().with_key(text("billing"))),
        ApiKey::FindCoordinator => {
            frame(api, v, &FindCoordinatorRequest::default().with_coordinator_keys(vec![text("a"), text("b")]))
        }
        ApiKey::JoinGroup => {
            let protocol = join_group_request::JoinGroupRequestProtocol::default()
                .with_name(text("range"))
                .with_metadata(Bytes::from_static(b"\0\0\0\0\0\0\0\0\0\0"));
            let request = JoinGroupRequest::default()
                .with_group_id(group())
                .with_session_timeout_ms(10_000)
                .with_protocol_type(text("consumer"))
                .with_protocols(vec![protocol; 2]);
            frame(api, v, &request)
        }
        ApiKey::Heartbeat => frame(api, v, &HeartbeatRequest::default().with_group_id(group())),
        ApiKey::LeaveGroup if v < 3 => frame(api, v, &LeaveGroupRequest::default().with_group_id(group())),
        ApiKey::LeaveGroup => {
            let member = leave_group_request::MemberIdentity::default().with_member_id(text("me"));
            frame(api, v, &LeaveGroupRequest::default().with_group_id(group()).with_members(vec![member; 2]))
        }
        ApiKey::SyncGroup => {
            let share = sync_group_request::SyncGroupRequestAssignment::default()
                .with_member_id(text("me"))
                .with_assignment(Bytes::from_static(b"share"));
            frame(api, v, &SyncGroupRequest::default().with_group_id(group()).with_assignments(vec![share; 2]))
        }
        ApiKey::DescribeGroups => frame(api, v, &DescribeGroupsRequest::default().with_groups(vec![group(); 2])),
        ApiKey::ListGroups if v < 4 => frame(api, v, &ListGroupsRequest::default()),
        ApiKey::ListGroups => frame(api, v, &ListGroupsRequest::default().with_states_filter(vec![text("Stable")])),
        ApiKey::ApiVersions => {
            let request = ApiVersionsRequest::default()
                .with_client_software_name(text("client"))
                .with_client_software_version(text("1"));
            frame(api, v, &request)
        }
        ApiKey::CreateTopics => {
            let replicas =
                create_topics_request::CreatableReplicaAssignment::default().with_broker_ids(vec![BrokerId(0)]);
            let config = create_topics_request::CreatableTopicConfig::default()
                .with_name(text("retention.ms"))
                .with_value(Some(text("1000")));
            let topics = create_topics_request::CreatableTopic::default()
                .with_name(topic())
                .with_num_partitions(-1)
                .with_replication_factor(-1)
                .with_assignments(vec![replicas])
                .with_configs(vec![config]);
            frame(api, v, &CreateTopicsRequest::default().with_topics(vec![topics]))
        }
        ApiKey::DeleteTopics if v < 6 => {
            frame(api, v, &DeleteTopicsRequest::default().with_topic_names(vec![topic(); 2]))
        }
        ApiKey::DeleteTopics => {
            let state = delete_topics_request::DeleteTopicState::default().with_name(Some(topic()));
            frame(api, v, &DeleteTopicsRequest::default().with_topics(vec![state; 2]))
        }
        ApiKey::DeleteRecords => {
            let partition = delete_records_request::DeleteRecordsPartition::default();
            let topics = delete_records_request::DeleteRecordsTopic::default()
                .with_name(topic())
                .with_partitions(vec![partition]);
            frame(api, v, &DeleteRecordsRequest::default().with_topics(vec![topics]))
        }
        ApiKey::InitProducerId => frame(api, v, &InitProducerIdRequest::default()),
        ApiKey::OffsetForLeaderEpoch => {
            let partition = offset_for_leader_epoch_request::OffsetForLeaderPartition::default();
            let topics = offset_for_leader_epoch_request::OffsetForLeaderTopic::default()
                .with_topic(topic())
                .with_partitions(vec![partition; 2]);
            frame(api, v, &OffsetForLeaderEpochRequest::default().with_topics(vec![topics]))
        }
        ApiKey::DescribeConfigs => {
            let resource = describe_configs_request::DescribeConfigsResource::default()
                .with_resource_type(2)
                .with_resource_name(text("orders"))
                .with_configuration_keys(Some(vec![text("retention.ms")]));
            let request =
                DescribeConfigsRequest::default().with_resources(vec![resource; 2]).with_include_synonyms(true);
            frame(api, v, &request)
        }
        ApiKey::AlterConfigs => {
            let config = alter_configs_request::AlterableConfig::default().with_name(text("retention.ms"));
            let resource = alter_configs_request::AlterConfigsResource::default()
                .with_resource_type(2)
                .with_resource_name(text("orders"))
                .with_configs(vec![config]);
            frame(api, v, &AlterConfigsRequest::default().with_resources(vec![resource]))
        }
        ApiKey::DescribeLogDirs => {
            let topics = describe_log_dirs_request::DescribableLogDirTopic::default()
                .with_topic(topic())
                .with_partitions(vec![0, 7]);
            frame(api, v, &DescribeLogDirsRequest::default().with_topics(Some(vec![topics; 2])))
        }
        ApiKey::CreatePartitions => {
            let brokers =
                create_partitions_request::CreatePartitionsAssignment::default().with_broker_ids(vec![BrokerId(0)]);
            let topics = create_partitions_request::CreatePartitionsTopic::default()
                .with_name(topic())
                .with_count(2)
                .with_assignments(Some(vec![brokers]));
            frame(api, v, &CreatePartitionsRequest::default().with_topics(vec![topics]))
        }
        ApiKey::DeleteGroups => frame(api, v, &DeleteGroupsRequest::default().with_groups_names(vec![group()])),
        ApiKey::ElectLeaders => {
            let topics =
                elect_leaders_request::TopicPartitions::default().with_topic(topic()).with_partitions(vec![0, 7]);
            frame(api, v, &ElectLeadersRequest::default().with_topic_partitions(Some(vec![topics; 2])))
        }
        ApiKey::ListPartitionReassignments => {
            let topics = list_partition_reassignments_request::ListPartitionReassignmentsTopics::default()
                .with_name(topic())
                .with_partition_indexes(vec![0, 7]);
            frame(api, v, &ListPartitionReassignmentsRequest::default().with_topics(Some(vec![topics; 2])))
        }
        ApiKey::IncrementalAlterConfigs => {
            let config = incremental_alter_configs_request::AlterableConfig::default().with_name(text("retention.ms"));
            let resource = incremental_alter_configs_request::AlterConfigsResource::default()
                .with_resource_type(2)
                .with_resource_name(text("orders"))
                .with_configs(vec![config]);
            frame(api, v, &IncrementalAlterConfigsRequest::default().with_resources(vec![resource]))
        }
        ApiKey::OffsetDelete => {
            let partition = offset_delete_request::OffsetDeleteRequestPartition::default();
            let topics = offset_delete_request::OffsetDeleteRequestTopic::default()
                .with_name(topic())
                .with_partitions(vec![partition]);
            frame(api, v, &OffsetDeleteRequest::default().with_group_id(group()).with_topics(vec![topics]))
        }
        ApiKey::DescribeCluster => frame(api, v, &DescribeClusterRequest::default()),
        ApiKey::ListConfigResources => {
            let request = ListConfigResourcesRequest::default();
            frame(api, v, &if v >= 1 { request.with_resource_types(vec![2, 4]) } else { request })
        }
        ApiKey::DescribeTopicPartitions => {
            let wanted = describe_topic_partitions_request::TopicRequest::default().with_name(topic());
            let cursor = describe_topic_partitions_request::Cursor::default().with_topic_name(topic());
            let request = DescribeTopicPartitionsRequest::default()
                .with_topics(vec![wanted])
                .with_response_partition_limit(10)
                .with_cursor(Some(cursor));
            frame(api, v, &request)
        }
        _ => None,
    }
}

/// Decodes a body; how many bytes are left over, if it decodes.
pub(in crate::kafka) fn decode(api: ApiKey, version: i16, body: &mut Bytes) -> Option<usize> {
    macro_rules! by_key {
        ($($key:ident $request:ident),* $(,)?) => {
            match api {
                $(ApiKey::$key => $request::decode(body, version).map(drop),)*
                _ => return None,
            }
        };
    }
    let decoded = by_key!(
        Produce ProduceRequest, Fetch FetchRequest, ListOffsets ListOffsetsRequest, Metadata MetadataRequest,
        OffsetCommit OffsetCommitRequest, OffsetFetch OffsetFetchRequest, FindCoordinator FindCoordinatorRequest,
        JoinGroup JoinGroupRequest, Heartbeat HeartbeatRequest, LeaveGroup LeaveGroupRequest, SyncGroup SyncGroupRequest,
        DescribeGroups DescribeGroupsRequest, ListGroups ListGroupsRequest, ApiVersions ApiVersionsRequest,
        CreateTopics CreateTopicsRequest, DeleteTopics DeleteTopicsRequest, DeleteRecords DeleteRecordsRequest,
        InitProducerId InitProducerIdRequest, OffsetForLeaderEpoch OffsetForLeaderEpochRequest,
        DescribeConfigs DescribeConfigsRequest, AlterConfigs AlterConfigsRequest, CreatePartitions CreatePartitionsRequest,
        DeleteGroups DeleteGroupsRequest, IncrementalAlterConfigs IncrementalAlterConfigsRequest,
        DescribeLogDirs DescribeLogDirsRequest, ElectLeaders ElectLeadersRequest,
        ListPartitionReassignments ListPartitionReassignmentsRequest, OffsetDelete OffsetDeleteRequest, DescribeCluster DescribeClusterRequest,
        ListConfigResources ListConfigResourcesRequest, DescribeTopicPartitions DescribeTopicPartitionsRequest,
    );
    decoded.ok().map(|()| body.len())
}
