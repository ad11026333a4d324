//! The log's judge: L1 to L3, and that nothing is there that was never attempted.
//!
//! What a log lets go of on purpose is excused, and no more: records below a start that was allowed (`cut`), records of a
//! compacted topic that a later one of their key replaces, and tombstones whose time was over (`exp`). `keyed` judges the
//! compacted topics.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use super::cited;
use super::keyed::Keys;
use crate::stress::dump_line::{Dump, DumpLine};
use crate::stress::token::{Partition, RecordId, Token, ValueCrc};
use crate::stress::token_file::TokenFile;
use crate::stress::violation::{EndsFault, FoundRecord, Violation};

/// An append that was acknowledged.
pub(super) struct Acked<'a> {
    pub(super) line: usize,
    pub(super) token: &'a Token,
    pub(super) id: RecordId,
    pub(super) value: ValueCrc,
    pub(super) offset: Option<u64>,
}

/// What is known of one partition.
#[derive(Default)]
pub(super) struct History<'a> {
    /// By offset, as the dump is sorted.
    pub(super) records: Vec<FoundRecord>,
    ends: Vec<Range<u64>>,
    damaged: Vec<Range<u64>>,
    pub(super) acked: Vec<Acked<'a>>,
    pub(super) attempted: HashMap<RecordId, Vec<ValueCrc>>,
    /// It may start as late as this, and was told to start there already.
    start_max: u64,
    start_told: u64,
    /// Tombstones below this may go.
    pub(super) expired: u64,
}

fn histories<'a>(
    dump: &Dump,
    acked: &'a TokenFile,
    attempted: Option<&'a TokenFile>,
) -> BTreeMap<Partition, History<'a>> {
    let mut partitions: BTreeMap<Partition, History> = BTreeMap::new();
    for line in dump.lines() {
        match line {
            DumpLine::Rec { of, offset, id, value } => {
                let record = FoundRecord { offset: *offset, id: *id, value: *value };
                partitions.entry(of.clone()).or_default().records.push(record);
            }
            DumpLine::End { of, start, end } => {
                partitions.entry(of.clone()).or_default().ends.push(*start..*end);
            }
            DumpLine::Bad { .. } => {
                if let Some((of, offsets)) = line.damaged_offsets() {
                    partitions.entry(of).or_default().damaged.push(offsets);
                }
            }
            DumpLine::Val { .. } => {}
        }
    }
    for (line, token) in acked.tokens() {
        match token {
            Token::App { to, id, value, offset } => {
                let (line, id, value, offset) = (*line, *id, *value, *offset);
                let app = Acked { line, token, id, value, offset };
                partitions.entry(to.clone()).or_default().acked.push(app);
            }
            Token::Cut { of, offset } => {
                let told = &mut partitions.entry(of.clone()).or_default().start_told;
                *told = (*told).max(*offset);
            }
            _ => {}
        }
    }
    for (_, token) in [Some(acked), attempted].into_iter().flatten().flat_map(TokenFile::tokens) {
        match token {
            Token::App { to, id, value, .. } => {
                let crcs = partitions.entry(to.clone()).or_default().attempted.entry(*id).or_default();
                if !crcs.contains(value) {
                    crcs.push(*value);
                }
            }
            Token::Cut { of, offset } => {
                let max = &mut partitions.entry(of.clone()).or_default().start_max;
                *max = (*max).max(*offset);
            }
            Token::Expired { of, offset } => {
                let expired = &mut partitions.entry(of.clone()).or_default().expired;
                *expired = (*expired).max(*offset);
            }
            _ => {}
        }
    }
    if attempted.is_none() {
        // Who knows how much more was asked for.
        partitions.values_mut().filter(|of| of.start_told > 0).for_each(|of| of.start_max = u64::MAX);
    }
    partitions
}

pub(super) fn judge(dump: &Dump, acked: &TokenFile, attempted: Option<&TokenFile>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (of, history) in histories(dump, acked, attempted) {
        let keys = Keys::of(&history);
        shape(&of, &history, keys.is_some(), &mut violations);
        acknowledged(acked, &history, keys.as_ref(), &mut violations);
        if let Some(keys) = &keys {
            keys.judge(acked, &mut violations);
        }
        order(&of, &history.records, &mut violations);
        if attempted.is_some() {
            phantoms(&of, &history, &mut violations);
        }
    }
    violations
}

