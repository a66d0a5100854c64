#![allow(clippy::unwrap_used, clippy::expect_used)]

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::records::{
    Compression, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use proptest::prelude::*;

use super::*;

const LIMIT: usize = 1 << 20;
const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

fn record(key: &'static str, value: &'static str) -> Record {
    Record { timestamp_ms: 1_700_000_000_000, key: Some(key.into()), value: Some(value.into()), ..Record::default() }
}

fn three() -> Vec<Record> {
    let mut records = vec![record("a", "one"), record("b", "two"), record("a", "three")];
    records[1].timestamp_ms += 5;
    records[1].headers = Headers::from_iter([("retries", Some("3")), ("retries", None)]);
    records[2].value = None;
    numbered(records, 0)
}

fn numbered(mut records: Vec<Record>, base: u64) -> Vec<Record> {
    for (delta, record) in records.iter_mut().enumerate() {
        record.offset = base + delta as u64;
    }
    records
}

/// The batch with another payload under another codec, sealed again.
fn with_payload(batch: &Batch, codec: u16, payload: &[u8]) -> Batch {
    let mut bytes = batch.bytes[..HEADER_BYTES].to_vec();
    bytes.extend_from_slice(payload);
    (&mut bytes[header::ATTRIBUTES_AT..]).put_u16((batch.header.attributes & !7) | codec);
    reseal(bytes)
}

fn compressed(batch: &Batch, codec: Codec) -> Batch {
    with_payload(batch, codec as u16, &codec.compress(&batch.bytes[HEADER_BYTES..]).unwrap())
}

/// Sets length and checksum right and takes the batch in, as if it came from a producer.
fn reseal(mut bytes: Vec<u8>) -> Batch {
    let length = (bytes.len() - 12) as u32;
    (&mut bytes[8..]).put_u32(length);
    let crc = checksum(&bytes[header::CRC_FROM..]);
    (&mut bytes[header::CRC_AT..]).put_u32(crc);
    Batch::split_from(&mut bytes.into()).unwrap()
}

fn patched(batch: &Batch, at: usize, with: &[u8]) -> Result<Batch> {
    let mut bytes = batch.bytes.to_vec();
    bytes[at..at + with.len()].copy_from_slice(with);
    let crc = checksum(&bytes[header::CRC_FROM..]);
    (&mut bytes[header::CRC_AT..]).put_u32(crc);
    Batch::split_from(&mut bytes.into())
}

#[test]
fn the_checksum_is_crc32c_and_uses_the_processor() {
    assert_eq!(checksum(b"123456789"), 0xe306_9283);
    let target = crc_fast::get_calculator_target(crc_fast::CrcAlgorithm::Crc32Iscsi);
    if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
        assert!(!target.contains("software"), "{target}");
    }
}

#[test]
fn batches_come_off_a_buffer_one_by_one() {
    let (one, two) = (Batch::pack(&three()).unwrap(), Batch::pack(&three()[..1]).unwrap());
    let mut bytes = Bytes::from([&one.bytes[..], &two.bytes[..]].concat());
    assert_eq!(Batch::split_from(&mut bytes).unwrap().header, one.header);
    assert_eq!(Batch::split_from(&mut bytes).unwrap().header, two.header);
    assert!(bytes.is_empty());
    assert!(Batch::split_from(&mut bytes).is_err());
}

#[test]
fn every_flipped_bit_is_noticed() {
    let batch = Batch::pack(&three()).unwrap();
    // The first 16 bytes are not covered by the checksum: the length must fail on its own, the rest is the broker's.
    for at in (8..12).chain(16..batch.bytes.len()) {
        let mut bytes = batch.bytes.to_vec();
        bytes[at] ^= 0x10;
        let mut bytes = Bytes::from(bytes);
        let before = bytes.clone();
        assert!(matches!(Batch::split_from(&mut bytes), Err(Error::BadBatch(_))), "byte {at}");
        assert_eq!(bytes, before);
    }
}

