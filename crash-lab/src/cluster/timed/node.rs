//! [`Node`]: a server's process with what it runs on: service threads, a disk, pauses.

use std::collections::VecDeque;
use std::ops::Range;

use engine_env::rng::{Rng, Seed};
use engine_env::sim::{Crash, HardwareProfile, Quantity, SimHome, Transfer};
use engine_env::{Arrival, Peer};
use rand::{Rng as _, RngExt as _};

use super::device::{Device, Request};
use super::figures::{NodeFigures, Usage};
use crate::cluster::process::Process;

/// The kernel's writers wake up so often: Linux's default.
const WRITE_BACK_EVERY_NS: u64 = 5_000_000_000;
/// What they hand to the disk at a time.
const WRITE_BACK_BYTES: u64 = 1 << 20;
/// How long upkeep rests after a piece.
const UPKEEP_EVERY_NS: u64 = 20_000_000;

/// What happens at a node, later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Happens {
    /// A process that was started has recovered.
    Serves,
    /// A thread is through with its request, or with the disk.
    Service(usize),
    /// The oldest commit of a folder is on the disk.
    Commit(usize),
    /// A piece of upkeep begins.
    Upkeep,
    /// The disk is through with one request of upkeep, and the next one begins.
    UpkeepRequest,
    /// The kernel begins to write back.
    WriteBack,
    /// The disk is through with one request of it.
    WriteBackRequest,
    PauseBegins,
    PauseEnds,
}

/// A request that a thread works on.
#[derive(Debug)]
struct Service {
    began_ns: u64,
    due_ns: u64,
    /// What the thread waits for after its processor time; nothing once it has it, or without a need.
    reads: Request,
    is_at_disk: bool,
    answers: Vec<(Peer, Vec<u8>)>,
}

/// See the module.
pub(super) struct Node<P> {
    /// None: it has died.
    process: Option<P>,
    /// How often it has died.
    pub(super) life: u64,
    /// Since when the process serves; `None` while it recovers.
    serves_ns: Option<u64>,
    folders: Vec<SimHome>,
    waiting: VecDeque<(u64, Arrival)>,
    /// One place a thread.
    services: Vec<Option<Service>>,
    disk: Device,
    /// When the last commit is done that went to the disk.
    committed_ns: u64,
    upkeep: VecDeque<Request>,
    write_back: VecDeque<Request>,
    paused_until_ns: u64,
    rng: Rng,
    threads: Usage,
    requests: u64,
    cached_reads: u64,
    disk_reads: u64,
    /// What it says, for the world to take.
    pub(super) says: Vec<(Peer, Vec<u8>)>,
    /// What happens later, likewise.
    pub(super) later: Vec<(u64, Happens)>,
}

impl<P: Process> Node<P> {
    pub(super) fn new(process: P, folders: Vec<SimHome>, profile: &HardwareProfile, mut rng: Rng) -> Self {
        let number = |quantity| profile.value(quantity) as usize;
        // What opening moved isn't counted.
        folders.iter().for_each(|folder| drop(folder.take_transfers()));
        let mut later =
            vec![(0, Happens::Upkeep), (rng.random_range(0..WRITE_BACK_EVERY_NS), Happens::WriteBack)];
        let every_ns = profile.span_ns(Quantity::PauseEvery);
        if every_ns > 0 {
            later.push((exponential_ns(&mut rng, every_ns), Happens::PauseBegins));
        }
        Self {
            process: Some(process),
            life: 0,
            serves_ns: Some(0),
            folders,
            waiting: VecDeque::new(),
            services: std::iter::repeat_with(|| None).take(number(Quantity::Threads)).collect(),
            disk: Device::new(number(Quantity::Channels)),
            committed_ns: 0,
            upkeep: VecDeque::new(),
            write_back: VecDeque::new(),
            paused_until_ns: 0,
            rng,
            threads: Usage::default(),
            requests: 0,
            cached_reads: 0,
            disk_reads: 0,
            says: Vec::new(),
            later,
        }
    }

    /// Counts from here to there.
    pub(super) fn observe(&mut self, window: Range<u64>) {
        self.disk.observe(window.clone());
        self.threads = Usage::within(window);
    }

    pub(super) fn figures(&self) -> NodeFigures {
        NodeFigures {
            threads: self.threads.station(self.services.len()),
            disk: self.disk.station(),
            requests: self.requests,
            cached_reads: self.cached_reads,
            disk_reads: self.disk_reads,
        }
    }

    /// The process, and since when it serves; `None` if it doesn't.
    pub(super) fn serving(&self) -> Option<(&P, u64)> {
        self.process.as_ref().zip(self.serves_ns)
    }

    pub(super) fn poll_timeout(&self) -> Option<u64> {
        self.serving().and_then(|(process, _)| process.poll_timeout())
    }

