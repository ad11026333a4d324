//! [`run`]: a load on a cluster, from the preload to the figures. Reads are judged: a value that nobody wrote to the key, or
//! none where nobody deleted it, ends the run without figures.

use std::collections::BTreeMap;
use std::ops::Range;

use super::figures::{Figures, Latencies, NodeFigures};
use super::outage::{Holds, Outage, Outages, Told};
use super::world::{Answer, Asker, TimedWorld};
use crate::cluster::process::Process;

/// Operations of the preload under way at once.
const PRELOAD_AT_ONCE: usize = 64;
/// A preload that takes longer has come to a stand.
const PRELOAD_NS_MAX: u64 = 3_600_000_000_000;
/// How long after the last operation was due there is still an answer waited for: more than every timeout.
const PATIENCE_NS: u64 = 20_000_000_000;
/// Answers may be so late at the window's end without being a backlog.
const GRACE_NS: u64 = 100_000_000;

/// What is done to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Its value is asked for.
    Read,
    /// It gets this value.
    Write(Vec<u8>),
    /// It is removed.
    Delete,
}

/// An operation and when it is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Nanoseconds since the load began, whatever was answered before; never falling.
    pub due_ns: u64,
    /// The key.
    pub key: Vec<u8>,
    /// What is done to it.
    pub what: What,
}

/// What a cluster is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// Keys and values that are there before.
    pub preload: Vec<(Vec<u8>, Vec<u8>)>,
    /// The operations, in the order in which they are due.
    pub asked: Vec<Asked>,
    /// What counts: operations that are due then, and what nodes do meanwhile. Nanoseconds since the load began.
    pub window_ns: Range<u64>,
    /// Which nodes die meanwhile, and return.
    pub outages: Vec<Outage>,
}

/// What a read may give.
#[derive(Debug, Default)]
struct Written {
    checksums: Vec<u32>,
    /// It was deleted, or wasn't there before the load.
    may_miss: bool,
}

/// Drives the world through a load.
///
/// # Errors
/// A wrong answer, a preload that doesn't end, or a node that doesn't come back.
pub(in crate::cluster) fn run<P: Process + Holds<C::Receipt>, C: Asker>(
    world: &mut TimedWorld<P, C>,
    load: &Load,
) -> Result<Figures, String> {
    let mut judge = BTreeMap::new();
    preload(world, load, &mut judge)?;
    let start_ns = world.now_ns;
    let window = start_ns + load.window_ns.start..start_ns + load.window_ns.end;
    world.observe(&window);
    let mut outages = Outages::new(&load.outages, start_ns, world.nodes())?;
    let mut progress = Progress::of(load, C::IS_FOLLOWED);
    for (token, asked) in load.asked.iter().enumerate() {
        pass_until(start_ns + asked.due_ns, world, &mut outages, &mut progress, &judge)?;
        match &asked.what {
            What::Read => {}
            What::Write(value) => {
                let is_new = !judge.contains_key(asked.key.as_slice());
                written(&mut judge, &asked.key, value);
                judge.entry(asked.key.as_slice()).or_default().may_miss |= is_new;
            }
            What::Delete => judge.entry(asked.key.as_slice()).or_default().may_miss = true,
        }
        world.begins(token as u64, &asked.key, &asked.what);
    }
    pass_until(window.end, world, &mut outages, &mut progress, &judge)?;
    let until_ns = world.now_ns + PATIENCE_NS;
    while (progress.is_open() || outages.is_open()) && world.now_ns < until_ns {
        match outages.next_ns().filter(|next_ns| *next_ns < until_ns) {
            Some(next_ns) => pass_until(next_ns, world, &mut outages, &mut progress, &judge)?,
            None if world.step(until_ns) => progress.take(world, &mut outages, &judge)?,
            None => break,
        }
    }
    outages.close(world);
    let told = progress.told(start_ns, world);
    let outages = outages.figures(world.now_ns, told.iter().copied());
    Ok(Figures { outages, ..progress.figures(start_ns, world.figures()) })
}

