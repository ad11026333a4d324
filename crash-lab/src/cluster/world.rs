//! [`World`]: the machines, the clients and the network between them, and the queue of what happens next.
//!
//! Invariants:
//! * Everything follows from the seed: no clock, no thread, no hash order. The same seed does the same, byte for byte.
//! * A process that has no power says nothing: what it would have sent after the cut is never sent.
//! * Whatever goes wrong ends by itself, so a schedule can be shortened by leaving any step out.

use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use engine_env::rng::{Rng, Seed};
use engine_env::sim::{Crash, FaultCounts, FaultRates, Link, SimHome, SimNet};
use engine_env::{Arrival, Peer};
use rand::{Rng as _, RngExt as _};

use super::process::{Client, Machine, Process, State};
use super::trouble::{Trouble, Weather};
use crate::simulated::plan::Plan;
use crate::simulated::summary::{FaultClass, Summary};

const MS: u64 = 1_000_000;
/// Clients' names on the network count from here.
const FIRST_CLIENT: u32 = 1_000;
/// A world that never comes to rest has a bug, or its engine has one.
const EVENTS_MAX: u64 = 3_000_000;
/// Timers aren't looked at more often.
const TIMER_STEP_NS: u64 = 100_000;
/// A slow machine's disk and links take so many times as long.
const SLOWNESS: u64 = 20;
const JUMP_MS: i64 = 3_600_000;

/// See the module.
pub(super) struct World<'a, P: Process, C: Client> {
    plan: &'a Plan<'a>,
    seed: Seed,
    rng: Rng,
    pub(super) now_ns: u64,
    net: SimNet,
    weather: Weather,
    pub(super) config: P::Config,
    pub(super) machines: Vec<Machine<P>>,
    pub(super) clients: Vec<C>,
    pub(super) ledger: C::Ledger,
    heal_at_ns: Option<u64>,
    /// Whether power may fail in a recovery.
    cuts_recoveries: bool,
    /// Disks that were lost.
    gone: Vec<SimHome>,
    events: u64,
    net_lines: usize,
    pub(super) summary: Summary,
    happened: DefaultHasher,
}

/// What happens next.
#[derive(Debug, Clone, Copy)]
enum Event {
    Network,
    Heal,
    Timer(usize),
    Commit(usize),
    Upkeep(usize),
    Return(usize),
    Sound(usize),
    Client(usize),
}

impl<'a, P: Process, C: Client> World<'a, P, C> {
    /// Machines with empty folders, all started, and nothing said yet.
    pub(super) fn new(
        plan: &'a Plan<'a>,
        seed: Seed,
        machines: u16,
        config: P::Config,
        clients: Vec<C>,
        ledger: C::Ledger,
    ) -> Result<Self, String> {
        let mut world = Self {
            plan,
            seed,
            rng: seed.derive("world", 0).rng(),
            now_ns: 0,
            net: SimNet::new(seed.derive("world's network", 0)),
            weather: Weather::calm(),
            machines: Vec::new(),
            clients,
            ledger,
            heal_at_ns: None,
            cuts_recoveries: false,
            gone: Vec::new(),
            events: 0,
            net_lines: 0,
            summary: Summary::default(),
            happened: DefaultHasher::new(),
            config,
        };
        plan.begins_life(1);
        if plan.records() {
            world.net.record_trace();
        }
        for number in 0..machines {
            let folders = world.new_folders(number);
            world.machines.push(Machine::new(number, folders));
            world.returns(usize::from(number))?;
        }
        for client in 0..world.clients.len() {
            world.net.join(client_peer(client)).map_err(|e| e.to_string())?;
        }
        Ok(world)
    }

    /// What the network and the disks are like from now on.
    pub(super) fn turns(&mut self, weather: Weather) {
        self.weather = weather;
        self.net.set_links(weather.link);
    }

    /// From now on the power may fail while a machine recovers.
    pub(super) fn cut_recoveries(&mut self) {
        self.cuts_recoveries = true;
    }