/// L2: the ends are told once, and each offset between them has one record or is reported as damaged. In a compacted topic
/// an offset may have none.
fn shape(of: &Partition, history: &History<'_>, is_compacted: bool, violations: &mut Vec<Violation>) {
    let mut ends_fault = |why| violations.push(Violation::Ends { of: of.clone(), why });
    let ends = match history.ends.as_slice() {
        [] if history.records.is_empty() => return,
        [] => return ends_fault(EndsFault::Missing),
        [ends] => ends.clone(),
        [..] => return ends_fault(EndsFault::Twice),
    };
    if ends.start > ends.end {
        return ends_fault(EndsFault::Reversed);
    }
    if ends.start > history.start_max {
        ends_fault(EndsFault::StartsAt { start: ends.start, allowed: history.start_max });
    }
    if ends.start < history.start_told {
        ends_fault(EndsFault::WentBack { start: ends.start, told: history.start_told });
    }
    let mut next = ends.start;
    let mut gaps = Vec::new();
    let mut last: Option<FoundRecord> = None;
    for record in &history.records {
        if !ends.contains(&record.offset) {
            violations.push(Violation::Ends { of: of.clone(), why: EndsFault::Outside(record.offset) });
            continue;
        }
        if let Some(last) = last.filter(|last| last.offset == record.offset) {
            let ids = [last.id, record.id];
            violations.push(Violation::OffsetTwice { of: of.clone(), offset: record.offset, ids });
        } else if record.offset > next {
            gaps.push(next..record.offset);
        }
        next = record.offset + 1;
        last = Some(*record);
    }
    if is_compacted {
        return;
    }
    if next < ends.end {
        gaps.push(next..ends.end);
    }
    for gap in gaps {
        for rest in without(gap, &history.damaged) {
            violations.push(Violation::Gap { of: of.clone(), from: rest.start, to: rest.end });
        }
    }
}

/// The parts of `gap` that no damaged range explains.
fn without(gap: Range<u64>, damaged: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut rests = vec![gap];
    for bad in damaged {
        rests = rests
            .into_iter()
            .flat_map(|r| [r.start..r.end.min(bad.start), r.start.max(bad.end)..r.end])
            .filter(|r| r.start < r.end)
            .collect();
    }
    rests
}

/// L1 and L3: each acknowledged record is there once, at its offset, with its bytes, below the end; or it lies below the
/// start, or was replaced.
fn acknowledged(
    acked: &TokenFile,
    history: &History<'_>,
    keys: Option<&Keys<'_>>,
    violations: &mut Vec<Violation>,
) {
    let start = history.ends.first().map_or(0, |ends| ends.start);
    let mut by_id: HashMap<RecordId, FoundRecord> = HashMap::new();
    for record in &history.records {
        by_id.entry(record.id).or_insert(*record);
    }
    let mut highest: Option<(u64, usize, &Token)> = None;
    for one in &history.acked {
        let Acked { line, token, id, value, offset } = *one;
        if let Some(offset) = offset
            && highest.is_none_or(|(high, ..)| offset > high)
        {
            highest = Some((offset, line, token));
        }
        let app = || cited(acked, line, token);
        match (by_id.get(&id), offset) {
            // Without an offset nobody knows on which side of the start it was.
            (None, offset) if start > 0 && offset.is_none_or(|offset| offset < start) => {}
            (None, _) if keys.is_some_and(|keys| keys.excuse(one)) => {}
            (None, offset) => {
                let at_offset = offset.and_then(|at| {
                    let i = history.records.binary_search_by_key(&at, |r| r.offset).ok()?;
                    Some(history.records[i])
                });
                violations.push(Violation::RecordLost { app: app(), at_offset });
            }
            (Some(found), Some(offset)) if found.offset != offset => {
                violations.push(Violation::RecordMoved { app: app(), offset: found.offset });
            }
            (Some(found), _) if found.value != value => {
                violations.push(Violation::WrongRecord { app: app(), found: *found });
            }
            (Some(_), _) => {}
        }
    }
    if let (Some((offset, line, token)), [ends]) = (highest, history.ends.as_slice())
        && ends.end <= offset
    {
        violations.push(Violation::EndTooLow { app: cited(acked, line, token), end: ends.end });
    }
}

/// L2: no record twice, those of a thread in the order in which it sent them, runs one after the other.
fn order(of: &Partition, records: &[FoundRecord], violations: &mut Vec<Violation>) {
    let mut seen: HashMap<RecordId, u64> = HashMap::new();
    let mut last_of_thread: HashMap<u32, FoundRecord> = HashMap::new();
    let mut last_of_run: Option<FoundRecord> = None;
    for record in records {
        if let Some(&first) = seen.get(&record.id) {
            let offsets = [first, record.offset];
            violations.push(Violation::RecordTwice { of: of.clone(), id: record.id, offsets });
            continue;
        }
        seen.insert(record.id, record.offset);
        let sent = |r: &FoundRecord| (r.id.run, r.id.seq);
        let earlier = last_of_run.filter(|last| last.id.run > record.id.run);
        let earlier = earlier
            .or(last_of_thread.get(&record.id.thread).copied().filter(|last| sent(last) > sent(record)));
        if let Some(first) = earlier {
            violations.push(Violation::Disorder { of: of.clone(), first, second: *record });
            continue;
        }
        last_of_thread.insert(record.id.thread, *record);
        last_of_run = Some(*record);
    }
}

fn phantoms(of: &Partition, history: &History<'_>, violations: &mut Vec<Violation>) {
    for found in &history.records {
        let crcs = history.attempted.get(&found.id).map(Vec::as_slice).unwrap_or_default();
        if !crcs.contains(&found.value) {
            let attempted = crcs.first().copied();
            violations.push(Violation::PhantomRecord { of: of.clone(), found: *found, attempted });
        }
    }
}