#[test]
fn impossible_headers_are_refused() {
    let batch = Batch::pack(&three()).unwrap();
    let lies: [(usize, &[u8], &str); 10] = [
        (0, &(-1i64).to_be_bytes(), "base offset"),
        (0, &i64::MAX.to_be_bytes(), "2^63"),
        (8, &(-1i32).to_be_bytes(), "batch length"),
        (8, &48i32.to_be_bytes(), "no room"),
        (8, &i32::MAX.to_be_bytes(), "cut after"),
        (16, &[1], "magic"),
        (21, &5u16.to_be_bytes(), "codec"),
        (23, &1i32.to_be_bytes(), "too small"),
        (57, &0i32.to_be_bytes(), "no record"),
        (57, &(-3i32).to_be_bytes(), "record count"),
    ];
    for (at, with, says) in lies {
        let error = patched(&batch, at, with).unwrap_err().to_string();
        assert!(error.contains(says), "{error} should say {says}");
    }
}

#[test]
fn a_producer_may_not_send_everything() {
    let batch = Batch::pack(&three()).unwrap();
    batch.validate_for_append().unwrap();
    let idempotent = [&7i64.to_be_bytes()[..], &0i16.to_be_bytes(), &0i32.to_be_bytes()].concat();
    patched(&batch, 43, &idempotent).unwrap().validate_for_append().unwrap();
    let lies: [(usize, &[u8]); 5] = [
        (21, &0x20u16.to_be_bytes()), // control
        (21, &0x10u16.to_be_bytes()), // transactional without a producer
        (23, &3i32.to_be_bytes()),    // a gap
        (43, &7i64.to_be_bytes()),    // a producer without epoch and sequence
        (43, &(-2i64).to_be_bytes()), // no such producer
    ];
    for (at, with) in lies {
        patched(&batch, at, with).unwrap().validate_for_append().unwrap_err();
    }
}

#[test]
fn offsets_and_times_come_from_where_they_should() {
    let batch = Batch::pack(&three()).unwrap();
    assert_eq!(batch.records(100, LIMIT).unwrap(), numbered(three(), 100));
    assert_eq!(batch.header.max_timestamp_ms, 1_700_000_000_005);

    let stamped = batch.with_append_time(42);
    let again = Batch::split_from(&mut stamped.bytes.clone()).unwrap();
    assert_eq!(again.header, stamped.header);
    assert!(again.records(0, LIMIT).unwrap().iter().all(|record| record.timestamp_ms == 42));
    assert_eq!(again.check_records(LIMIT).unwrap().max_timestamp_ms, 42);

    let mut moved = batch.bytes.to_vec();
    moved[..16].copy_from_slice(&batch.header.patch(77, 3));
    let moved = Batch::split_from(&mut moved.into()).unwrap();
    assert_eq!((moved.header.base_offset, moved.header.leader_epoch, moved.header.last_offset()), (77, 3, 79));
    assert!(batch.records(u64::MAX - 1, LIMIT).is_err());
}

#[test]
fn compaction_keeps_offsets_producer_and_codec() {
    for codec in CODECS {
        let batch = compressed(&Batch::pack(&three()).unwrap(), codec);
        let idempotent = patched(&batch, 43, &7i64.to_be_bytes()).unwrap();
        let mut keep = idempotent.records(50, LIMIT).unwrap();
        keep.remove(1);
        let less = idempotent.repack(50, &keep).unwrap().unwrap();
        let less = Batch::split_from(&mut less.bytes.clone()).unwrap();
        assert_eq!(less.records(50, LIMIT).unwrap(), keep);
        assert_eq!(less.header.codec().unwrap(), codec);
        let header = less.header;
        let kept = (header.base_offset, header.last_offset(), header.producer_id, header.record_count);
        assert_eq!(kept, (50, 52, 7, 2));
        assert!(idempotent.repack(50, &[]).unwrap().is_none());
        assert!(idempotent.repack(0, &keep).is_err());
        keep.reverse();
        assert!(idempotent.repack(50, &keep).is_err());
        let stamped = idempotent.with_append_time(9);
        let keep = stamped.records(50, LIMIT).unwrap();
        assert_eq!(stamped.repack(50, &keep[1..]).unwrap().unwrap().records(50, LIMIT).unwrap(), keep[1..]);
    }
}

#[test]
fn check_reports_keys_and_times() {
    let mut records = three();
    let facts = Batch::pack(&records).unwrap().check_records(LIMIT).unwrap();
    assert_eq!(facts, Facts { keyed: true, max_timestamp_ms: 1_700_000_000_005 });
    records[2].key = None;
    for codec in CODECS {
        let batch = compressed(&Batch::pack(&records).unwrap(), codec);
        assert!(!batch.check_records(LIMIT).unwrap().keyed);
    }
}