    fn new_folders(&self, number: u16) -> Vec<SimHome> {
        let lives = self.gone.len() as u64;
        let folder = |i| SimHome::new(self.seed.derive("disk", (u64::from(number) << 32) | (lives << 8) | i));
        let folders: Vec<_> = (0..P::folders(&self.config) as u64).map(folder).collect();
        if self.plan.records() {
            folders.iter().for_each(SimHome::record_trace);
        }
        folders
    }

    /// Puts what happens into the trace.
    pub(super) fn note(&mut self, line: fmt::Arguments<'_>) {
        let us = self.now_ns / 1_000;
        let text = format!("> {}.{:03} ms {line}", us / 1_000, us % 1_000);
        text.hash(&mut self.happened);
        if self.plan.records() {
            self.take_lines();
            self.plan.tell(text);
        }
    }

    /// Takes over what network and disks have written into traces of their own.
    fn take_lines(&mut self) {
        for line in &self.net.trace()[self.net_lines..] {
            self.plan.tell(format!("network {line}"));
        }
        self.net_lines = self.net.trace().len();
        for machine in &mut self.machines {
            for (i, folder) in machine.folders.iter().enumerate() {
                let lines = folder.trace_from(machine.lines[i]);
                machine.lines[i] += lines.len();
                lines.into_iter().for_each(|line| self.plan.tell(format!("disk {} {line}", machine.peer.0)));
            }
        }
    }

    // Time.

    /// Lets so much time pass, event by event.
    pub(super) fn pass(&mut self, for_ns: u64) -> Result<(), String> {
        let until_ns = self.now_ns.saturating_add(for_ns);
        while let Some((due_ns, event)) = self.next_event().filter(|(due_ns, _)| *due_ns <= until_ns) {
            self.now_ns = self.now_ns.max(due_ns);
            self.events += 1;
            if self.events > EVENTS_MAX {
                return Err(format!("the cluster doesn't come to rest: {EVENTS_MAX} events"));
            }
            self.happens(event)?;
            if self.plan.records() {
                self.take_lines();
            }
        }
        self.now_ns = until_ns;
        Ok(())
    }

    /// The earliest event; of equal ones, the first of this list.
    fn next_event(&mut self) -> Option<(u64, Event)> {
        let mut next: Option<(u64, Event)> = None;
        let mut consider = |due_ns: Option<u64>, event| {
            if let Some(due_ns) = due_ns
                && next.is_none_or(|(first_ns, _)| due_ns < first_ns)
            {
                next = Some((due_ns, event));
            }
        };
        consider(self.net.next_due(), Event::Network);
        consider(self.heal_at_ns, Event::Heal);
        for (i, machine) in self.machines.iter().enumerate() {
            consider(machine.back_at_ns, Event::Return(i));
            consider(machine.sound_at_ns, Event::Sound(i));
            if let Some(process) = machine.running() {
                consider(machine.commit_due_ns, Event::Commit(i));
                consider(Some(machine.upkeep_due_ns), Event::Upkeep(i));
                consider(process.poll_timeout().map(|at| at.max(machine.timer_floor_ns)), Event::Timer(i));
            }
        }
        for (i, client) in self.clients.iter_mut().enumerate() {
            consider(client.poll_timeout(), Event::Client(i));
        }
        next
    }

