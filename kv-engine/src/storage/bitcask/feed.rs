//! [`ChangeFeed`]: the store's writes in the order in which it took them, from any position on.
//!
//! A position is the sequence that every record carries, and that a merge keeps. Segments are in the order of their
//! sequences, so a feed reads them side by side, always the one whose turn it is; at the end it stands in the active
//! segment and reads what a commit has just added.
//!
//! What is told:
//! * the newest version of each key, and every sibling that lives; versions that were replaced before the feed came to
//!   them may be missing, because a merge may have removed them;
//! * every delete, as long as tombstones are kept: an open feed keeps those before it. A feed that begins where some are
//!   gone is refused;
//! * each once, in order, and nothing that a crash could take back, within what the durability promises.
//!
//! A feed keeps the files of segments that were merged away meanwhile until it has passed them.

use std::sync::Arc;

use engine_env::{DiskError, File, Waker};

use super::Bitcask;
use super::feeds::{Feeds, Follower};
use super::planted;
use super::record::{At, DamageKind, RecordKind, RecordView};
use super::recovery::Damage;
use super::scan::{Direct, Parsed, Source as _, View, parse_at, resynchronise};
use super::segment::{HEADER_LEN, Origin, Segment};
use crate::version::{VectorClock, Versioned};

/// Up to where a feed was read: what a subscriber keeps to go on later, together with what it made of the changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeedPosition(pub u64);

impl FeedPosition {
    /// Before everything. A subscriber that begins here holds nothing yet.
    pub const START: Self = Self(0);
}

impl std::fmt::Display for FeedPosition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Something that a feed tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where to go on after this one.
    pub next: FeedPosition,
    /// What happened.
    pub event: ChangeEvent,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeEvent {
    /// A version was put.
    Put {
        /// The key.
        key: Vec<u8>,
        /// The version. It replaces those that aren't concurrent with it: the later change stands, also where a power
        /// cut in `os` has taken a delete in between.
        version: Versioned,
    },
    /// Versions were deleted.
    Deleted {
        /// The key.
        key: Vec<u8>,
        /// Those before or equal to this one are gone.
        version: VectorClock,
    },
    /// Changes can't be read any more: the file is damaged. The feed goes on behind them.
    Damaged(Damage),
}

/// Why a feed can't be read.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum FeedError {
    /// Deletes behind the position were merged away, so the subscriber would keep what is deleted.
    #[error(
        "deletes between position {from} and {kept_from} were merged away; start at 0 with nothing, or restore a \
         state from {kept_from} or later"
    )]
    DeletesGone {
        /// The position that was asked for.
        from: FeedPosition,
        /// From here on all deletes are there.
        kept_from: FeedPosition,
    },
    /// The position is another store's, or a younger state of this one's.
    #[error("position {from} lies behind the store's end, {end}: it belongs to another store; start at 0")]
    BeyondEnd {
        /// The position that was asked for.
        from: FeedPosition,
        /// The store's end.
        end: FeedPosition,
    },
    /// The store was closed, and everything was told.
    #[error("the store was closed; open it again and go on at the feed's position")]
    Closed,
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// An open feed over a [`Bitcask`]. Dropping it lets merges drop the deletes that it hadn't passed.
#[derive(Debug)]
pub struct ChangeFeed<F> {
    follower: Arc<Follower>,
    feeds: Arc<Feeds>,
    /// The first sequence that wasn't told.
    position: u64,
    cursors: Vec<Cursor<F>>,
}

impl<F> Drop for ChangeFeed<F> {
    fn drop(&mut self) {
        self.feeds.leave(&self.follower);
    }
}

impl<F> ChangeFeed<F> {
    /// Where it is: everything before was told.
    #[must_use]
    pub fn position(&self) -> FeedPosition {
        FeedPosition(self.position)
    }

    /// Whom to wake when there is something new after [`Bitcask::read_feed`] found nothing.
    pub fn wake_with(&self, waker: Waker) {
        self.follower.set_waker(waker);
    }
}