    /// Its process is killed. The machine stays: its disk goes on, and its page cache has what was in it.
    pub(super) fn dies(&mut self) {
        self.folders.iter().for_each(SimHome::cut_power);
        // Its handles go while there is no power: they finish nothing.
        self.process = None;
        self.serves_ns = None;
        self.life += 1;
        self.waiting.clear();
        self.services.iter_mut().for_each(|service| *service = None);
        self.upkeep.clear();
        self.says.clear();
        self.later.clear();
        for folder in &self.folders {
            folder.reboot(Crash::ProcessKill(Seed(self.rng.next_u64())));
        }
    }

    /// A process is started on its folders, and serves when it has read what it reads of them.
    ///
    /// # Errors
    /// It doesn't start.
    pub(super) fn starts(
        &mut self,
        now_ns: u64,
        profile: &HardwareProfile,
        start: impl FnOnce(&[SimHome]) -> Result<P, String>,
    ) -> Result<(), String> {
        drop(self.transfers());
        self.process = Some(start(&self.folders)?);
        let transfers = self.transfers();
        let calls_ns: u64 = transfers.iter().map(|transfer| call_ns(*transfer, profile)).sum();
        let reads = asked_of_disk(&transfers, profile);
        let read_ns = if reads.is_nothing() { now_ns } else { self.disk.submit(now_ns, reads) };
        self.later.push((read_ns + profile.span_ns(Quantity::Cpu) + calls_ns, Happens::Serves));
        Ok(())
    }

    /// Whether something that was to happen in a life of its still happens.
    pub(super) fn concerns(&self, life: u64, what: Happens) -> bool {
        match what {
            Happens::WriteBack | Happens::WriteBackRequest | Happens::PauseBegins | Happens::PauseEnds => {
                true
            }
            Happens::Serves
            | Happens::Service(_)
            | Happens::Commit(_)
            | Happens::Upkeep
            | Happens::UpkeepRequest => life == self.life,
        }
    }

    fn transfers(&self) -> Vec<Transfer> {
        self.folders.iter().flat_map(SimHome::take_transfers).collect()
    }

    /// Something came over the network.
    pub(super) fn arrives(&mut self, now_ns: u64, arrival: Arrival, profile: &HardwareProfile) {
        self.waiting.push_back((now_ns, arrival));
        self.take_waiting(now_ns, profile);
        self.threads.queue_is(now_ns, self.waiting.len());
    }

    /// Gives free threads what waits.
    fn take_waiting(&mut self, now_ns: u64, profile: &HardwareProfile) {
        if now_ns < self.paused_until_ns {
            return;
        }
        while let Some(thread) = self.services.iter().position(Option::is_none)
            && let Some((came_ns, arrival)) = self.waiting.pop_front()
        {
            self.threads.waits(came_ns, now_ns);
            let Some(process) = &mut self.process else { return };
            process.handle(now_ns, arrival);
            let answers = std::iter::from_fn(|| process.poll_output()).collect();
            let transfers = self.transfers();
            if self.threads.covers(now_ns) {
                self.requests += 1;
                for transfer in &transfers {
                    self.cached_reads += u64::from(matches!(transfer, Transfer::CachedRead { .. }));
                    self.disk_reads += u64::from(matches!(transfer, Transfer::DiskRead { .. }));
                }
            }
            let calls_ns: u64 = transfers.iter().map(|transfer| call_ns(*transfer, profile)).sum();
            let due_ns = now_ns + profile.span_ns(Quantity::Cpu) + calls_ns;
            let service = Service {
                began_ns: now_ns,
                due_ns,
                reads: asked_of_disk(&transfers, profile),
                is_at_disk: false,
                answers,
            };
            self.services[thread] = Some(service);
            self.later.push((due_ns, Happens::Service(thread)));
        }
    }

    pub(super) fn happens(&mut self, now_ns: u64, what: Happens, profile: &HardwareProfile) {
        let is_paused = now_ns < self.paused_until_ns;
        match what {
            Happens::Serves => {
                self.serves_ns = Some(now_ns);
                self.says_and_commits(now_ns, profile);
                self.later.push((now_ns, Happens::Upkeep));
            }
            Happens::Service(thread) => self.serves(now_ns, thread, profile),
            Happens::Commit(_) | Happens::Upkeep if is_paused => {
                self.later.push((self.paused_until_ns, what));
            }
            Happens::Commit(folder) => {
                if let Some(process) = &mut self.process {
                    process.complete_oldest(folder, now_ns);
                }
                // What it does with that is a part of the commit.
                drop(self.transfers());
                self.says_and_commits(now_ns, profile);
            }
            Happens::Upkeep => {
                if let Some(process) = &mut self.process {
                    process.upkeep(now_ns);
                }
                let requests = self.transfers().into_iter().map(|transfer| Request::of(transfer, profile));
                self.upkeep.extend(requests.filter(|request| !request.is_nothing()));
                self.says_and_commits(now_ns, profile);
                self.upkeep_goes_on(now_ns);
            }
            Happens::UpkeepRequest => self.upkeep_goes_on(now_ns),
            Happens::WriteBack => {
                let mut left: u64 = self.folders.iter().map(SimHome::write_back).sum();
                while left > 0 {
                    let bytes = left.min(WRITE_BACK_BYTES);
                    self.write_back.push_back(Request::write_back(bytes, profile));
                    left -= bytes;
                }
                self.write_back_goes_on(now_ns);
            }
            Happens::WriteBackRequest => self.write_back_goes_on(now_ns),
            Happens::PauseBegins => {
                let length_ns = profile.span_ns(Quantity::PauseLength);
                self.paused_until_ns = now_ns + length_ns;
                for service in self.services.iter_mut().flatten().filter(|service| !service.is_at_disk) {
                    service.due_ns += length_ns;
                }
                self.later.push((self.paused_until_ns, Happens::PauseEnds));
            }
            Happens::PauseEnds => {
                let every_ns = profile.span_ns(Quantity::PauseEvery);
                let next_ns = now_ns + exponential_ns(&mut self.rng, every_ns);
                self.later.push((next_ns, Happens::PauseBegins));
                self.take_waiting(now_ns, profile);
            }
        }
    }