#[test]
fn snappy_as_java_writes_it() {
    // One record, value "sdfdsf", through Kafka's Java client's snappy framing.
    let framed = b"\x82\x53\x4e\x41\x50\x50\x59\x00\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x0f\x0d\x30\x18\x00\x00\x00\x01\x0csdfdsf\x00";
    let batch = Batch::pack(&[Record { value: Some("sdfdsf".into()), ..Record::default() }]).unwrap();
    for payload in [&framed[..], &framed[20..]] {
        let snappy = with_payload(&batch, 2, payload);
        assert_eq!(snappy.records(0, LIMIT).unwrap(), batch.records(0, LIMIT).unwrap());
    }
    assert_eq!(Codec::Snappy.compress(&batch.bytes[HEADER_BYTES..]).unwrap(), framed);
    assert!(with_payload(&batch, 2, &framed[..12]).records(0, LIMIT).is_err());
    assert!(with_payload(&batch, 2, &framed[..18]).records(0, LIMIT).is_err());
}

#[test]
fn gzip_members_may_be_concatenated() {
    let batch = Batch::pack(&three()).unwrap();
    let (one, two) = batch.bytes[HEADER_BYTES..].split_at(9);
    let members = [Codec::Gzip.compress(one).unwrap(), Codec::Gzip.compress(two).unwrap()].concat();
    assert_eq!(with_payload(&batch, 1, &members).records(0, LIMIT).unwrap(), three());
}

#[test]
fn bombs_are_refused() {
    let batch = Batch::pack(&[record("k", "v")]).unwrap();
    let zeroes = vec![0; 64 << 20];
    for codec in &CODECS[1..] {
        let bomb = with_payload(&batch, *codec as u16, &codec.compress(&zeroes).unwrap());
        assert!(bomb.bytes.len() < zeroes.len() / 20);
        let error = bomb.records(0, LIMIT).unwrap_err().to_string();
        assert!(error.contains("over the limit"), "{codec:?}: {error}");
    }
    // A snappy block of ten bytes that claims four gigabytes.
    let claim = with_payload(&batch, 2, b"\xff\xff\xff\xff\x0f\0\0\0\0\0");
    assert!(claim.records(0, usize::MAX).is_err());
}

#[test]
fn claims_of_many_records_or_headers_reserve_nothing() {
    let batch = Batch::pack(&[record("k", "v")]).unwrap();
    let count = i32::MAX.to_be_bytes();
    let claim = patched(&patched(&batch, 23, &count).unwrap(), 57, &count).unwrap();
    assert!(claim.records(0, usize::MAX).is_err());
    assert!(claim.iter(0, usize::MAX).is_err());
    assert!(claim.check_records(usize::MAX).is_err());
    // length 12: attributes, times, no key, no value, 2^31-1 headers
    let headers = with_payload(&batch, 0, b"\x14\0\0\0\x01\x01\xfe\xff\xff\xff\x0f");
    assert!(headers.records(0, usize::MAX).unwrap_err().to_string().contains("headers"));
    // Headers that are there, but whose decoded form is over the limit.
    let many = vec![("", None::<&[u8]>); 10_000];
    let fat = Record { headers: many.into_iter().collect(), ..Record::default() };
    let fat = Batch::pack(&[fat]).unwrap();
    assert!(fat.records(0, 100_000).unwrap_err().to_string().contains("memory limit"));
    assert!(fat.check_records(100_000).is_err() && fat.check_records(LIMIT).is_ok());
    assert_eq!(fat.records(0, LIMIT).unwrap()[0].headers.len(), 10_000);
}