/// A place in one segment.
#[derive(Debug)]
struct Cursor<F> {
    segment: Arc<Segment<F>>,
    at: u64,
    /// The sequence of the record at `at`, or one that is at most that.
    next: u64,
    /// The sequence before `at`.
    passed: u64,
    /// The last record's sequence when the view was last emptied: what can be read here without a second look.
    last: u64,
    view: View,
}

/// A feed reads this much at a time.
const READ_BYTES: u64 = 256 << 10;

/// What a cursor found.
enum Found {
    /// It may be another cursor's turn.
    Next,
    /// A change, and its bytes.
    Told(Change, u64),
    /// Nothing more for now.
    End,
}

impl<F: File> Cursor<F> {
    fn new(segment: Arc<Segment<F>>, position: u64) -> Self {
        let (next, last) = (segment.first_sequence().max(position), segment.last_sequence());
        Self { segment, at: HEADER_LEN as u64, next, passed: 0, last, view: View::default() }
    }

    /// Takes the next record with a sequence from `position` on; stops before one that is after `until`.
    fn step(&mut self, position: u64, until: u64) -> Result<Found, DiskError> {
        let Self { segment, at, next, passed, last, view } = self;
        let mut source = Direct::new(&segment.file, segment.end(), READ_BYTES, view);
        loop {
            // Behind it may be bytes of a commit that isn't through.
            if *passed >= *last {
                return Ok(Found::End);
            }
            let here = At { segment: segment.id, position: *at };
            let (record_at, damage) = match parse_at(&mut source, here)? {
                Parsed::Record(record) if record.sequence > until => {
                    *next = record.sequence;
                    return Ok(Found::Next);
                }
                Parsed::Record(record) => {
                    *at += record.len;
                    *passed = record.sequence;
                    *next = record.sequence + 1;
                    if record.sequence < position {
                        continue;
                    }
                    let bytes = record.len;
                    return Ok(Found::Told(change(&record, segment), bytes));
                }
                Parsed::Bad(why) => (*at, why),
                Parsed::Unwritten | Parsed::End => (*at, DamageKind::NoRecord),
            };
            let end = source.len();
            let found = resynchronise(&mut source, segment.id, record_at + 1, end)?;
            *at = found.unwrap_or(end);
            if found.is_none() {
                *passed = *last;
                *next = *passed + 1;
            }
            let (file, bytes) = (segment.name.clone(), *at - record_at);
            let event = ChangeEvent::Damaged(Damage { file, position: record_at, bytes, why: damage });
            return Ok(Found::Told(Change { next: FeedPosition((*next).max(position)), event }, bytes));
        }
    }
}

fn change<F>(record: &RecordView<'_>, segment: &Segment<F>) -> Change {
    let key = record.key.to_vec();
    let event = match (&record.damage, record.kind) {
        (Some(why), _) => ChangeEvent::Damaged(Damage {
            file: segment.name.clone(),
            position: record.position,
            bytes: record.len,
            why: why.clone(),
        }),
        (None, RecordKind::Put) => {
            ChangeEvent::Put { key, version: Versioned::new(record.clock.clone(), record.value) }
        }
        (None, RecordKind::Tombstone) => ChangeEvent::Deleted { key, version: record.clock.clone() },
    };
    Change { next: FeedPosition(record.sequence + 1), event }
}

impl<F: File> Bitcask<F> {
    /// Opens a feed that tells every change from `from` on.
    ///
    /// # Errors
    /// Deletes after `from` are gone, or `from` isn't this store's.
    pub fn feed(&self, from: FeedPosition) -> Result<ChangeFeed<F>, FeedError> {
        let end = FeedPosition(self.feeds.visible());
        if from > end {
            return Err(FeedError::BeyondEnd { from, end });
        }
        // From the start nothing was told yet that a delete could take back.
        let needs_deletes = from > FeedPosition::START && !planted!(self, DroppedDeletesForgotten);
        let follower = self
            .feeds
            .follow(from.0, needs_deletes)
            .map_err(|kept_from| FeedError::DeletesGone { from, kept_from: FeedPosition(kept_from) })?;
        let feeds = Arc::clone(&self.feeds);
        Ok(ChangeFeed { follower, feeds, position: from.0, cursors: Vec::new() })
    }

