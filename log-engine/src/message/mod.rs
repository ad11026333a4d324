//! What brokers and clients say to each other, as bytes. `docs/formats/log-messages.md` has them.
//!
//! Every message names the layout that its sender goes by; partitions are numbers within it. Decoding borrows, checks
//! each length against what is left, and never allocates more than the message could fill.

mod answer;
mod fetch;
mod fields;
mod find_times;
mod follow;
mod produce;

use fields::{In, Out};

pub(crate) use fetch::{Fetch, FetchAnswer, Fetched, FetchedWriter};
pub(crate) use find_times::{FindAnswer, FindTimes, FoundTimes};
pub(crate) use follow::{Follow, FollowAnswer, FollowPlace, Followed, FollowedWriter, Progress};
pub(crate) use produce::{Produce, ProduceAnswer, ProduceBatch, Produced};

const VERSION: u8 = 1;
/// Version, kind, two bytes of zero, the layout's fingerprint.
const HEADER_LEN: usize = 1 + 1 + 2 + 4;

/// Why bytes are not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Another version of this program speaks.
    #[error("the message has version {found}; this program speaks version {VERSION}")]
    Version {
        /// The version.
        found: u8,
    },
    /// No such message.
    #[error("the message is of kind {found}, which nobody knows")]
    Kind {
        /// The kind.
        found: u8,
    },
    /// The sender goes by another layout of the cluster.
    #[error(
        "the sender's cluster layout is {found:08x} and this one's is {expected:08x}; give all the same layout"
    )]
    Layout {
        /// This party's.
        expected: u32,
        /// The sender's.
        found: u32,
    },
    /// The bytes end too early, go on too long, or a field says what can't be.
    #[error("the message is malformed at byte {at}: {what}")]
    Malformed {
        /// Where.
        at: usize,
        /// What is wrong.
        what: &'static str,
    },
}

/// When a producer's batch is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Acks {
    /// Never: the client takes it for done when it is sent.
    None,
    /// The leader holds it, as durably as its log promises.
    Leader,
    /// Every replica in sync holds it, as durably.
    All,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    Produce(Produce<'a>),
    Produced(Vec<Produced>),
    Fetch(Fetch),
    Fetched(Fetched<'a>),
    Follow(Follow),
    Followed(Followed<'a>),
    Progress(Vec<Progress>),
    /// A broker has started: whatever it was asked before is forgotten.
    Hello,
    FindTimes(FindTimes),
    FoundTimes(FoundTimes<'a>),
}

mod kind {
    pub(super) const PRODUCE: u8 = 1;
    pub(super) const PRODUCED: u8 = 2;
    pub(super) const FETCH: u8 = 3;
    pub(super) const FETCHED: u8 = 4;
    pub(super) const FOLLOW: u8 = 5;
    pub(super) const FOLLOWED: u8 = 6;
    pub(super) const PROGRESS: u8 = 7;
    pub(super) const HELLO: u8 = 8;
    pub(super) const FIND_TIMES: u8 = 9;
    pub(super) const FOUND_TIMES: u8 = 10;
}

impl Message<'_> {
    /// The bytes of a message between parties that go by the layout with this fingerprint.
    pub(crate) fn encode(&self, layout: u32) -> Vec<u8> {
        match self {
            Self::Produce(produce) => produce.encode(layout),
            Self::Produced(list) => Produced::encode_list(list, layout),
            Self::Fetch(fetch) => fetch.encode(layout),
            Self::Fetched(fetched) => fetched.encode(layout),
            Self::Follow(follow) => follow.encode(layout),
            Self::Followed(followed) => followed.encode(layout),
            Self::Progress(list) => Progress::encode_list(list, layout),
            Self::Hello => Out::new(kind::HELLO, layout, 0).0,
            Self::FindTimes(find) => find.encode(layout),
            Self::FoundTimes(found) => found.encode(layout),
        }
    }
}

impl<'a> Message<'a> {
    /// Reads a message.
    ///
    /// # Errors
    /// The bytes are none, or of a cluster that is laid out otherwise.
    pub(crate) fn decode(bytes: &'a [u8], layout: u32) -> Result<Self, MessageError> {
        let mut input = In { whole: bytes.len(), rest: bytes };
        let (version, kind) = (input.u8()?, input.u8()?);
        if version != VERSION {
            return Err(MessageError::Version { found: version });
        }
        if input.u16()? != 0 {
            return Err(input.malformed("bytes that have to be zero aren't"));
        }
        let found = input.u32()?;
        if found != layout {
            return Err(MessageError::Layout { expected: layout, found });
        }
        let message = Self::decode_body(kind, &mut input)?;
        if input.rest.is_empty() { Ok(message) } else { Err(input.malformed("it goes on behind its end")) }
    }

    fn decode_body(kind: u8, input: &mut In<'a>) -> Result<Self, MessageError> {
        Ok(match kind {
            kind::PRODUCE => Self::Produce(Produce::decode(input)?),
            kind::PRODUCED => Self::Produced(Produced::decode_list(input)?),
            kind::FETCH => Self::Fetch(Fetch::decode(input)?),
            kind::FETCHED => Self::Fetched(Fetched::decode(input)?),
            kind::FOLLOW => Self::Follow(Follow::decode(input)?),
            kind::FOLLOWED => Self::Followed(Followed::decode(input)?),
            kind::PROGRESS => Self::Progress(Progress::decode_list(input)?),
            kind::HELLO => Self::Hello,
            kind::FIND_TIMES => Self::FindTimes(FindTimes::decode(input)?),
            kind::FOUND_TIMES => Self::FoundTimes(FoundTimes::decode(input)?),
            found => return Err(MessageError::Kind { found }),
        })
    }
}

#[cfg(test)]
mod tests;
