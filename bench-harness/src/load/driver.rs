//! [`Driver`]: submits operations, takes answers, checks each, and takes the times.
//!
//! Invariants:
//! * Every answer is judged by the model before it counts.
//! * `due <= start <= done`. An operation that waits for its key or for a full engine keeps its due time.
//! * A read-modify-write that the engine doesn't have is a read and then a write, under one token and one latency.
//!   Its answer counts when the write has ended.
//! * The driver's lateness is the time between the moment it could have handed an operation over and the moment it
//!   did: time spent inside the engine isn't the driver's, waiting for a timer is.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine_env::Wait;
use workloads::{Access, LostUpdates, Model, Op, OpKind, Staleness};

use super::clock::Clock;
use super::key_order::KeyOrder;
use super::lag::LagTrend;
use super::pending::{Begun, InFlight, Pending, is_exclusive};
use super::sightings::Sightings;
use super::tally::{EXAMPLES_MAX, Tally};
use super::{DRAIN_MAX, WAIT_MAX};
use crate::engine::{Answer, Completion, OpError, Session, Submit, Token, Visible};
use crate::measure::Recorder;

/// How often the subscriber is asked when only it is waited for, nanoseconds.
const LOOK_NS: u64 = 1_000_000;

/// Submitted at most between two polls, so that completions don't wait behind a flood.
const ROUND_MAX: usize = 512;

/// How draining ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Operations that were given up.
    pub unanswered: u64,
}

/// One engine under one model, driven by the calling thread.
pub struct Driver<'a, C> {
    clock: &'a C,
    session: Box<dyn Session>,
    model: Model,
    order: KeyOrder<Pending>,
    ready: VecDeque<Pending>,
    slots: Vec<Option<InFlight>>,
    free_slots: Vec<u32>,
    in_flight: usize,
    done: Vec<Completion>,
    /// When the last call into the engine came back, waiting ones apart.
    engine_returned_ns: u64,
    last_done_ns: u64,
    ended: u64,
    live_bytes: Vec<u32>,
    recorder: Option<Recorder>,
    trend: Option<LagTrend>,
    tally: Tally,
    /// Present where the engine has a subscriber.
    sightings: Option<Sightings>,
    visible: Vec<Visible>,
    /// As the engine said last.
    copies_missed: u64,
    /// Whether the engine has said that it has no read-modify-write.
    takes_apart: bool,
    stop: Arc<AtomicBool>,
}

impl<C> std::fmt::Debug for Driver<'_, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("in_flight", &self.in_flight).field("tally", &self.tally).finish()
    }
}

impl<'a, C: Clock> Driver<'a, C> {
    /// A driver of an open session. `stop` ends every loop from outside.
    pub fn new(clock: &'a C, session: Box<dyn Session>, model: Model, stop: Arc<AtomicBool>) -> Self {
        let sightings = session.has_subscriber().then(Sightings::default);
        Self {
            clock,
            session,
            model,
            order: KeyOrder::new(),
            ready: VecDeque::new(),
            slots: Vec::new(),
            free_slots: Vec::new(),
            in_flight: 0,
            done: Vec::new(),
            engine_returned_ns: 0,
            last_done_ns: 0,
            ended: 0,
            live_bytes: Vec::new(),
            recorder: None,
            trend: None,
            tally: Tally::default(),
            sightings,
            visible: Vec::new(),
            copies_missed: 0,
            takes_apart: false,
            stop,
        }
    }

    /// From now on, latencies go here.
    pub fn record_to(&mut self, recorder: Recorder) {
        self.recorder = Some(recorder);
    }

    /// Tells the engine that the measured phase begins.
    pub fn measured_from_now(&mut self) {
        self.session.measured_from_now();
    }

    /// Takes the recorder out.
    pub fn take_recorder(&mut self) -> Option<Recorder> {
        self.recorder.take()
    }

    /// The tally since the last time it was taken.
    pub fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// Bytes of keys and values that are alive, by the acknowledged writes and deletes.
    #[must_use]
    pub fn live_bytes(&self) -> u64 {
        self.live_bytes.iter().map(|b| u64::from(*b)).sum()
    }

    /// The engine.
    #[must_use]
    pub fn session(&self) -> &dyn Session {
        &*self.session
    }

    /// How far behind the answers were since the driver was made.
    #[must_use]
    pub fn staleness(&self) -> Staleness {
        self.model.staleness()
    }

    /// What became of the increments; `None` if there were none. Exact after reads of all their keys.
    #[must_use]
    pub fn lost_updates(&self) -> Option<LostUpdates> {
        self.model.lost_updates()
    }

    /// Gives the engine back.
    #[must_use]
    pub fn into_session(self) -> Box<dyn Session> {
        self.session
    }

