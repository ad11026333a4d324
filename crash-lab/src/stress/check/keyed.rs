//! The judge of compacted topics: of each key the latest record stays, a tombstone until its time is over, and what was
//! replaced or deleted doesn't come back as the latest.
//!
//! A record that was attempted and not acknowledged may have landed anywhere: it may have replaced what lies in front of
//! it. It is a reason only where the key's later records are there to be seen, or where it is a tombstone that may have
//! gone since.

use std::collections::BTreeMap;

use super::cited;
use super::records::{Acked, History};
use crate::stress::token::ValueCrc;
use crate::stress::token_file::TokenFile;
use crate::stress::violation::{FoundRecord, Violation};

/// What is known of one key.
#[derive(Default)]
struct KeyHistory<'a> {
    /// The key's record with the highest offset that can be read.
    found: Option<FoundRecord>,
    /// The acknowledged record with the highest offset.
    latest: Option<&'a Acked<'a>>,
    /// The highest offset of an acknowledged tombstone whose time was over.
    expired_tombstone: Option<u64>,
    /// A tombstone was attempted that nobody acknowledged, and tombstones may go.
    unknown_tombstone: bool,
}

/// The keys of a partition.
pub(super) struct Keys<'a> {
    keys: BTreeMap<u32, KeyHistory<'a>>,
}

impl<'a> Keys<'a> {
    /// `None`: nothing in this partition has a key.
    pub(super) fn of(history: &'a History<'a>) -> Option<Self> {
        let mut keys: BTreeMap<u32, KeyHistory<'a>> = BTreeMap::new();
        for record in &history.records {
            if let Some(key) = record.id.key {
                // By offset: the last one is the highest.
                keys.entry(key).or_default().found = Some(*record);
            }
        }
        for app in &history.acked {
            let Some(key) = app.id.key else { continue };
            let known = keys.entry(key).or_default();
            if known.latest.is_none_or(|latest| app.offset >= latest.offset) {
                known.latest = Some(app);
            }
            let is_expired = |offset: &u64| app.value == ValueCrc::TOMBSTONE && *offset < history.expired;
            known.expired_tombstone = known.expired_tombstone.max(app.offset.filter(is_expired));
        }
        let acked: std::collections::HashSet<_> = history.acked.iter().map(|app| app.id).collect();
        for (id, values) in &history.attempted {
            let Some(key) = id.key else { continue };
            let may_be_gone = values.contains(&ValueCrc::TOMBSTONE) && history.expired > 0;
            keys.entry(key).or_default().unknown_tombstone |= may_be_gone && !acked.contains(id);
        }
        (!keys.is_empty()).then_some(Self { keys })
    }

    /// Whether an acknowledged record may be gone.
    pub(super) fn excuse(&self, app: &Acked<'_>) -> bool {
        let Some(known) = app.id.key.and_then(|key| self.keys.get(&key)) else { return false };
        let offset = app.offset.unwrap_or(0);
        // Either what replaced it is there, or that was a tombstone, or it is one itself, and its time was over. Whether an
        // older record is back is another question.
        known.found.is_some_and(|found| found.offset > offset)
            || known.expired_tombstone.is_some_and(|tombstone| tombstone >= offset)
            || known.unknown_tombstone
    }

    /// L12: no key reads as what a later record had replaced.
    pub(super) fn judge(&self, acked: &TokenFile, violations: &mut Vec<Violation>) {
        for known in self.keys.values() {
            if let (Some(found), Some(latest)) = (known.found, known.latest)
                && latest.offset.is_some_and(|offset| found.offset < offset)
            {
                let app = cited(acked, latest.line, latest.token);
                violations.push(Violation::ReplacedIsBack { app, found });
            }
        }
    }
}
