//! `GET /v1/topics/{topic}/stream`: a topic's messages as they come, without a group.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use tidegate_engine::batch::Record;
use tidegate_engine::{PartitionId, Topic};
use utoipa::IntoParams;

use super::convert::json::MessageView;
use super::convert::parse_time;
use super::error::{Problem, Result};
use super::extract::{Params, Target};
use super::schema::NameText;
use super::state::Http;
use super::stream::{Form, Frames, Source, Step, Wake, respond, resume_at};
use crate::broker::{Anchor, Kind, Place, ReadLimit};

/// One piece of a stream.
const PIECE: ReadLimit = ReadLimit { messages: 500, bytes: 256 << 10 };
/// Opens a cursor; another number would be another form.
const CURSOR_VERSION: u64 = 1;

/// Where to begin.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TopicStreamQuery {
    /// `latest` (if not given), `earliest`, a time in RFC 3339, or an offset (of one `partition`).
    from: Option<String>,
    /// Only this partition.
    partition: Option<u32>,
    /// The `cursor` of the last message seen, or the id of the last event. Last-Event-ID says the same.
    cursor: Option<String>,
}

/// A topic's partitions and how far each has been sent.
pub(super) struct TopicTail {
    topic: String,
    positions: Vec<Position>,
    /// Whose turn it is.
    turn: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Position {
    place: Place,
    next: u64,
}

/// Messages between two offsets were removed before they were sent.
#[derive(Serialize)]
struct Gap {
    partition: u32,
    from: u64,
    to: u64,
}

/// Follow a topic.
///
/// Changes nothing: no group, no acknowledgement. `event: gap` tells of messages that retention removed before they were sent, `event: error` (a problem) and `event: drain` (the gateway stops) are the last. In NDJSON the same are lines `{"gap":…}`, `{"error":…}` and `{"drain":…}`.
#[utoipa::path(get, path = "/topics/{topic}/stream", tag = "read", operation_id = "stream_topic",
    params(("topic" = NameText, Path), TopicStreamQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "Go on after this event")),
    responses((status = 200, description = "Messages, one event each; its id is where to go on",
        content((MessageView = "text/event-stream"), (MessageView = "application/x-ndjson")))))]
pub(super) async fn stream_topic(
    State(http): State<Http>,
    target: Target,
    Params(query): Params<TopicStreamQuery>,
    fields: HeaderMap,
) -> Result<Response> {
    let form = Form::of(&fields)?;
    let topic = http.broker.topic_for_read(&target.principal, target.topic())?;
    let places = query.places(&topic, http.config.max_stream_partitions)?;
    let positions = match resume_at(&fields, query.cursor.as_deref()) {
        Some(cursor) => resumed(&places, cursor)?,
        None => started(&http, &places, query.from.as_deref().unwrap_or("latest")).await?,
    };
    // Said now, not in the stream: a browser that was answered 200 would come back with it for ever.
    for position in &positions {
        http.broker.check_begin(position.place.id, position.next)?;
    }
    let tail = TopicTail { topic: topic.name.name().to_owned(), positions, turn: 0 };
    respond(&http, Source::Topic(tail), form)
}

impl TopicStreamQuery {
    fn places(&self, topic: &Topic, limit: usize) -> Result<Vec<Place>> {
        if let Some(index) = self.partition {
            return Ok(vec![Place::find(topic, index)?]);
        }
        if topic.partitions.len() > limit {
            let count = topic.partitions.len();
            let detail = format!(
                "topic '{}' has {count} partitions, over {limit} (max_stream_partitions): stream one with partition",
                topic.name
            );
            return Err(Problem::invalid(detail));
        }
        Ok(Place::all(topic).collect())
    }
}

async fn started(http: &Http, places: &[Place], from: &str) -> Result<Vec<Position>> {
    let mut positions = Vec::with_capacity(places.len());
    for place in places {
        let next = start_of(http, place.id, from, places.len() == 1).await?;
        positions.push(Position { place: *place, next });
    }
    Ok(positions)
}