    fn happens(&mut self, event: Event) -> Result<(), String> {
        let now_ns = self.now_ns;
        match event {
            Event::Network => {
                for (to, arrival) in self.net.deliver(now_ns) {
                    match to.0.checked_sub(FIRST_CLIENT) {
                        None => self.arrives(to.0 as usize, arrival)?,
                        Some(client) => {
                            self.clients[client as usize].handle(now_ns, arrival);
                            self.pump_client(client as usize)?;
                        }
                    }
                }
                Ok(())
            }
            Event::Heal => {
                self.heal_at_ns = None;
                self.net.heal();
                Ok(())
            }
            Event::Client(client) => {
                self.clients[client].handle_timeout(now_ns);
                self.pump_client(client)
            }
            Event::Timer(i) => {
                let machine = &mut self.machines[i];
                machine.timer_floor_ns = now_ns + TIMER_STEP_NS;
                if let State::Running(process) = &mut machine.state {
                    process.handle_timeout(now_ns);
                }
                self.pump(i)
            }
            Event::Commit(i) => {
                let Machine { state, folders, commit_due_ns, .. } = &mut self.machines[i];
                *commit_due_ns = None;
                if let State::Running(process) = state {
                    process.complete(folders, now_ns);
                }
                self.pump(i)
            }
            Event::Upkeep(i) => {
                let machine = &mut self.machines[i];
                machine.upkeep_due_ns = now_ns + self.weather.upkeep_ns * machine.slowness;
                let mut has_stopped = false;
                if let State::Running(process) = &mut machine.state {
                    process.upkeep(now_ns);
                    has_stopped = process.has_stopped();
                }
                if has_stopped && self.machines[i].is_powered() {
                    self.note(format_args!("machine {i} takes no writes, and is started again"));
                    let with_power = self.rng.random_bool(0.5);
                    self.goes_down(i, with_power);
                }
                self.pump(i)
            }
            Event::Return(i) => self.returns(i),
            Event::Sound(i) => {
                self.recovers(i);
                Ok(())
            }
        }
    }

    fn arrives(&mut self, i: usize, arrival: Arrival) -> Result<(), String> {
        match &mut self.machines[i].state {
            State::Off => Ok(()),
            State::Paused(_, waiting) => {
                waiting.push(arrival);
                Ok(())
            }
            State::Running(process) => {
                process.handle(self.now_ns, arrival);
                self.pump(i)
            }
        }
    }

    /// Sends what a process has to say, and begins its commits.
    fn pump(&mut self, i: usize) -> Result<(), String> {
        if !self.machines[i].is_powered() {
            self.goes_down(i, true);
            return Ok(());
        }
        let (least_ns, most_ns) = self.weather.commit_ns;
        let takes_ns = self.rng.random_range(least_ns..=most_ns);
        let Machine { peer, folders, state, commit_due_ns, slowness, .. } = &mut self.machines[i];
        let State::Running(process) = state else { return Ok(()) };
        // What it says may be made of what it writes down first: it has said nothing if the power went meanwhile.
        let outputs: Vec<_> = std::iter::from_fn(|| process.poll_output()).collect();
        if folders.iter().all(SimHome::is_powered) {
            outputs.into_iter().for_each(|(to, bytes)| self.net.send(self.now_ns, *peer, to, bytes));
            if process.commit() {
                commit_due_ns.get_or_insert(self.now_ns + takes_ns * *slowness);
            }
        }
        if !self.machines[i].is_powered() {
            self.goes_down(i, true);
        }
        Ok(())
    }

    fn pump_client(&mut self, client: usize) -> Result<(), String> {
        let mut said = Vec::new();
        let judged = self.clients[client].take_outcomes(self.now_ns, &mut self.ledger, &mut said);
        said.iter().for_each(|line| self.note(format_args!("client {client}: {line}")));
        judged?;
        while let Some((to, bytes)) = self.clients[client].poll_output() {
            self.net.send(self.now_ns, client_peer(client), to, bytes);
        }
        Ok(())
    }

    /// A client begins an operation.
    pub(super) fn begins(&mut self, client: usize, rng: &mut Rng) -> Result<(), String> {
        self.asks(client, |client, now_ns, ledger, said| client.begin(now_ns, rng, ledger, said))
    }

    /// A client does something.
    pub(super) fn asks(
        &mut self,
        client: usize,
        ask: impl FnOnce(&mut C, u64, &mut C::Ledger, &mut Vec<String>),
    ) -> Result<(), String> {
        let mut said = Vec::new();
        ask(&mut self.clients[client], self.now_ns, &mut self.ledger, &mut said);
        said.iter().for_each(|line| self.note(format_args!("client {client}: {line}")));
        self.pump_client(client)
    }

