//! A record inside a batch: what a producer hands over, and what a consumer sees, borrowed from the batch's bytes.

use super::varint;
use crate::Offset;

/// [`Record::timestamp_ms`] of a record that takes the time of its append.
pub const NO_TIMESTAMP: i64 = -1;

/// A header: a name and an optional value beside a record's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its value; `None` is Kafka's null, which is not the empty value.
    pub value: Option<&'a [u8]>,
}

/// A record to append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// What the partitioner and, later, compaction go by. `None` is Kafka's null.
    pub key: Option<&'a [u8]>,
    /// The payload. `None` is Kafka's null: a tombstone.
    pub value: Option<&'a [u8]>,
    /// When it was created, milliseconds since the Unix epoch, or [`NO_TIMESTAMP`].
    pub timestamp_ms: i64,
    /// Named values beside it.
    pub headers: &'a [Header<'a>],
}

impl<'a> Record<'a> {
    /// A record with a key and a value, without headers, timestamped when it is appended.
    #[must_use]
    pub fn new(key: &'a [u8], value: &'a [u8]) -> Self {
        Self { key: Some(key), value: Some(value), timestamp_ms: NO_TIMESTAMP, headers: &[] }
    }

    /// A record with a value only.
    #[must_use]
    pub fn of_value(value: &'a [u8]) -> Self {
        Self { key: None, value: Some(value), timestamp_ms: NO_TIMESTAMP, headers: &[] }
    }

    /// A record that says its key is deleted.
    #[must_use]
    pub fn tombstone(key: &'a [u8]) -> Self {
        Self { key: Some(key), value: None, timestamp_ms: NO_TIMESTAMP, headers: &[] }
    }

    /// Bytes of key, value and headers: at most a few more go into the batch.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        let headers: usize = self.headers.iter().map(|h| h.name.len() + h.value.map_or(0, <[u8]>::len)).sum();
        self.key.map_or(0, <[u8]>::len) + self.value.map_or(0, <[u8]>::len) + headers
    }

    /// Bytes of the record without its own length field.
    fn body_len(&self, timestamp_delta: i64, offset_delta: i32) -> usize {
        let mut n = 1 + varint::len(timestamp_delta) + varint::len(i64::from(offset_delta));
        n += bytes_len(self.key) + bytes_len(self.value) + varint::len(self.headers.len() as i64);
        for header in self.headers {
            n += bytes_len(Some(header.name.as_bytes())) + bytes_len(header.value);
        }
        n
    }

    /// Appends the record. Whoever calls has checked that every length fits an `i32`.
    pub(crate) fn encode(&self, out: &mut Vec<u8>, timestamp_delta: i64, offset_delta: i32) {
        let body = self.body_len(timestamp_delta, offset_delta);
        out.reserve(body + 5);
        varint::put(out, body as i64);
        let start = out.len();
        out.push(0); // attributes: none are defined for records
        varint::put(out, timestamp_delta);
        varint::put(out, i64::from(offset_delta));
        put_bytes(out, self.key);
        put_bytes(out, self.value);
        varint::put(out, self.headers.len() as i64);
        for header in self.headers {
            put_bytes(out, Some(header.name.as_bytes()));
            put_bytes(out, header.value);
        }
        debug_assert_eq!(out.len() - start, body, "body_len() counts what encode() writes");
    }
}

fn bytes_len(bytes: Option<&[u8]>) -> usize {
    match bytes {
        None => 1,
        Some(b) => varint::len(b.len() as i64) + b.len(),
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => varint::put(out, -1),
        Some(b) => {
            varint::put(out, b.len() as i64);
            out.extend_from_slice(b);
        }
    }
}

fn take_bytes<'a>(input: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    match varint::take_int(input)? {
        -1 => Some(None),
        n => {
            let (bytes, rest) = input.split_at_checked(usize::try_from(n).ok()?)?;
            *input = rest;
            Some(Some(bytes))
        }
    }
}

/// A record as it lies in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordView<'a> {
    /// Its place in the partition.
    pub offset: Offset,
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// The key, if it has one.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers.
    pub headers: Headers<'a>,
}

impl<'a> RecordView<'a> {
    /// Takes a record off the front of `input`. `Err` says what is wrong with it.
    pub(crate) fn decode(
        input: &mut &'a [u8],
        base_offset: Offset,
        base_timestamp_ms: i64,
        records: i32,
    ) -> Result<Self, &'static str> {
        let body_len = varint::take_int(input).ok_or("its length is not a varint")?;
        let body_len = usize::try_from(body_len).map_err(|_| "its length is negative")?;
        let (mut body, rest) =
            input.split_at_checked(body_len).ok_or("its length goes beyond the batch's end")?;
        let body_input = &mut body;
        let (_attributes, after) = body_input.split_first().ok_or("it has no attributes")?;
        *body_input = after;
        let timestamp_delta = varint::take_long(body_input).ok_or("its timestamp is not a varint")?;
        let offset_delta = varint::take_int(body_input).ok_or("its offset is not a varint")?;
        if !(0..records).contains(&offset_delta) {
            return Err("its offset lies outside the batch");
        }
        let key = take_bytes(body_input).ok_or("its key is cut short")?;
        let value = take_bytes(body_input).ok_or("its value is cut short")?;
        let headers = Headers::check(body_input).ok_or("its headers are cut short or not UTF-8")?;
        *input = rest;
        Ok(Self {
            offset: base_offset.plus(u64::from(offset_delta.unsigned_abs())),
            timestamp_ms: base_timestamp_ms.wrapping_add(timestamp_delta),
            key,
            value,
            headers,
        })
    }

    /// A copy that owns its bytes.
    #[must_use]
    pub fn to_owned(&self) -> OwnedRecord {
        OwnedRecord {
            key: self.key.map(<[u8]>::to_vec),
            value: self.value.map(<[u8]>::to_vec),
            timestamp_ms: self.timestamp_ms,
            headers: self.headers.map(|h| (h.name.to_owned(), h.value.map(<[u8]>::to_vec))).collect(),
        }
    }
}

/// The headers of a [`RecordView`], checked when the record was decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headers<'a> {
    left: i32,
    bytes: &'a [u8],
}

impl<'a> Headers<'a> {
    fn check(input: &mut &'a [u8]) -> Option<Self> {
        let left = varint::take_int(input)?;
        let all = Self { left, bytes: input };
        if left < 0 {
            return None;
        }
        let mut walk = all;
        for _ in 0..left {
            walk.take_one()?;
        }
        // Whatever lies behind the headers would be lost without a word.
        walk.bytes.is_empty().then_some(all)
    }

    fn take_one(&mut self) -> Option<Header<'a>> {
        let name = std::str::from_utf8(take_bytes(&mut self.bytes)??).ok()?;
        let value = take_bytes(&mut self.bytes)?;
        Some(Header { name, value })
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        if self.left <= 0 {
            return None;
        }
        self.left -= 1;
        self.take_one()
    }
}

/// A record that owns its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnedRecord {
    /// The key, if it has one.
    pub key: Option<Vec<u8>>,
    /// The value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Milliseconds since the Unix epoch, or [`NO_TIMESTAMP`] before the append.
    pub timestamp_ms: i64,
    /// Headers: names and values.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}