    pub(super) fn clock(&self) -> &'a C {
        self.clock
    }

    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub(super) fn watch(&mut self, trend: Option<LagTrend>) {
        self.trend = trend;
    }

    pub(super) fn lag_grows(&self) -> bool {
        self.trend.as_ref().is_some_and(LagTrend::grows)
    }

    /// Operations offered and not ended.
    pub(super) fn outstanding(&self) -> usize {
        self.in_flight + self.ready.len() + self.order.held()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(super) fn ended(&self) -> u64 {
        self.ended
    }

    /// When the last call into the engine came back.
    pub(super) fn engine_returned_ns(&self) -> u64 {
        self.engine_returned_ns
    }

    pub(super) fn last_done_ns(&self) -> u64 {
        self.last_done_ns
    }

    /// Takes an operation that is due, and hands over whatever can be.
    pub(super) fn offer(&mut self, op: Op, due_ns: u64) {
        let (key, exclusive) = (op.key_index, is_exclusive(&op));
        let straight = self.ready.is_empty();
        let mut pending = Pending { op, due_ns, straight, part: None };
        if self.takes_apart && pending.op.access() == Access::Modify {
            pending.take_apart();
        }
        if !self.order.enter(key, exclusive) {
            self.order.hold(key, exclusive, pending);
            return;
        }
        if !straight {
            self.ready.push_back(pending);
        } else if !self.hand_over(pending) {
            return;
        }
        self.pump();
    }

    /// Hands over until nothing is ready or the engine is full.
    pub(super) fn pump(&mut self) {
        for _ in 0..ROUND_MAX {
            let Some(pending) = self.ready.pop_front() else { return };
            if !self.hand_over(pending) {
                return;
            }
        }
    }

    /// Hands one over; false if the engine is full, and then it is the first that is ready.
    #[inline]
    fn hand_over(&mut self, mut pending: Pending) -> bool {
        if self.model.promise().allows_stale() {
            self.model.advance_to(self.clock.now_ns());
        }
        let begun = self.begin(&pending);
        let slot = match self.free_slots.last() {
            Some(slot) => *slot,
            None => {
                self.slots.push(None);
                let slot = u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 operations in flight");
                self.free_slots.push(slot);
                slot
            }
        };
        let start_ns = self.clock.now_ns();
        let submitted = self.session.submit(Token(u64::from(slot)), pending.asked());
        let now_ns = self.clock.now_ns();
        if std::mem::take(&mut pending.straight)
            && let Some(recorder) = &mut self.recorder
        {
            recorder.record_lateness(start_ns - pending.due_ns.max(self.engine_returned_ns).min(start_ns));
        }
        self.engine_returned_ns = now_ns;
        if let Some(sightings) = &mut self.sightings {
            let asked = pending.asked();
            // What an increment writes is made of what it reads: the engine alone knows it.
            if asked.kind == OpKind::IncrementProfile {
                sightings.engine_writes();
            } else if let (Some(value), Submit::Accepted | Submit::Answered(_)) = (&asked.value, &submitted) {
                sightings.expect(value.fingerprint(), asked.key_index, pending.due_ns, start_ns);
            }
        }
        let start_ns = match &mut pending.part {
            Some(part) => *part.start_ns.get_or_insert(start_ns),
            None => start_ns,
        };
        match submitted {
            Submit::Accepted => {
                self.free_slots.pop();
                self.slots[slot as usize] = Some(InFlight { pending, begun, start_ns });
                self.in_flight += 1;
            }
            Submit::Answered(result) => self.end(pending, begun, start_ns, now_ns, result),
            Submit::Unsupported if pending.asked().access() == Access::Modify => {
                self.withdraw(begun);
                self.takes_apart = true;
                pending.take_apart();
                self.ready.push_front(pending);
            }
            Submit::Full => {
                self.withdraw(begun);
                self.ready.push_front(pending);
                return false;
            }
            Submit::Unsupported => {
                self.withdraw(begun);
                self.tally.of(pending.op.kind).unsupported += 1;
                self.leave(&pending.op);
            }
        }
        true
    }

    /// Tells the model what is about to be asked.
    fn begin(&mut self, pending: &Pending) -> Begun {
        let asked = pending.asked();
        // The write of an increment that was taken apart is still that increment.
        let increments = pending.op.kind == OpKind::IncrementProfile && asked.access().changes();
        match asked.access() {
            _ if increments => Begun::Increment(self.model.increment_begins(asked)),
            Access::Read => Begun::Read(self.model.read_begins(asked.key_index)),
            Access::Write | Access::Delete | Access::Modify => Begun::Write(self.model.write_begins(asked)),
            Access::Scan => Begun::Scan,
        }
    }

    /// Takes completions; waits for one until `until_ns` at most, which is the driver's own waiting.
    pub(super) fn reap(&mut self, until_ns: Option<u64>) {
        self.session.poll(Wait::No, &mut self.done);
        let mut now_ns = self.clock.now_ns();
        self.engine_returned_ns = now_ns;
        if self.done.is_empty()
            && let Some(until_ns) = until_ns
            && until_ns > now_ns
        {
            let wait = Duration::from_nanos(until_ns - now_ns).min(WAIT_MAX);
            self.session.poll(Wait::AtMost(wait), &mut self.done);
            now_ns = self.clock.now_ns();
        }
        let mut done = std::mem::take(&mut self.done);
        for completion in done.drain(..) {
            let Token(token) = completion.token;
            let slot = self.slots.get_mut(token as usize).and_then(Option::take);
            let InFlight { pending, begun, start_ns } =
                slot.unwrap_or_else(|| panic!("the engine completed token {token}, which isn't in flight"));
            self.in_flight -= 1;
            self.free_slots.push(u32::try_from(token).expect("tokens are slot numbers"));
            self.end(pending, begun, start_ns, now_ns, completion.result);
        }
        self.done = done;
        let missed = self.session.copies_missed();
        if missed > self.copies_missed {
            if let Some(recorder) = &mut self.recorder {
                recorder.record_copies_missed(missed - self.copies_missed, now_ns);
            }
            self.copies_missed = missed;
        }
        self.look();
        self.pump();
    }

    /// Takes what the engine's subscriber saw.
    fn look(&mut self) {
        let Some(sightings) = &mut self.sightings else { return };
        self.session.visible(&mut self.visible);
        for Visible { write, at_ns } in self.visible.drain(..) {
            let Some(sighted) = sightings.seen(write, &mut self.tally.sightings) else { continue };
            if let Some(recorder) = &mut self.recorder {
                recorder.record_visible(sighted.due_ns, sighted.start_ns, self.clock.at_monotonic(at_ns));
            }
        }
    }

    /// Acknowledged writes that the engine's subscriber hasn't seen.
    fn unseen(&self) -> usize {
        self.sightings.as_ref().map_or(0, Sightings::missing)
    }

    /// Waits for everything that was offered, and for the subscriber to see it.
    pub fn drain(&mut self) -> Drained {
        let give_up_ns = self.clock.now_ns() + DRAIN_MAX.as_nanos() as u64;
        while self.outstanding() > 0 || self.unseen() > 0 {
            self.pump();
            let now_ns = self.clock.now_ns();
            if now_ns >= give_up_ns {
                break;
            }
            // Nothing wakes a poll when the subscriber sees something: its moment is stamped, so looking a little later
            // costs no precision.
            let until_ns = if self.outstanding() > 0 { give_up_ns } else { now_ns + LOOK_NS };
            self.reap(Some(until_ns));
            if self.outstanding() == 0 && self.unseen() > 0 {
                // From now: the last answer may have come long before the end of a wait for answers.
                self.clock.sleep_until(self.clock.now_ns() + LOOK_NS);
            }
        }
        if let Some(sightings) = &mut self.sightings {
            sightings.give_up(&mut self.tally.sightings);
        }
        let unanswered = self.outstanding() as u64;
        if unanswered > 0 {
            self.give_up();
        }
        Drained { unanswered }
    }

    /// Ends what was never answered as errors. The engine may still answer later; this driver must not go on.
    fn give_up(&mut self) {
        let unanswered: Vec<Op> = self
            .slots
            .iter_mut()
            .filter_map(Option::take)
            .map(|f| f.pending.op)
            .chain(self.ready.drain(..).map(|p| p.op))
            .collect();
        for op in unanswered {
            self.tally.of(op.kind).errors += 1;
            if self.tally.error_examples.len() < EXAMPLES_MAX {
                let text = format!("{} of key {} was not answered within {DRAIN_MAX:?}", op.kind, op.key);
                self.tally.error_examples.push(text);
            }
        }
        self.in_flight = 0;
    }

    /// The operation was never attempted.
    fn withdraw(&mut self, begun: Begun) {
        match begun {
            Begun::Write(handle) => self.model.write_withdrawn(handle),
            Begun::Read(handle) => self.model.read_fails(handle),
            Begun::Increment(handle) => self.model.increment_withdrawn(handle),
            Begun::Scan => {}
        }
    }

    fn end(
        &mut self,
        mut pending: Pending,
        begun: Begun,
        start_ns: u64,
        done_ns: u64,
        result: Result<Answer, OpError>,
    ) {
        self.last_done_ns = done_ns;
        self.model.advance_to(done_ns);
        let wrong = self.judge(&pending, begun, &result);
        if let (Some(part), None, Ok(Answer::Value(value))) = (&mut pending.part, &wrong, &result) {
            // The read that a write follows. It was judged, so what was read is whole.
            match pending.op.modified(value.as_deref()) {
                Ok(value) => {
                    part.op =
                        Op::with_value(OpKind::Put, pending.op.key_index, pending.op.key.clone(), value);
                    self.ready.push_back(pending);
                    return;
                }
                Err(fault) => {
                    self.count(pending, start_ns, done_ns, Err(OpError::engine(fault)), wrong);
                    return;
                }
            }
        }
        self.count(pending, start_ns, done_ns, result, wrong);
    }

    /// Tells the model how what was asked ended; gives what is wrong with the answer.
    fn judge(&mut self, pending: &Pending, begun: Begun, result: &Result<Answer, OpError>) -> Option<String> {
        let op = &pending.op;
        let strange = || {
            let answer = result.as_ref().ok()?;
            Some(format!("a {} was answered with {answer:?}", op.kind))
        };
        match (begun, result) {
            (Begun::Write(handle), Ok(Answer::Written | Answer::Deleted(_))) => {
                self.model.write_ends(handle, true);
                self.count_acknowledged(op);
                None
            }
            (Begun::Write(handle), Err(OpError::Refused { .. })) => {
                self.model.write_withdrawn(handle);
                None
            }
            (Begun::Write(handle), _) => {
                self.model.write_ends(handle, false);
                strange()
            }
            (Begun::Increment(handle), Ok(Answer::Written)) => {
                self.model.increment_ends(handle, true);
                self.count_acknowledged(op);
                None
            }
            (Begun::Increment(handle), Err(OpError::Refused { .. })) => {
                self.model.increment_withdrawn(handle);
                None
            }
            (Begun::Increment(handle), _) => {
                self.model.increment_ends(handle, false);
                strange()
            }
            (Begun::Read(handle), Ok(Answer::Value(value))) => {
                self.tally.verified += 1;
                self.tally.user_bytes_read += value.as_ref().map_or(0, Vec::len) as u64;
                self.model.read_ends(handle, value.as_deref()).err().map(|wrong| wrong.to_string())
            }
            (Begun::Read(handle), _) => {
                self.model.read_fails(handle);
                strange()
            }
            (Begun::Scan, Ok(Answer::Rows(rows))) => {
                self.tally.verified += 1;
                self.tally.user_bytes_read += rows.iter().map(|(_, value)| value.len() as u64).sum::<u64>();
                self.model.judge_rows(op, rows).err().map(|wrong| wrong.to_string())
            }
            (Begun::Scan, _) => strange(),
        }
    }

    /// Counts an operation that has ended, and lets its key go.
    fn count(
        &mut self,
        pending: Pending,
        start_ns: u64,
        done_ns: u64,
        result: Result<Answer, OpError>,
        wrong: Option<String>,
    ) {
        let Pending { op, due_ns, .. } = pending;
        let class = self.tally.of(op.kind);
        match &result {
            Ok(_) => class.answered += 1,
            Err(error) => {
                class.errors += 1;
                if let (Some(sightings), Some(value)) = (&mut self.sightings, &op.value) {
                    sightings.failed(value.fingerprint());
                }
                if let Some(recorder) = &mut self.recorder {
                    recorder.record_error(op.kind, done_ns);
                }
                if self.tally.error_examples.len() < EXAMPLES_MAX {
                    self.tally.error_examples.push(format!("{} of key {}: {error}", op.kind, op.key));
                }
            }
        }
        if let Some(wrong) = wrong {
            self.tally.of(op.kind).wrong += 1;
            if self.tally.wrong_examples.len() < EXAMPLES_MAX {
                self.tally.wrong_examples.push(format!("{} of key {}: {wrong}", op.kind, op.key));
            }
        }
        if result.is_ok() {
            if let Some(recorder) = &mut self.recorder {
                recorder.record(op.kind, due_ns, start_ns, done_ns);
            }
            if let Some(trend) = &mut self.trend {
                trend.take(op.access().changes(), due_ns, done_ns.saturating_sub(due_ns));
            }
        }
        self.leave(&op);
    }

    fn count_acknowledged(&mut self, op: &Op) {
        let index = op.key_index as usize;
        if index >= self.live_bytes.len() {
            self.live_bytes.resize((index + 1).next_power_of_two(), 0);
        }
        let bytes = op.value.as_ref().map_or(0, |value| op.key.len() + value.as_bytes().len());
        self.live_bytes[index] = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.tally.user_bytes_written += if bytes == 0 { op.key.len() } else { bytes } as u64;
    }

    fn leave(&mut self, op: &Op) {
        self.ended += 1;
        self.order.leave(op.key_index, is_exclusive(op), &mut self.ready);
    }
}