    // Machines.

    /// A process is gone: with the power, or alone. It comes back after a while.
    fn goes_down(&mut self, i: usize, with_power: bool) {
        let back_ns = self.rng.random_range(5 * MS..120 * MS);
        let machine = &mut self.machines[i];
        machine.folders.iter().for_each(SimHome::cut_power);
        // Its handles go while there is no power: they finish nothing.
        machine.state = State::Off;
        machine.commit_due_ns = None;
        machine.back_at_ns = Some(self.now_ns + back_ns);
        let peer = machine.peer;
        match with_power {
            true => self.net.power_off(self.now_ns, peer),
            false => self.net.kill(self.now_ns, peer),
        }
        let kind = self.rng.random_range(0..10);
        for folder in 0..self.machines[i].folders.len() {
            let seed = Seed(self.rng.next_u64());
            let crash = match (with_power, kind) {
                (false, _) => Crash::ProcessKill(seed),
                (true, 0) => Crash::LoseUnsynced,
                (true, 1) => Crash::KeepUnsynced,
                (true, 2) => Crash::LengthsOnly,
                (true, 3) => Crash::Subset(seed),
                (true, _) => Crash::PowerCut(seed),
            };
            self.machines[i].folders[folder].reboot(crash);
        }
        let how = if with_power { "power" } else { "process" };
        self.note(format_args!("machine {} is without {how}", peer.0));
    }

    /// A process is started, or goes on.
    fn returns(&mut self, i: usize) -> Result<(), String> {
        self.machines[i].back_at_ns = None;
        match std::mem::replace(&mut self.machines[i].state, State::Off) {
            State::Off => self.starts(i),
            State::Running(process) => {
                self.machines[i].state = State::Running(process);
                Ok(())
            }
            State::Paused(process, waiting) => {
                self.note(format_args!("machine {i} goes on"));
                self.machines[i].state = State::Running(process);
                self.pump(i)?;
                waiting.into_iter().try_for_each(|arrival| self.arrives(i, arrival))
            }
        }
    }

    fn starts(&mut self, i: usize) -> Result<(), String> {
        if self.cuts_recoveries && self.rng.random_bool(0.15) {
            let left = self.rng.random_range(0..16);
            let folder = self.rng.random_range(0..self.machines[i].folders.len());
            self.machines[i].folders[folder].crash_at_step(left);
        }
        let number = u16::try_from(i).expect("few machines");
        let started = P::start(&self.config, number, &self.machines[i].folders, self.now_ns);
        if !self.machines[i].is_powered() {
            self.summary.count(FaultClass::RecoveryCut, 1);
            drop(started);
            self.goes_down(i, true);
            return Ok(());
        }
        let process = match started {
            Ok(process) => process,
            Err(_) if self.machines[i].is_failing => {
                self.goes_down(i, false);
                return Ok(());
            }
            Err(why) => return Err(format!("machine {i} doesn't come back: {why}")),
        };
        let machine = &mut self.machines[i];
        machine.folders.iter().for_each(|folder| folder.crash_at_step(u64::MAX));
        machine.state = State::Running(process);
        machine.upkeep_due_ns = self.now_ns;
        machine.timer_floor_ns = self.now_ns;
        self.summary.lives += 1;
        self.net.join(machine.peer).map_err(|e| e.to_string())?;
        self.note(format_args!("machine {i} serves"));
        self.pump(i)
    }

    fn recovers(&mut self, i: usize) {
        let machine = &mut self.machines[i];
        machine.sound_at_ns = None;
        (machine.slowness, machine.is_failing) = (1, false);
        machine.folders.iter().for_each(|folder| folder.set_fault_rates(FaultRates::default()));
        self.set_links_of(i, None);
    }

    fn set_links_of(&mut self, i: usize, link: Option<Link>) {
        let me = self.machines[i].peer;
        for other in self.parties().into_iter().filter(|other| *other != me) {
            self.net.set_link(me, other, link);
            self.net.set_link(other, me, link);
        }
    }