#[test]
fn malformed_records_are_refused() {
    let batch = Batch::pack(&[record("k", "v")]).unwrap();
    let lies: [(&str, &[u8]); 12] = [
        ("length cut", b"\x80\x80\x80\x80\x80\x80\x80"),
        ("length too long", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
        ("length over the payload", b"\x7e\0\0\0\x01\x01\0\0\0"),
        ("length -1", b"\x01\0\0\0\x01\x01\0\0\0"),
        ("empty record", b"\0\0\0\0\0\0\0\0"),
        ("negative length", b"\x03\0\0\0\x01\x01\0\0\0"),
        ("key length -2", b"\x0c\0\0\0\x03\x01\0"),
        ("value over the record", b"\x0c\0\0\0\x01\x08\0\0\0\0\0"),
        ("negative header count", b"\x0c\0\0\0\x01\x01\x01"),
        ("left over in the record", b"\x0e\0\0\0\x01\x01\0\0"),
        ("left over after it", b"\x0c\0\0\0\x01\x01\0\0"),
        ("header without a name", b"\x10\0\0\0\x01\x01\x02\x01\0"),
    ];
    for (lie, payload) in lies {
        let bad = with_payload(&batch, 0, payload);
        assert!(bad.records(0, LIMIT).is_err(), "{lie}");
        assert!(bad.check_records(LIMIT).is_err(), "{lie}");
    }
    let good = with_payload(&batch, 0, b"\x0c\0\0\0\x01\x01\0");
    assert_eq!(
        good.records(5, LIMIT).unwrap(),
        [Record { offset: 5, timestamp_ms: 1_700_000_000_000, ..Record::default() }]
    );
    // An offset delta outside of the batch.
    assert!(with_payload(&batch, 0, b"\x0c\0\0\x02\x01\x01\0").records(0, LIMIT).is_err());
    assert!(with_payload(&batch, 0, b"\x0c\0\0\x02\x01\x01\0").check_records(LIMIT).is_err());
    let name = with_payload(&batch, 0, b"\x12\0\0\0\x01\x01\x02\x02\xff\x01");
    assert!(name.records(0, LIMIT).unwrap_err().to_string().contains("UTF-8"));
    assert!(name.check_records(LIMIT).is_err());
}

/// Lengths whose varints are a byte longer than those of their neighbours, where a guess is wrong.
#[test]
fn lengths_are_as_short_as_they_can_be() {
    let edges =
        (0..4).flat_map(|bytes| [-24i32, -17, -16, -15, -8, -2, -1, 0, 1].map(|off| (1 << (6 + 7 * bytes)) + off));
    for length in edges.filter_map(|edge| usize::try_from(edge).ok()) {
        let value = Record { value: Some(vec![b'v'; length].into()), ..Record::default() };
        let value_of_header = vec![b'h'; length];
        let times = |count| std::iter::repeat_n(("n", Some(&value_of_header)), count).collect();
        let header = Record { headers: times(1), ..Record::default() };
        let mut records = numbered(vec![value, header, record("k", "v")], 0);
        let mut encoded = BytesMut::new();
        let oracle: Vec<_> = records.iter().map(oracle_record).collect();
        let options = RecordEncodeOptions { version: 2, compression: Compression::None };
        RecordBatchEncoder::encode(&mut encoded, &oracle, &options).unwrap();
        assert!(Batch::pack(&records).unwrap().bytes[HEADER_BYTES..] == encoded[HEADER_BYTES..], "{length}");
        if length <= 1 << 13 {
            records[2].headers = times(length.min(130));
            assert!(Batch::pack(&records).unwrap().records(0, 1 << 22).unwrap() == records, "{length}");
        }
    }
}

#[test]
fn a_batch_is_built_record_by_record() {
    let mut builder = BatchBuilder::new();
    assert!(builder.clone().finish().is_err());
    for (at, record) in three().iter().enumerate() {
        assert_eq!(builder.count(), at as u32);
        let mut building = builder.record(record.timestamp_ms, record.key.as_deref(), record.value.as_deref());
        for header in &record.headers {
            match header.value {
                // However long it is: the room left for its length is one byte.
                Some(value) => building.header_with(header.name, |to| to.extend_from_slice(value)),
                None => building.header(header.name, None),
            }
        }
        assert_eq!(building.header_count(), record.headers.len());
        building.finish().unwrap();
        // One that is begun and forgotten leaves nothing.
        builder.record(0, None, Some(b"forgotten")).header(b"name", Some(b"value"));
    }
    let batch = Batch::pack(&three()).unwrap();
    assert_eq!(builder.bytes(), batch.bytes.len());
    assert_eq!(builder.finish().unwrap().bytes, batch.bytes);
    let long = vec![b'x'; 5000];
    let mut builder = BatchBuilder::with_room(0);
    let mut building = builder.record(0, None, None);
    building.header_with(b"long", |to| to.extend_from_slice(&long));
    building.header_with(b"empty", |_| {});
    building.finish().unwrap();
    let headers = builder.finish().unwrap().records(0, LIMIT).unwrap().remove(0).headers;
    assert_eq!(headers, Headers::from_iter([("long", Some(&long[..])), ("empty", Some(b""))]));
}

/// A client may write lengths in more bytes than they need: they are let in, kept as they are, and mean the same.
#[test]
fn headers_are_equal_when_names_and_values_are() {
    let batch = Batch::pack(&[record("k", "v")]).unwrap();
    // Two headers, r = 3 and r = null; the lengths of the first in two bytes and three.
    let short = b"\x1a\0\0\0\x01\x01\x04\x02r\x023\x02r\x01";
    let long = b"\x20\0\0\0\x01\x01\x04\x82\0r\x82\x80\x003\x02r\x01";
    let [short, long] = [&short[..], long].map(|payload| with_payload(&batch, 0, payload));
    let [one, two] = [&short, &long].map(|batch| batch.records(0, LIMIT).unwrap().remove(0));
    long.check_records(LIMIT).unwrap();
    assert_eq!((&one, one.headers.len()), (&two, 2));
    assert_ne!(one.headers.encoded(), two.headers.encoded());
    assert_eq!(one.headers, Headers::from_iter([("r", Some("3")), ("r", None)]));
    let again = Batch::pack(std::slice::from_ref(&two)).unwrap();
    assert_eq!(again.bytes[HEADER_BYTES..], long.bytes[HEADER_BYTES..]);
    let others = [vec![("r", Some("3"))], vec![("r", None), ("r", Some("3"))], vec![("r", Some("3")), ("r", Some(""))]];
    for other in others {
        assert_ne!(one.headers, other.into_iter().collect());
    }
}

#[test]
fn headers_are_shared_until_one_is_added() {
    let batch = Batch::pack(&three()).unwrap();
    let records = batch.records(0, LIMIT).unwrap();
    let is_in_batch = |headers: &Headers| batch.bytes.as_ptr_range().contains(&headers.encoded().as_ptr());
    assert!(is_in_batch(&records[1].headers) && !is_in_batch(&records[0].headers) && records[0].headers.is_empty());
    let mut headers = records[1].headers.clone();
    for number in 0..1000 {
        headers.push("n", Some(format!("{number}").as_bytes()));
    }
    headers.push("null", None);
    assert_eq!((headers.len(), headers.iter().len(), headers.named("n").count()), (1003, 1003, 1000));
    assert_eq!((headers.named("n").last(), headers.named("null").next()), (Some(Some(&b"999"[..])), Some(None)));
    assert_eq!(headers.iter().take(2).collect::<Headers>(), records[1].headers);
    assert_eq!(batch.records(0, LIMIT).unwrap(), three());
    let packed = Batch::pack(&[Record { headers: headers.clone(), ..Record::default() }]).unwrap();
    packed.check_records(LIMIT).unwrap();
    assert_eq!(packed.records(0, LIMIT).unwrap()[0].headers, headers);
}

fn bytes_upto(length: usize) -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..length).prop_map(Bytes::from)
}