/// Lets time pass; nodes die and return.
fn pass_until<P: Process + Holds<C::Receipt>, C: Asker>(
    until_ns: u64,
    world: &mut TimedWorld<P, C>,
    outages: &mut Outages<C::Receipt>,
    progress: &mut Progress<'_>,
    judge: &BTreeMap<&[u8], Written>,
) -> Result<(), String> {
    while let Some(next_ns) = outages.next_ns().filter(|next_ns| *next_ns <= until_ns) {
        world.pass_until(next_ns);
        // Who is away decides what it misses.
        progress.take(world, outages, judge)?;
        outages.happen(world)?;
    }
    world.pass_until(until_ns);
    progress.take(world, outages, judge)
}

fn written<'a>(judge: &mut BTreeMap<&'a [u8], Written>, key: &'a [u8], value: &[u8]) {
    judge.entry(key).or_default().checksums.push(crc32fast::hash(value));
}

fn preload<'a, P: Process + Holds<C::Receipt>, C: Asker>(
    world: &mut TimedWorld<P, C>,
    load: &'a Load,
    judge: &mut BTreeMap<&'a [u8], Written>,
) -> Result<(), String> {
    let (mut begun, mut ended) = (0, 0);
    while ended < load.preload.len() {
        while begun < load.preload.len() && begun - ended < PRELOAD_AT_ONCE {
            let (key, value) = &load.preload[begun];
            written(judge, key, value);
            // Named behind the load's own operations.
            let token = (load.asked.len() + begun) as u64;
            world.begins(token, key, &What::Write(value.clone()));
            begun += 1;
        }
        if !world.step(PRELOAD_NS_MAX) {
            return Err(format!("the preload doesn't end: {ended} of {} records", load.preload.len()));
        }
        for (_, (token, result)) in world.ended.drain(..) {
            let record = token as usize - load.asked.len();
            result.map_err(|why| format!("record {record} of the preload wasn't written: {why}"))?;
            ended += 1;
        }
    }
    Ok(())
}

fn judged(judge: &BTreeMap<&[u8], Written>, asked: &Asked, found: Option<&[u8]>) -> Result<(), String> {
    let known = judge.get(asked.key.as_slice());
    let is_right = match (found, known) {
        (None, known) => known.is_none_or(|known| known.may_miss),
        (Some(value), Some(known)) => known.checksums.contains(&crc32fast::hash(value)),
        (Some(_), None) => false,
    };
    match is_right {
        true => Ok(()),
        false => Err(format!(
            "a read of key {} gave {}",
            asked.key.escape_ascii(),
            if found.is_some() { "what nobody wrote to it" } else { "nothing, and nobody deleted it" }
        )),
    }
}

/// What came of each operation of a load, and when.
struct Progress<'a> {
    load: &'a Load,
    is_followed: bool,
    /// When it ended, and whether well.
    done: Vec<Option<(u64, bool)>>,
    /// When it was seen.
    seen: Vec<Option<u64>>,
    /// Operations without an end.
    open: usize,
    /// Acknowledged ones that should still be seen.
    unseen: usize,
    first_failure: Option<String>,
}

impl<'a> Progress<'a> {
    fn of(load: &'a Load, is_followed: bool) -> Self {
        let open = load.asked.len();
        Self {
            load,
            is_followed,
            done: vec![None; open],
            seen: vec![None; open],
            open,
            unseen: 0,
            first_failure: None,
        }
    }

    fn is_open(&self) -> bool {
        self.open > 0 || (self.is_followed && self.unseen > 0)
    }