    fn parties(&self) -> Vec<Peer> {
        let machines = self.machines.iter().map(|machine| machine.peer);
        machines.chain((0..self.clients.len()).map(client_peer)).collect()
    }

    /// A machine's disk is gone with everything on it; it comes back with an empty one.
    pub(super) fn loses_disk(&mut self, i: usize) {
        self.goes_down(i, true);
        self.note(format_args!("the disk of machine {i} is lost"));
        self.summary.count(FaultClass::DiskLost, 1);
        self.take_lines_if_recorded();
        let folders = self.new_folders(u16::try_from(i).expect("few machines"));
        let lost = std::mem::replace(&mut self.machines[i].folders, folders);
        self.machines[i].lines.fill(0);
        self.gone.extend(lost);
    }

    /// Some bits of a machine's first disk flip while its process is away, in files that `may` rot.
    pub(super) fn rots(&mut self, i: usize, may: impl Fn(&str) -> bool, rng: &mut Rng) -> Result<(), String> {
        self.goes_down(i, false);
        let folder = self.machines[i].folders[0].clone();
        let files: Vec<_> = folder.files().into_iter().filter(|path| may(path)).collect();
        for _ in 0..rng.random_range(1..6) {
            let Some(path) = files.get(rng.random_range(0..files.len().max(1))) else { break };
            let bits = 8 * folder.seen_bytes(path).map_err(|e| e.to_string())?.len() as u64;
            if bits > 0 {
                let bit = rng.random_range(0..bits);
                folder.flip_bit(path, bit).map_err(|e| e.to_string())?;
                self.note(format_args!("bit {bit} of {path} on machine {i} flips"));
                self.summary.count(FaultClass::BitFlip, 1);
            }
        }
        Ok(())
    }

    fn take_lines_if_recorded(&mut self) {
        if self.plan.records() {
            self.take_lines();
        }
    }

    // Troubles.

    /// Something goes wrong, for whom and how long the generator says.
    pub(super) fn strikes(&mut self, trouble: Trouble, rng: &mut Rng) {
        let i = rng.random_range(0..self.machines.len());
        let lasts_ns = rng.random_range(5 * MS..150 * MS);
        let until_ns = self.now_ns + lasts_ns;
        match trouble {
            Trouble::Split => {
                let (some, others): (Vec<_>, Vec<_>) =
                    self.parties().into_iter().partition(|_| rng.random_bool(0.5));
                self.note(format_args!("{some:?} and {others:?} don't hear each other"));
                self.net.partition(&some, &others);
                self.heal_at_ns = Some(until_ns);
                self.summary.count(FaultClass::Network, 1);
            }
            Trouble::OneWay => {
                let from = self.machines[i].peer;
                let parties = self.parties();
                let to = parties[rng.random_range(0..parties.len())];
                self.note(format_args!("nothing reaches {to} from {from}"));
                self.net.block(from, to);
                self.heal_at_ns = Some(until_ns);
                self.summary.count(FaultClass::Network, 1);
            }
            Trouble::Slow => {
                self.note(format_args!("machine {i} is slow"));
                self.machines[i].slowness = SLOWNESS;
                self.machines[i].sound_at_ns = Some(until_ns);
                let Weather { link, .. } = self.weather;
                let (delay_ns, delay_max_ns) = (link.delay_ns * SLOWNESS, link.delay_max_ns * SLOWNESS);
                self.set_links_of(i, Some(Link { delay_ns, delay_max_ns, ..link }));
                self.summary.count(FaultClass::Pause, 1);
            }
            Trouble::Pause => {
                let machine = &mut self.machines[i];
                match std::mem::replace(&mut machine.state, State::Off) {
                    State::Running(process) => {
                        machine.state = State::Paused(process, Vec::new());
                        machine.back_at_ns = Some(until_ns);
                        self.summary.count(FaultClass::Pause, 1);
                        self.note(format_args!("machine {i} is stopped"));
                    }
                    other => machine.state = other,
                }
            }
            Trouble::FailingDisk => {
                self.note(format_args!("the disk of machine {i} fails now and then"));
                let machine = &mut self.machines[i];
                machine.is_failing = true;
                machine.sound_at_ns = Some(until_ns);
                let rates = FaultRates { write_error: 0.05, sync_error: 0.2, ..FaultRates::default() };
                machine.folders.iter().for_each(|folder| folder.set_fault_rates(rates));
            }
            Trouble::Kill => {
                if !matches!(self.machines[i].state, State::Off) {
                    self.goes_down(i, false);
                }
            }
            Trouble::PowerCut => match rng.random_bool(0.5) {
                true if !matches!(self.machines[i].state, State::Off) => self.goes_down(i, true),
                true => {}
                false => {
                    let left = rng.random_range(0..30);
                    let folders = &self.machines[i].folders;
                    let folder = &folders[rng.random_range(0..folders.len())];
                    folder.crash_at_step(folder.steps() + left);
                    self.note(format_args!("machine {i} loses power in {left} steps of its disk"));
                }
            },
            Trouble::PowerCutOfAll => {
                self.note(format_args!("all machines lose power"));
                for i in 0..self.machines.len() {
                    if !matches!(self.machines[i].state, State::Off) {
                        self.goes_down(i, true);
                    }
                }
            }
            Trouble::ClockJump => {
                let client = rng.random_range(0..self.clients.len());
                let by_ms = rng.random_range(-JUMP_MS..=JUMP_MS);
                self.note(format_args!("the clock of client {client} jumps by {by_ms} ms"));
                self.clients[client].jump_clock(by_ms);
                self.summary.count(FaultClass::ClockJump, 1);
            }
        }
    }