fn any_record() -> impl Strategy<Value = Record> {
    let headers = prop::collection::vec(("[a-zé]{0,6}", prop::option::of(bytes_upto(8))), 0..4);
    let bytes = || prop::option::of(bytes_upto(300));
    (any::<i64>(), bytes(), bytes(), headers).prop_map(|(timestamp_ms, key, value, headers)| Record {
        offset: 0,
        timestamp_ms,
        key,
        value,
        headers: headers.into_iter().collect(),
    })
}

fn any_records() -> impl Strategy<Value = Vec<Record>> {
    prop::collection::vec(any_record(), 1..20).prop_map(|records| numbered(records, 0))
}

fn oracle_record(record: &Record) -> kafka_protocol::records::Record {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap().into();
    let shared = |bytes: Option<&[u8]>| bytes.map(Bytes::copy_from_slice);
    kafka_protocol::records::Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: -1,
        producer_epoch: -1,
        timestamp_type: TimestampType::Creation,
        offset: record.offset.cast_signed(),
        sequence: -1 + record.offset as i32,
        timestamp: record.timestamp_ms,
        key: record.key.clone(),
        value: record.value.clone(),
        headers: record.headers.iter().map(|header| (text(header.name), shared(header.value))).collect(),
    }
}

/// As a record the oracle can hold: its header names do not repeat, and it subtracts times without wrapping.
fn for_oracle(mut record: Record) -> Record {
    record.timestamp_ms &= 0x00ff_ffff_ffff;
    let mut seen = std::collections::HashSet::new();
    record.headers = record.headers.iter().filter(|header| seen.insert(header.name)).collect();
    record
}