    /// Judges what has ended and what was seen, and notes when.
    fn take<P: Process + Holds<C::Receipt>, C: Asker>(
        &mut self,
        world: &mut TimedWorld<P, C>,
        outages: &mut Outages<C::Receipt>,
        judge: &BTreeMap<&[u8], Written>,
    ) -> Result<(), String> {
        for (at_ns, (token, result)) in std::mem::take(&mut world.ended) {
            let token = token as usize;
            let asked = &self.load.asked[token];
            match &result {
                Ok(Answer::Found(found)) => judged(judge, asked, found.as_deref())?,
                Ok(Answer::Done(receipt)) => {
                    self.unseen += usize::from(self.seen[token].is_none());
                    match receipt {
                        _ if !outages.is_open() => {}
                        Some(receipt) => {
                            let serves = |node| world.serving(node).is_some();
                            outages.acknowledged((&asked.key, receipt), &world.replicas(&asked.key), serves);
                        }
                        None => outages.deleted(&asked.key),
                    }
                }
                Err(why) if self.load.window_ns.contains(&asked.due_ns) => {
                    self.first_failure.get_or_insert_with(|| {
                        format!("{:.3} s after the load began: {why}", asked.due_ns as f64 / 1e9)
                    });
                }
                Err(_) => {}
            }
            if self.done[token].replace((at_ns, result.is_ok())).is_some() {
                return Err(format!("operation {token} ended twice"));
            }
            self.open -= 1;
        }
        for (at_ns, token) in world.seen.drain(..) {
            let token = token as usize;
            // What was there before the load is seen, too.
            let Some(seen) = self.seen.get_mut(token) else { continue };
            if seen.replace(at_ns).is_some() {
                return Err(format!("what operation {token} wrote was seen twice"));
            }
            if let Some((_, true)) = self.done[token] {
                self.unseen -= 1;
            }
        }
        Ok(())
    }

    /// What became of each operation; nothing where no node died.
    fn told<P: Process + Holds<C::Receipt>, C: Asker>(
        &self,
        start_ns: u64,
        world: &TimedWorld<P, C>,
    ) -> Vec<Told> {
        if self.load.outages.is_empty() {
            return Vec::new();
        }
        let told = |(asked, done): (&Asked, &Option<(u64, bool)>)| Told {
            due_ns: start_ns + asked.due_ns,
            changes_home: match asked.what {
                What::Read => None,
                What::Write(_) | What::Delete => world.replicas(&asked.key).first().copied(),
            },
            answered_ns: done.and_then(|(at_ns, is_well)| is_well.then_some(at_ns)),
        };
        self.load.asked.iter().zip(&self.done).map(told).collect()
    }

    fn figures(&self, start_ns: u64, nodes: Vec<NodeFigures>) -> Figures {
        let Load { asked, window_ns, .. } = self.load;
        let (mut reads, mut writes, mut visible) = (Vec::new(), Vec::new(), Vec::new());
        let (mut due, mut failed, mut in_time) = (0, 0, 0);
        for (one, (done, seen)) in asked.iter().zip(self.done.iter().zip(&self.seen)) {
            if !window_ns.contains(&one.due_ns) {
                continue;
            }
            let due_ns = start_ns + one.due_ns;
            due += 1;
            visible.extend(seen.map(|at_ns| at_ns - due_ns));
            let Some((at_ns, true)) = *done else {
                failed += 1;
                continue;
            };
            in_time += u64::from(at_ns <= start_ns + window_ns.end + GRACE_NS);
            match one.what {
                What::Read => reads.push(at_ns - due_ns),
                What::Write(_) | What::Delete => writes.push(at_ns - due_ns),
            }
        }
        let saturated = (in_time as f64) < 0.99 * due as f64;
        let kept = |latencies| Latencies::new(if saturated { Vec::new() } else { latencies });
        Figures {
            asked: due,
            answered: due - failed,
            failed,
            first_failure: self.first_failure.clone().filter(|_| failed > 0),
            saturated,
            reads: kept(reads),
            writes: kept(writes),
            visible: self.is_followed.then(|| kept(visible)),
            nodes,
            outages: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_may_give_what_was_written_to_its_key_and_nothing_else() {
        let asked = |key: &[u8]| Asked { due_ns: 0, key: key.to_vec(), what: What::Read };
        let mut judge = BTreeMap::new();
        written(&mut judge, b"a", b"old");
        written(&mut judge, b"a", b"new");
        written(&mut judge, b"b", b"other");
        assert_eq!(judged(&judge, &asked(b"a"), Some(b"old")), Ok(()), "it may have begun before");
        assert!(judged(&judge, &asked(b"a"), Some(b"other")).is_err(), "that is another key's");
        assert!(judged(&judge, &asked(b"a"), None).is_err());
        judge.get_mut(b"a".as_slice()).expect("it is there").may_miss = true;
        assert_eq!(judged(&judge, &asked(b"a"), None), Ok(()));
        assert_eq!(judged(&judge, &asked(b"c"), None), Ok(()));
        assert!(judged(&judge, &asked(b"c"), Some(b"new")).is_err());
    }
}