    /// Everything that is wrong ends now, and everybody comes back.
    pub(super) fn calms(&mut self) -> Result<(), String> {
        self.note(format_args!("all is well from now on"));
        self.cuts_recoveries = false;
        self.heal_at_ns = None;
        self.net.heal();
        self.turns(Weather::calm());
        for i in 0..self.machines.len() {
            self.machines[i].folders.iter().for_each(|folder| folder.crash_at_step(u64::MAX));
            self.recovers(i);
            self.returns(i)?;
        }
        Ok(())
    }

    /// Lets time pass until every machine serves and no client waits for anything, for as long as `limit_ns`.
    pub(super) fn settles(&mut self, limit_ns: u64) -> Result<(), String> {
        let until_ns = self.now_ns + limit_ns;
        while self.now_ns < until_ns {
            self.pass(20 * MS)?;
            let serves =
                |machine: &Machine<P>| machine.running().is_some_and(|process| !process.has_stopped());
            if self.machines.iter().all(serves) && self.clients.iter().all(C::is_idle) {
                return Ok(());
            }
        }
        let busy: Vec<_> = (0..self.clients.len()).filter(|&i| !self.clients[i].is_idle()).collect();
        Err(format!(
            "all is well for {} s, and clients {busy:?} or machines still wait",
            limit_ns / 1_000 / MS
        ))
    }

    /// The summary of all that happened.
    pub(super) fn finish(mut self) -> Summary {
        let mut faults = FaultCounts::new();
        let mut counts = Summary::default();
        let folders = self.machines.iter().flat_map(|machine| &machine.folders).chain(&self.gone);
        for folder in folders {
            counts += Summary { crashes: folder.counts(), ..Summary::default() };
            for (fault, times) in folder.faults() {
                *faults.entry(fault).or_default() += times;
            }
            folder.trace_hash().hash(&mut self.happened);
        }
        self.net.trace_hash().hash(&mut self.happened);
        let mut summary = self.summary;
        summary.crashes = counts.crashes;
        summary.add_faults(&faults);
        summary.trace_hash = self.happened.finish();
        summary
    }
}

/// A client's name on the network.
fn client_peer(client: usize) -> Peer {
    Peer(FIRST_CLIENT + u32::try_from(client).expect("few clients"))
}