    fn serves(&mut self, now_ns: u64, thread: usize, profile: &HardwareProfile) {
        let Some(service) = &mut self.services[thread] else { return };
        // A pause has made it late, or begins before the thread notices what the disk has done.
        let due_ns = service.due_ns.max(self.paused_until_ns);
        if due_ns > now_ns {
            self.later.push((due_ns, Happens::Service(thread)));
            return;
        }
        if !service.is_at_disk && !service.reads.is_nothing() {
            service.is_at_disk = true;
            service.due_ns = self.disk.submit(now_ns, service.reads);
            self.later.push((service.due_ns, Happens::Service(thread)));
            return;
        }
        let service = self.services[thread].take().expect("it was there above");
        self.threads.works(service.began_ns, now_ns);
        self.says.extend(service.answers);
        self.says_and_commits(now_ns, profile);
        self.take_waiting(now_ns, profile);
    }

    /// Time has passed for its timers.
    pub(super) fn handle_timeout(&mut self, now_ns: u64, profile: &HardwareProfile) {
        let Some(process) = &mut self.process else { return };
        process.handle_timeout(now_ns);
        drop(self.transfers());
        self.says_and_commits(now_ns, profile);
    }

    /// Takes what the process says beside answers, and begins the commits that can begin: each moves something, and its
    /// transfers are told in the order in which the disk takes them and will be through with them.
    fn says_and_commits(&mut self, now_ns: u64, profile: &HardwareProfile) {
        let Some(process) = &mut self.process else { return };
        self.says.extend(std::iter::from_fn(|| process.poll_output()));
        let said = asked_of_disk(&self.transfers(), profile);
        if !said.is_nothing() {
            self.disk.submit(now_ns, said);
        }
        if let Some(process) = &mut self.process {
            process.commit();
        }
        for (folder, transfers) in self.folders.iter().map(SimHome::take_transfers).enumerate() {
            for transfer in transfers {
                let request = Request::of(transfer, profile);
                if !request.is_nothing() {
                    self.committed_ns = self.disk.submit(now_ns, request);
                }
                // What isn't made durable is done when what went before it is.
                self.later.push((self.committed_ns.max(now_ns), Happens::Commit(folder)));
            }
        }
    }

    fn upkeep_goes_on(&mut self, now_ns: u64) {
        let next = match self.upkeep.pop_front() {
            Some(request) => (self.disk.submit(now_ns, request), Happens::UpkeepRequest),
            None => (now_ns + UPKEEP_EVERY_NS, Happens::Upkeep),
        };
        self.later.push(next);
    }

    fn write_back_goes_on(&mut self, now_ns: u64) {
        let next = match self.write_back.pop_front() {
            Some(request) => (self.disk.submit(now_ns, request), Happens::WriteBackRequest),
            None => (now_ns + WRITE_BACK_EVERY_NS, Happens::WriteBack),
        };
        self.later.push(next);
    }
}

/// The processor's part of what storage did.
fn call_ns(transfer: Transfer, profile: &HardwareProfile) -> u64 {
    match transfer {
        Transfer::CachedRead { bytes } | Transfer::DiskRead { bytes } | Transfer::CachedWrite { bytes } => {
            profile.span_ns(Quantity::CachedCall) + profile.bytes_ns(Quantity::Copy, bytes)
        }
        Transfer::Durable { .. } => profile.span_ns(Quantity::CachedCall),
    }
}

fn asked_of_disk(transfers: &[Transfer], profile: &HardwareProfile) -> Request {
    transfers.iter().map(|transfer| Request::of(*transfer, profile)).fold(Request::default(), Request::and)
}

fn exponential_ns(rng: &mut Rng, mean_ns: u64) -> u64 {
    (-f64::ln(1.0 - rng.random::<f64>()) * mean_ns as f64) as u64
}