proptest! {
    #[test]
    fn any_records_survive_every_codec(records in any_records(), base in 0u64..1 << 40) {
        let plain = Batch::pack(&records).unwrap();
        for codec in CODECS {
            let batch = compressed(&plain, codec);
            prop_assert_eq!(batch.records(base, LIMIT).unwrap(), numbered(records.clone(), base));
            batch.check_records(LIMIT).unwrap();
            batch.validate_for_append().unwrap();
        }
    }

    #[test]
    fn kafka_protocol_reads_what_is_packed_and_the_other_way_round(records in any_records()) {
        let mut records: Vec<_> = records.into_iter().map(for_oracle).collect();
        // The oracle counts time from the earliest record, we from the first.
        records.sort_by_key(|record| record.timestamp_ms);
        let records = numbered(records, 0);
        let oracle: Vec<_> = records.iter().map(oracle_record).collect();
        let theirs = RecordBatchDecoder::decode(&mut Batch::pack(&records).unwrap().bytes).unwrap().records;
        prop_assert_eq!(&theirs, &oracle);
        let mut encoded = BytesMut::new();
        let options = RecordEncodeOptions { version: 2, compression: Compression::None };
        RecordBatchEncoder::encode(&mut encoded, &oracle, &options).unwrap();
        prop_assert_eq!(&encoded[HEADER_BYTES..], &Batch::pack(&records).unwrap().bytes[HEADER_BYTES..]);
        let ours = Batch::split_from(&mut encoded.freeze()).unwrap();
        prop_assert_eq!(ours.records(0, LIMIT).unwrap(), records);
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Batch::split_from(&mut bytes.clone().into());
        let batch = Batch::pack(&[record("k", "v")]).unwrap();
        for codec in CODECS {
            let batch = with_payload(&batch, codec as u16, &bytes);
            let (decoded, checked) = (batch.records(0, LIMIT), batch.check_records(LIMIT));
            prop_assert!(checked.is_err() || decoded.is_ok(), "what is let in can be read");
        }
    }

    #[test]
    fn mutated_batches_never_panic(records in any_records(), flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let plain = Batch::pack(&records).unwrap();
        for codec in CODECS {
            let mut bytes = compressed(&plain, codec).bytes.to_vec();
            for (at, with) in &flips {
                // Magic, length and base offset stay, so that the mutation gets past the header.
                let at = header::CRC_FROM + at.index(bytes.len() - header::CRC_FROM);
                bytes[at] = *with;
            }
            let crc = checksum(&bytes[header::CRC_FROM..]);
            (&mut bytes[header::CRC_AT..]).put_u32(crc);
            if let Ok(batch) = Batch::split_from(&mut bytes.into()) {
                let (decoded, checked) = (batch.records(0, LIMIT), batch.check_records(LIMIT));
                prop_assert!(checked.is_err() || decoded.is_ok(), "what is let in can be read");
                let _ = batch.with_append_time(1);
            }
        }
    }
}

/// Prints what the produce path pays per record: `cargo test --release -p tidegate-engine -- --ignored --nocapture batch_cost`.
#[test]
#[ignore = "prints times"]
fn batch_cost() {
    let value = Bytes::from(vec![b'x'; 100]);
    let records = vec![Record { value: Some(value), ..Record::default() }; 140];
    let batch = Batch::pack(&records).unwrap();
    println!("crc by {}", crc_fast::get_calculator_target(crc_fast::CrcAlgorithm::Crc32Iscsi));
    let measure = |name: &str, run: &dyn Fn()| {
        let round = || {
            let start = std::time::Instant::now();
            (0..500).for_each(|_| run());
            start.elapsed().as_nanos() as f64 / 500.0 / records.len() as f64
        };
        // The best of many rounds: what else the machine does only adds.
        let each = (0..50).map(|_| round()).fold(f64::INFINITY, f64::min);
        println!("{name}: {each:.2} ns per record of 100 bytes, 140 in a batch");
    };
    measure("split_from", &|| drop(std::hint::black_box(Batch::split_from(&mut batch.bytes.clone()))));
    measure("check_records", &|| drop(std::hint::black_box(batch.check_records(LIMIT))));
    measure("records", &|| drop(std::hint::black_box(batch.records(0, LIMIT))));
    measure("pack", &|| drop(std::hint::black_box(Batch::pack(&records))));
    measure("with_append_time", &|| drop(std::hint::black_box(batch.with_append_time(1))));
}