async fn start_of(http: &Http, id: PartitionId, from: &str, alone: bool) -> Result<u64> {
    match from {
        "earliest" => Ok(http.broker.offset_at(id, Anchor::Earliest).await?),
        "latest" => Ok(http.broker.offset_at(id, Anchor::Latest).await?),
        offset if offset.bytes().all(|byte| byte.is_ascii_digit()) && !offset.is_empty() => match offset.parse() {
            Ok(offset) if alone => Ok(offset),
            _ => Err(Problem::invalid("from is an offset: say of which partition")),
        },
        time => {
            let at_ms = parse_time(time).map_err(|reason| {
                Problem::invalid(format!("from is earliest, latest, an offset or a time: {reason}"))
            })?;
            Ok(http.broker.offset_at(id, Anchor::Time(at_ms)).await?)
        }
    }
}

/// Positions from a cursor. Partitions added since begin at their start.
fn resumed(places: &[Place], cursor: &str) -> Result<Vec<Position>> {
    let refused = || Problem::invalid("the cursor is not one of this stream");
    let offsets = decode_cursor(cursor).ok_or_else(refused)?;
    if offsets.len() > places.len() {
        return Err(refused());
    }
    let offsets = offsets.into_iter().chain(std::iter::repeat(0));
    Ok(places.iter().zip(offsets).map(|(place, next)| Position { place: *place, next }).collect())
}

impl TopicTail {
    pub(super) async fn step(&mut self, http: &Http, form: Form) -> Result<Step> {
        let watched: Vec<_> = self.positions.iter().map(|position| (position.place.id, position.next)).collect();
        let watch = http.broker.watch(&watched);
        for _ in 0..self.positions.len() {
            let turn = self.turn;
            self.turn = (turn + 1) % self.positions.len();
            if let Some(step) = self.read(http, form, turn).await? {
                return Ok(step);
            }
        }
        Ok(Step::Wait(Wake::Topic(watch)))
    }

    /// What a partition has, if it has something.
    async fn read(&mut self, http: &Http, form: Form, turn: usize) -> Result<Option<Step>> {
        let Position { place, next } = self.positions[turn];
        let info = http.broker.partition(place.id)?;
        if next < info.log_start {
            self.positions[turn].next = info.log_start;
            let gap = Gap { partition: place.index, from: next, to: info.log_start };
            return Ok(Some(Step::Messages(form.notice("gap", &gap))));
        }
        if next == info.high_watermark {
            return Ok(None);
        }
        let page = match http.broker.read_page(place.id, next, PIECE, |_| true).await {
            // Retention was faster: there is a gap now.
            Err(error) if error.kind == Kind::OutOfRange && next < info.high_watermark => return Ok(None),
            page => page?,
        };
        let sent = page.records.iter().map(Record::size).sum();
        http.metrics.sent.add(page.records.len(), sent);
        let mut frames = Frames::new(form);
        for record in &page.records {
            self.positions[turn].next = record.offset + 1;
            frames.push(MessageView::new(&self.topic, place.index, record, None), self.cursor())?;
        }
        self.positions[turn].next = page.next_offset;
        Ok((!page.records.is_empty()).then(|| Step::Messages(frames.finish())))
    }

    fn cursor(&self) -> String {
        encode_cursor(self.positions.iter().map(|position| position.next))
    }
}

/// Offsets in the order of the partitions, as variable-length integers in base64.
fn encode_cursor(offsets: impl Iterator<Item = u64>) -> String {
    let mut bytes = Vec::with_capacity(16);
    for mut value in std::iter::once(CURSOR_VERSION).chain(offsets) {
        while value >= 0x80 {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
    }
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn decode_cursor(cursor: &str) -> Option<Vec<u64>> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let mut values = Vec::new();
    let (mut value, mut shift) = (0_u64, 0);
    for byte in bytes {
        let bits = u64::from(byte & 0x7f);
        value |= bits.checked_shl(shift).filter(|shifted| shifted >> shift == bits)?;
        shift += 7;
        if byte < 0x80 {
            values.push(value);
            (value, shift) = (0, 0);
        }
    }
    let complete = shift == 0 && values.first() == Some(&CURSOR_VERSION);
    complete.then(|| values.split_off(1))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_cursor_comes_back(offsets in proptest::collection::vec(any::<u64>(), 0..20)) {
            let cursor = encode_cursor(offsets.iter().copied());
            prop_assert_eq!(decode_cursor(&cursor), Some(offsets));
        }

        #[test]
        fn any_text_is_answered(cursor: String, bytes: Vec<u8>) {
            let _ = decode_cursor(&cursor);
            let _ = decode_cursor(&BASE64_URL_SAFE_NO_PAD.encode(bytes));
        }
    }
}