    /// Tells the feeds that nothing will come any more: to be called when the store is given up.
    pub fn end_feeds(&self) {
        self.feeds.end();
    }

    /// Moves the next changes to the end of `out`, until their records have `max_bytes` or all are told. If there was
    /// none, the feed's waker is rung by the next commit.
    ///
    /// # Errors
    /// The disk failed, or the store is closed and all is told. The feed stands behind what is in `out`.
    pub fn read_feed(
        &self,
        feed: &mut ChangeFeed<F>,
        max_bytes: u64,
        out: &mut Vec<Change>,
    ) -> Result<(), FeedError> {
        let before = out.len();
        loop {
            if feed.position < feed.feeds.visible() {
                let result = self.read_visible(feed, max_bytes, out);
                feed.follower.move_to(feed.position);
                result?;
                if out.len() > before {
                    return Ok(());
                }
            }
            feed.follower.ask();
            let is_over = feed.feeds.is_over();
            // Nobody would ring for what became visible before the question.
            if feed.position >= feed.feeds.visible() {
                return if is_over { Err(FeedError::Closed) } else { Ok(()) };
            }
        }
    }

    fn read_visible(
        &self,
        feed: &mut ChangeFeed<F>,
        max_bytes: u64,
        out: &mut Vec<Change>,
    ) -> Result<(), DiskError> {
        // In this order: what is visible stands in a segment that is known, and its bytes are in the file.
        let visible = feed.feeds.visible();
        self.refresh(feed);
        let mut bytes = 0;
        while bytes < max_bytes {
            let mut turns: Vec<(u64, usize)> =
                feed.cursors.iter().enumerate().map(|(i, cursor)| (cursor.next, i)).collect();
            turns.sort_unstable();
            let Some(&(_, turn)) = turns.first().filter(|(next, _)| *next < visible) else { break };
            let until = turns.get(1).map_or(u64::MAX, |(next, _)| *next).min(visible - 1);
            loop {
                match feed.cursors[turn].step(feed.position, until)? {
                    Found::Told(change, len) => {
                        bytes += len;
                        feed.position = feed.position.max(change.next.0);
                        out.push(change);
                        if bytes >= max_bytes {
                            return Ok(());
                        }
                    }
                    Found::Next => break,
                    Found::End => {
                        // It has its turn again when something was added.
                        feed.cursors[turn].next = u64::MAX;
                        break;
                    }
                }
            }
        }
        if bytes < max_bytes {
            // All of it was told; numbers that no record has are passed, too.
            feed.position = feed.position.max(visible);
        }
        Ok(())
    }

    /// Finds the segments that may hold something from the feed's position on.
    fn refresh(&self, feed: &mut ChangeFeed<F>) {
        let segments = self.keydir.segments();
        let position = feed.position;
        let skips_merged = planted!(self, FeedMissesMerged);
        // Two written segments may still grow: the active one, and one whose last commit isn't through.
        let grows = segments.iter().rev().filter(|s| s.origin == Origin::Written && s.last_sequence() > 0);
        let growing: Vec<u32> = grows.take(2).map(|s| s.id).collect();
        feed.cursors.retain_mut(|cursor| {
            let is_growing = growing.contains(&cursor.segment.id);
            if is_growing {
                // What was read beyond the visible end may not have been written yet.
                cursor.view = View::default();
                cursor.last = cursor.segment.last_sequence();
            }
            if cursor.last > cursor.passed {
                cursor.next = cursor.next.min(cursor.passed + 1).max(position);
                return cursor.last >= position;
            }
            cursor.next = u64::MAX;
            is_growing
        });
        for segment in segments {
            let is_known = feed.cursors.iter().any(|cursor| cursor.segment.id == segment.id);
            let is_wanted = segment.last_sequence() >= position && segment.last_sequence() > 0;
            if is_wanted && !is_known && !(skips_merged && segment.origin == Origin::Merged) {
                feed.cursors.push(Cursor::new(segment, position));
            }
        }
    }
}
