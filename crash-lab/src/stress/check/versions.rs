//! The key-value store's judge: K1 to K4.

use std::collections::{BTreeMap, HashMap};

use super::cited;
use crate::stress::clock::{Clock, Order};
use crate::stress::dump_line::{Dump, DumpLine};
use crate::stress::token::{Key, Token, ValueCrc};
use crate::stress::token_file::TokenFile;
use crate::stress::violation::{Found, Violation};

/// What is known of one key.
#[derive(Default)]
struct History<'a> {
    found: Vec<Found>,
    acked_puts: Vec<(usize, &'a Token, &'a Clock, ValueCrc)>,
    /// Only those that no other acknowledged delete covers.
    acked_dels: Vec<(usize, &'a Token, &'a Clock)>,
    /// Clocks of all attempted deletes, without those that another covers.
    dels: Vec<&'a Clock>,
    puts: HashMap<&'a Clock, Vec<ValueCrc>>,
}

/// Adds `clock` unless one that is there covers it, and drops what it covers: a delete covers all that a smaller
/// delete does.
fn add_maximal<T>(to: &mut Vec<T>, new: T, clock: impl for<'b> Fn(&'b T) -> &'b Clock) {
    if to.iter().any(|old| clock(old).covers(clock(&new))) {
        return;
    }
    to.retain(|old| !clock(&new).covers(clock(old)));
    to.push(new);
}

fn histories<'a>(
    dump: &'a Dump,
    acked: &'a TokenFile,
    attempted: Option<&'a TokenFile>,
) -> BTreeMap<&'a Key, History<'a>> {
    let mut keys: BTreeMap<&Key, History> = BTreeMap::new();
    for line in dump.lines() {
        if let DumpLine::Val { key, clock, value } = line {
            keys.entry(key).or_default().found.push(Found { clock: clock.clone(), value: *value });
        }
    }
    for (line, token) in acked.tokens() {
        match token {
            Token::Put { key, value, clock } => {
                keys.entry(key).or_default().acked_puts.push((*line, token, clock, *value));
            }
            Token::Del { key, clock } => {
                add_maximal(&mut keys.entry(key).or_default().acked_dels, (*line, token, clock), |del| del.2);
            }
            Token::App { .. } | Token::Cut { .. } | Token::Expired { .. } => {
                unreachable!("judge() has refused the log's tokens")
            }
        }
    }
    let all = [Some(acked), attempted].into_iter().flatten().flat_map(TokenFile::tokens);
    for (_, token) in all {
        match token {
            Token::Put { key, value, clock } => {
                let crcs = keys.entry(key).or_default().puts.entry(clock).or_default();
                if !crcs.contains(value) {
                    crcs.push(*value);
                }
            }
            Token::Del { key, clock } => {
                add_maximal(&mut keys.entry(key).or_default().dels, clock, |del| del);
            }
            Token::App { .. } | Token::Cut { .. } | Token::Expired { .. } => {
                unreachable!("judge() has refused the log's tokens")
            }
        }
    }
    keys
}

pub(super) fn judge(dump: &Dump, acked: &TokenFile, attempted: Option<&TokenFile>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (key, history) in histories(dump, acked, attempted) {
        for &(line, token, clock, value) in &history.acked_puts {
            let same = history.found.iter().find(|found| found.clock == *clock);
            if let Some(found) = same {
                if found.value != value {
                    let (put, found) = (cited(acked, line, token), found.clone());
                    violations.push(Violation::WrongValue { put, found });
                }
                continue;
            }
            let superseded = history.found.iter().any(|found| found.clock.covers(clock));
            let deleted = history.dels.iter().any(|del| del.covers(clock));
            if !superseded && !deleted {
                let put = cited(acked, line, token);
                violations.push(Violation::PutLost { put, found: history.found.clone() });
            }
        }
        for found in &history.found {
            for &(line, token, clock) in &history.acked_dels {
                if clock.covers(&found.clock) {
                    let (del, found) = (cited(acked, line, token), found.clone());
                    violations.push(Violation::DeletedIsBack { del, found });
                }
            }
            let crcs = history.puts.get(&found.clock).map(Vec::as_slice).unwrap_or_default();
            if attempted.is_some() && !crcs.contains(&found.value) {
                let attempted = crcs.to_vec();
                violations.push(Violation::PhantomVersion {
                    key: key.clone(),
                    found: found.clone(),
                    attempted,
                });
            }
        }
        for (i, a) in history.found.iter().enumerate() {
            for b in &history.found[i + 1..] {
                let (older, newer) = match a.clock.order(&b.clock) {
                    Order::Concurrent => continue,
                    Order::After => (b, a),
                    Order::Before | Order::Same => (a, b),
                };
                let (older, newer) = (older.clone(), newer.clone());
                violations.push(Violation::NotSiblings { key: key.clone(), older, newer });
            }
        }
    }
    violations
}
