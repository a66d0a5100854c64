//! The Fetch response, versions 4 to 18, around record bytes that are not copied.
//!
//! The message struct wants the records of a partition as one piece; a read gives many. So this response is written by hand,
//! and compared with the struct's own encoding, for every version, in the tests below.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::frame::{self, Frame};

/// A Fetch response. The topic is named in versions up to 12 and identified from 13 on.
#[derive(Debug, Clone, Default)]
pub(in crate::kafka) struct FetchResponse {
    pub(in crate::kafka) error_code: i16,
    pub(in crate::kafka) topics: Vec<FetchedTopic>,
}

#[derive(Debug, Clone)]
pub(in crate::kafka) struct FetchedTopic {
    pub(in crate::kafka) name: StrBytes,
    pub(in crate::kafka) id: Uuid,
    pub(in crate::kafka) partitions: Vec<FetchedPartition>,
}

/// One partition's answer. There are no open transactions, so the last stable offset is the high watermark.
#[derive(Debug, Clone)]
pub(in crate::kafka) struct FetchedPartition {
    pub(in crate::kafka) index: i32,
    pub(in crate::kafka) error_code: i16,
    pub(in crate::kafka) high_watermark: i64,
    pub(in crate::kafka) log_start: i64,
    pub(in crate::kafka) records: Vec<Bytes>,
}

impl FetchedPartition {
    /// Bytes of records.
    pub(in crate::kafka) fn size(&self) -> usize {
        self.records.iter().map(Bytes::len).sum()
    }
}

impl FetchResponse {
    /// Encodes it. `None` when it is over what a frame can carry.
    pub(in crate::kafka) fn encode(self, version: i16, correlation: i32) -> Option<Frame> {
        let mut writer = Writer { out: BytesMut::with_capacity(256), cuts: Vec::new(), compact: version >= 12 };
        frame::begin(&mut writer.out, ApiKey::Fetch, version, correlation);
        writer.response(self, version)?;
        writer.finish()
    }
}

/// Everything but the records in one buffer, and where the records go.
struct Writer {
    out: BytesMut,
    cuts: Vec<(usize, Vec<Bytes>)>,
    compact: bool,
}

impl Writer {
    fn response(&mut self, response: FetchResponse, version: i16) -> Option<()> {
        self.out.put_i32(0); // throttle time
        if version >= 7 {
            self.out.put_i16(response.error_code);
            self.out.put_i32(0); // session id: no session
        }
        self.length(response.topics.len())?;
        for topic in response.topics {
            self.topic(topic, version)?;
        }
        self.no_tags();
        Some(())
    }

    fn topic(&mut self, topic: FetchedTopic, version: i16) -> Option<()> {
        if version >= 13 {
            self.out.put_slice(topic.id.as_bytes());
        } else if self.compact {
            self.length(topic.name.len())?;
            self.out.put_slice(topic.name.as_bytes());
        } else {
            self.out.put_i16(i16::try_from(topic.name.len()).ok()?);
            self.out.put_slice(topic.name.as_bytes());
        }
        self.length(topic.partitions.len())?;
        for partition in topic.partitions {
            self.partition(partition, version)?;
        }
        self.no_tags();
        Some(())
    }

    fn partition(&mut self, partition: FetchedPartition, version: i16) -> Option<()> {
        self.out.put_i32(partition.index);
        self.out.put_i16(partition.error_code);
        self.out.put_i64(partition.high_watermark);
        self.out.put_i64(partition.high_watermark);
        if version >= 5 {
            self.out.put_i64(partition.log_start);
        }
        self.length(0)?; // aborted transactions
        if version >= 11 {
            self.out.put_i32(-1); // preferred read replica
        }
        self.length(partition.size())?;
        if !partition.records.is_empty() {
            self.cuts.push((self.out.len(), partition.records));
        }
        self.no_tags();
        Some(())
    }

    fn length(&mut self, length: usize) -> Option<()> {
        let length = i32::try_from(length).ok()?;
        if self.compact {
            let mut rest = length.cast_unsigned() + 1;
            while rest >= 0x80 {
                self.out.put_u8((rest & 0x7f) as u8 | 0x80);
                rest >>= 7;
            }
            self.out.put_u8(rest as u8);
        } else {
            self.out.put_i32(length);
        }
        Some(())
    }

    fn no_tags(&mut self) {
        if self.compact {
            self.out.put_u8(0);
        }
    }

    fn finish(mut self) -> Option<Frame> {
        let records: usize = self.cuts.iter().flat_map(|(_, records)| records).map(Bytes::len).sum();
        let total = self.out.len() + records;
        frame::finish(&mut self.out, total)?;
        let mut out = self.out.freeze();
        let mut pieces = Vec::with_capacity(1 + self.cuts.iter().map(|(_, records)| records.len() + 1).sum::<usize>());
        let mut done = 0;
        for (position, records) in self.cuts {
            pieces.push(out.split_to(position - done));
            done = position;
            pieces.extend(records);
        }
        pieces.push(out);
        Some(Frame(pieces))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use kafka_protocol::messages::{TopicName, fetch_response as theirs};
    use proptest::prelude::*;

    fn as_struct(ours: &FetchResponse, version: i16) -> theirs::FetchResponse {
        let partition = |p: &FetchedPartition| {
            theirs::PartitionData::default()
                .with_partition_index(p.index)
                .with_error_code(p.error_code)
                .with_high_watermark(p.high_watermark)
                .with_last_stable_offset(p.high_watermark)
                .with_log_start_offset(if version >= 5 { p.log_start } else { -1 })
                .with_records(Some(p.records.concat().into()))
        };
        let topic = |t: &FetchedTopic| {
            let topic =
                theirs::FetchableTopicResponse::default().with_partitions(t.partitions.iter().map(partition).collect());
            if version >= 13 { topic.with_topic_id(t.id) } else { topic.with_topic(TopicName(t.name.clone())) }
        };
        theirs::FetchResponse::default()
            .with_error_code(if version >= 7 { ours.error_code } else { 0 })
            .with_responses(ours.topics.iter().map(topic).collect())
    }

    fn partitions() -> impl Strategy<Value = FetchedPartition> {
        let records = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..4);
        (any::<i32>(), any::<i16>(), any::<i64>(), any::<i64>(), records).prop_map(
            |(index, error_code, high_watermark, log_start, records)| FetchedPartition {
                index,
                error_code,
                high_watermark,
                log_start,
                records: records.into_iter().map(Bytes::from).collect(),
            },
        )
    }

    fn responses() -> impl Strategy<Value = FetchResponse> {
        let topic = ("[a-z]{1,200}", any::<u128>(), prop::collection::vec(partitions(), 0..4))
            .prop_map(|(name, id, partitions)| FetchedTopic { name: name.into(), id: Uuid::from_u128(id), partitions });
        (any::<i16>(), prop::collection::vec(topic, 0..4))
            .prop_map(|(error_code, topics)| FetchResponse { error_code, topics })
    }

    proptest! {
        #[test]
        fn encodes_as_the_struct_does(response in responses(), version in 4i16..=18, correlation: i32) {
            let theirs = frame::encode(ApiKey::Fetch, version, correlation, &as_struct(&response, version)).unwrap();
            let ours = response.encode(version, correlation).unwrap();
            prop_assert_eq!(ours.0.concat(), theirs.0.concat());
        }
    }
}
