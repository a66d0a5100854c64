//! The shape of every request served, and the check that comes before decoding it.
//!
//! A decoder that trusts a count allocates for it. Walking the shape first costs tens of nanoseconds and makes sure that
//! every count and length is covered by bytes that are there, and that all arrays together stay under a limit.
//! Field types and versions are those of Kafka's message definitions; tagged fields (KIP-482) are skipped by their size.

use kafka_protocol::messages::ApiKey;

use super::Malformed;
use Kind::{Array, Bytes, List, Optional, String};

/// What a field looks like on the wire.
enum Kind {
    Fixed(usize),
    /// Nullable or not: a null is a length, too.
    String,
    Bytes,
    /// An array of plain values.
    List(&'static Kind),
    /// An array of structs.
    Array(&'static [Field]),
    /// A struct after a presence byte.
    Optional(&'static [Field]),
}

/// A field and the versions that have it.
struct Field {
    first: i16,
    last: i16,
    kind: Kind,
}

struct Shape {
    flexible: i16,
    fields: &'static [Field],
}

const fn all(kind: Kind) -> Field {
    at(0, i16::MAX, kind)
}

const fn from(first: i16, kind: Kind) -> Field {
    at(first, i16::MAX, kind)
}

const fn at(first: i16, last: i16, kind: Kind) -> Field {
    Field { first, last, kind }
}

const NEVER: i16 = i16::MAX;
const INT8: Kind = Kind::Fixed(1);
const INT16: Kind = Kind::Fixed(2);
const INT32: Kind = Kind::Fixed(4);
const INT64: Kind = Kind::Fixed(8);
const UUID: Kind = Kind::Fixed(16);

const PRODUCE: Shape = Shape {
    flexible: 9,
    fields: &[
        all(String),
        all(INT16),
        all(INT32),
        all(Array(&[at(0, 12, String), from(13, UUID), all(Array(&[all(INT32), all(Bytes)]))])),
    ],
};
const FETCH: Shape = Shape {
    flexible: 12,
    fields: &[
        at(0, 14, INT32),
        all(INT32),
        all(INT32),
        all(INT32),
        all(INT8),
        from(7, INT32),
        from(7, INT32),
        all(Array(&[
            at(0, 12, String),
            from(13, UUID),
            all(Array(&[all(INT32), from(9, INT32), all(INT64), from(12, INT32), from(5, INT64), all(INT32)])),
        ])),
        from(7, Array(&[at(7, 12, String), from(13, UUID), from(7, List(&INT32))])),
        from(11, String),
    ],
};
const LIST_OFFSETS: Shape = Shape {
    flexible: 6,
    fields: &[
        all(INT32),
        from(2, INT8),
        all(Array(&[all(String), all(Array(&[all(INT32), from(4, INT32), all(INT64)]))])),
        from(10, INT32),
    ],
};
const METADATA: Shape = Shape {
    flexible: 9,
    fields: &[all(Array(&[from(10, UUID), all(String)])), from(4, INT8), at(8, 10, INT8), from(8, INT8)],
};
const OFFSET_COMMIT: Shape = Shape {
    flexible: 8,
    fields: &[
        all(String),
        all(INT32),
        all(String),
        from(7, String),
        at(2, 4, INT64),
        all(Array(&[
            at(0, 9, String),
            from(10, UUID),
            all(Array(&[all(INT32), all(INT64), from(6, INT32), all(String)])),
        ])),
    ],
};
const OFFSET_FETCH: Shape = Shape {
    flexible: 6,
    fields: &[
        at(0, 7, String),
        at(0, 7, Array(&[at(0, 7, String), at(0, 7, List(&INT32))])),
        from(
            8,
            Array(&[
                from(8, String),
                from(9, String),
                from(9, INT32),
                from(8, Array(&[at(8, 9, String), from(10, UUID), from(8, List(&INT32))])),
            ]),
        ),
        from(7, INT8),
    ],
};
const FIND_COORDINATOR: Shape =
    Shape { flexible: 3, fields: &[at(0, 3, String), from(1, INT8), from(4, List(&String))] };
const JOIN_GROUP: Shape = Shape {
    flexible: 6,
    fields: &[
        all(String),
        all(INT32),
        from(1, INT32),
        all(String),
        from(5, String),
        all(String),
        all(Array(&[all(String), all(Bytes)])),
        from(8, String),
    ],
};
const HEARTBEAT: Shape = Shape { flexible: 4, fields: &[all(String), all(INT32), all(String), from(3, String)] };
const LEAVE_GROUP: Shape = Shape {
    flexible: 4,
    fields: &[all(String), at(0, 2, String), from(3, Array(&[from(3, String), from(3, String), from(5, String)]))],
};
const SYNC_GROUP: Shape = Shape {
    flexible: 4,
    fields: &[
        all(String),
        all(INT32),
        all(String),
        from(3, String),
        from(5, String),
        from(5, String),
        all(Array(&[all(String), all(Bytes)])),
    ],
};
const DESCRIBE_GROUPS: Shape = Shape { flexible: 5, fields: &[all(List(&String)), from(3, INT8)] };
const LIST_GROUPS: Shape = Shape { flexible: 3, fields: &[from(4, List(&String)), from(5, List(&String))] };
const API_VERSIONS: Shape = Shape { flexible: 3, fields: &[from(3, String), from(3, String)] };
const CREATE_TOPICS: Shape = Shape {
    flexible: 5,
    fields: &[
        all(Array(&[
            all(String),
            all(INT32),
            all(INT16),
            all(Array(&[all(INT32), all(List(&INT32))])),
            all(Array(&[all(String), all(String)])),
        ])),
        all(INT32),
        all(INT8),
    ],
};
const DELETE_TOPICS: Shape = Shape {
    flexible: 4,
    fields: &[from(6, Array(&[from(6, String), from(6, UUID)])), at(0, 5, List(&String)), all(INT32)],
};
const DELETE_RECORDS: Shape =
    Shape { flexible: 2, fields: &[all(Array(&[all(String), all(Array(&[all(INT32), all(INT64)]))])), all(INT32)] };
const INIT_PRODUCER_ID: Shape = Shape {
    flexible: 2,
    fields: &[all(String), all(INT32), from(3, INT64), from(3, INT16), from(6, INT8), from(6, INT8)],
};
const OFFSET_FOR_LEADER_EPOCH: Shape = Shape {
    flexible: 4,
    fields: &[from(3, INT32), all(Array(&[all(String), all(Array(&[all(INT32), all(INT32), all(INT32)]))]))],
};
const DESCRIBE_CONFIGS: Shape = Shape {
    flexible: 4,
    fields: &[all(Array(&[all(INT8), all(String), all(List(&String))])), all(INT8), from(3, INT8)],
};
const ALTER_CONFIGS: Shape = Shape {
    flexible: 2,
    fields: &[all(Array(&[all(INT8), all(String), all(Array(&[all(String), all(String)]))])), all(INT8)],
};
const DESCRIBE_LOG_DIRS: Shape = Shape { flexible: 2, fields: &[all(Array(&[all(String), all(List(&INT32))]))] };
const CREATE_PARTITIONS: Shape = Shape {
    flexible: 2,
    fields: &[all(Array(&[all(String), all(INT32), all(Array(&[all(List(&INT32))]))])), all(INT32), all(INT8)],
};
const DELETE_GROUPS: Shape = Shape { flexible: 2, fields: &[all(List(&String))] };
const ELECT_LEADERS: Shape =
    Shape { flexible: 2, fields: &[from(1, INT8), all(Array(&[all(String), all(List(&INT32))])), all(INT32)] };
const INCREMENTAL_ALTER_CONFIGS: Shape = Shape {
    flexible: 1,
    fields: &[all(Array(&[all(INT8), all(String), all(Array(&[all(String), all(INT8), all(String)]))])), all(INT8)],
};
const LIST_PARTITION_REASSIGNMENTS: Shape =
    Shape { flexible: 0, fields: &[all(INT32), all(Array(&[all(String), all(List(&INT32))]))] };
const OFFSET_DELETE: Shape =
    Shape { flexible: NEVER, fields: &[all(String), all(Array(&[all(String), all(Array(&[all(INT32)]))]))] };
const DESCRIBE_CLUSTER: Shape = Shape { flexible: 0, fields: &[all(INT8), from(1, INT8), from(2, INT8)] };
const LIST_CONFIG_RESOURCES: Shape = Shape { flexible: 0, fields: &[from(1, List(&INT8))] };
const DESCRIBE_TOPIC_PARTITIONS: Shape =
    Shape { flexible: 0, fields: &[all(Array(&[all(String)])), all(INT32), all(Optional(&[all(String), all(INT32)]))] };

fn shape(api: ApiKey) -> Option<&'static Shape> {
    Some(match api {
        ApiKey::Produce => &PRODUCE,
        ApiKey::Fetch => &FETCH,
        ApiKey::ListOffsets => &LIST_OFFSETS,
        ApiKey::Metadata => &METADATA,
        ApiKey::OffsetCommit => &OFFSET_COMMIT,
        ApiKey::OffsetFetch => &OFFSET_FETCH,
        ApiKey::FindCoordinator => &FIND_COORDINATOR,
        ApiKey::JoinGroup => &JOIN_GROUP,
        ApiKey::Heartbeat => &HEARTBEAT,
        ApiKey::LeaveGroup => &LEAVE_GROUP,
        ApiKey::SyncGroup => &SYNC_GROUP,
        ApiKey::DescribeGroups => &DESCRIBE_GROUPS,
        ApiKey::ListGroups => &LIST_GROUPS,
        ApiKey::ApiVersions => &API_VERSIONS,
        ApiKey::CreateTopics => &CREATE_TOPICS,
        ApiKey::DeleteTopics => &DELETE_TOPICS,
        ApiKey::DeleteRecords => &DELETE_RECORDS,
        ApiKey::InitProducerId => &INIT_PRODUCER_ID,
        ApiKey::OffsetForLeaderEpoch => &OFFSET_FOR_LEADER_EPOCH,
        ApiKey::DescribeConfigs => &DESCRIBE_CONFIGS,
        ApiKey::AlterConfigs => &ALTER_CONFIGS,
        ApiKey::DescribeLogDirs => &DESCRIBE_LOG_DIRS,
        ApiKey::CreatePartitions => &CREATE_PARTITIONS,
        ApiKey::DeleteGroups => &DELETE_GROUPS,
        ApiKey::ElectLeaders => &ELECT_LEADERS,
        ApiKey::ListPartitionReassignments => &LIST_PARTITION_REASSIGNMENTS,
        ApiKey::IncrementalAlterConfigs => &INCREMENTAL_ALTER_CONFIGS,
        ApiKey::OffsetDelete => &OFFSET_DELETE,
        ApiKey::DescribeCluster => &DESCRIBE_CLUSTER,
        ApiKey::ListConfigResources => &LIST_CONFIG_RESOURCES,
        ApiKey::DescribeTopicPartitions => &DESCRIBE_TOPIC_PARTITIONS,
        _ => return None,
    })
}

/// The first version of an API that has compact lengths and tagged fields.
pub(in crate::kafka) fn flexible_from(api: ApiKey) -> i16 {
    shape(api).map_or(NEVER, |shape| shape.flexible)
}

/// Checks a request's body: nothing in it promises more than the body holds, or more than `max_elements` array elements.
pub(in crate::kafka) fn check(api: ApiKey, version: i16, body: &[u8], max_elements: usize) -> Result<(), Malformed> {
    let shape = shape(api).ok_or(Malformed::UnknownKey(api as i16))?;
    let mut cursor = Cursor::new(body, max_elements);
    cursor.fields(shape.fields, version, version >= shape.flexible)
}

/// Walks a body.
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
    elements_left: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8], max_elements: usize) -> Self {
        Self { rest: bytes, elements_left: max_elements }
    }

    pub(super) fn remaining(&self) -> usize {
        self.rest.len()
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn int16(&mut self) -> Result<i16, Malformed> {
        self.take(2).map(|b| i16::from_be_bytes([b[0], b[1]]))
    }

    fn int32(&mut self) -> Result<i32, Malformed> {
        self.take(4).map(|b| i32::from_be_bytes([b[0], b[1], b[2], b[3]]))
    }

    /// An unsigned varint of at most 32 bits.
    fn varint(&mut self) -> Result<u32, Malformed> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let byte = u32::from(self.take(1)?[0]);
            if shift == 28 && byte > 0x0f {
                return Err(Malformed::Length);
            }
            value |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed::Length)
    }

    /// A length or count; a null is none.
    fn length(&mut self, flexible: bool, short: bool) -> Result<Option<usize>, Malformed> {
        let length = if flexible {
            i64::from(self.varint()?) - 1
        } else if short {
            i64::from(self.int16()?)
        } else {
            i64::from(self.int32()?)
        };
        match length {
            -1 => Ok(None),
            length => usize::try_from(length).map(Some).map_err(|_| Malformed::Length),
        }
    }

    pub(super) fn nullable_string(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        self.length(false, true)?.map(|length| self.take(length)).transpose()
    }

    fn skip(&mut self, length: Option<usize>) -> Result<(), Malformed> {
        self.take(length.unwrap_or(0)).map(drop)
    }

    /// A count of elements that each take a byte at the least.
    fn count(&mut self, flexible: bool) -> Result<usize, Malformed> {
        let count = self.length(flexible, false)?.unwrap_or(0);
        self.spend(count)?;
        Ok(count)
    }

    fn spend(&mut self, elements: usize) -> Result<(), Malformed> {
        if elements > self.rest.len() {
            return Err(Malformed::Truncated);
        }
        self.elements_left = self.elements_left.checked_sub(elements).ok_or(Malformed::Elements)?;
        Ok(())
    }

    /// A tagged fields section.
    pub(super) fn tags(&mut self) -> Result<(), Malformed> {
        let count = self.varint()? as usize;
        self.spend(count)?;
        for _ in 0..count {
            self.varint()?;
            let size = self.varint()? as usize;
            self.take(size)?;
        }
        Ok(())
    }

    fn fields(&mut self, fields: &[Field], version: i16, flexible: bool) -> Result<(), Malformed> {
        for field in fields {
            if (field.first..=field.last).contains(&version) {
                self.value(&field.kind, version, flexible)?;
            }
        }
        if flexible { self.tags() } else { Ok(()) }
    }

    fn value(&mut self, kind: &Kind, version: i16, flexible: bool) -> Result<(), Malformed> {
        match kind {
            Kind::Fixed(size) => self.take(*size).map(drop),
            Kind::String => {
                let length = self.length(flexible, true)?;
                self.skip(length)
            }
            Kind::Bytes => {
                let length = self.length(flexible, false)?;
                self.skip(length)
            }
            Kind::List(kind) => {
                for _ in 0..self.count(flexible)? {
                    self.value(kind, version, flexible)?;
                }
                Ok(())
            }
            Kind::Array(fields) => {
                for _ in 0..self.count(flexible)? {
                    self.fields(fields, version, flexible)?;
                }
                Ok(())
            }
            Kind::Optional(fields) => match self.take(1)?[0].cast_signed() {
                -1 => Ok(()),
                _ => self.fields(fields, version, flexible),
            },
        }
    }
}
