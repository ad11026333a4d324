//! [`Device`]: a node's disk as a queue, first come, first served, in front of a few channels that share one way for bytes.

use std::collections::VecDeque;
use std::ops::Range;

use engine_env::sim::{HardwareProfile, Quantity, Transfer};

use super::figures::{Station, Usage};

/// What a request takes of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Request {
    /// On a channel.
    pub(super) access_ns: u64,
    /// On the way that all channels share.
    pub(super) bytes_ns: u64,
}

impl Request {
    /// What a transfer asks of the disk; nothing if the page cache has it.
    pub(super) fn of(transfer: Transfer, profile: &HardwareProfile) -> Self {
        let bytes_ns = |bytes| profile.bytes_ns(Quantity::Sequential, bytes);
        match transfer {
            Transfer::CachedRead { .. } | Transfer::CachedWrite { .. } => Self::default(),
            Transfer::DiskRead { bytes } => {
                Self { access_ns: profile.span_ns(Quantity::Read), bytes_ns: bytes_ns(bytes) }
            }
            Transfer::Durable { bytes } => Self {
                access_ns: profile.span_ns(Quantity::Write) + profile.span_ns(Quantity::Sync),
                bytes_ns: bytes_ns(bytes),
            },
        }
    }

    /// Written back by the kernel: nobody waits for it to be durable.
    pub(super) fn write_back(bytes: u64, profile: &HardwareProfile) -> Self {
        Self {
            access_ns: profile.span_ns(Quantity::Write),
            bytes_ns: profile.bytes_ns(Quantity::Sequential, bytes),
        }
    }

    pub(super) fn is_nothing(self) -> bool {
        self == Self::default()
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self { access_ns: self.access_ns + other.access_ns, bytes_ns: self.bytes_ns + other.bytes_ns }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Device {
    /// When each is free.
    channels: Vec<u64>,
    /// When the shared way is free.
    way_ns: u64,
    /// When those begin that were submitted and may still wait.
    begins: VecDeque<u64>,
    usage: Usage,
}

impl Device {
    pub(super) fn new(channels: usize) -> Self {
        Self { channels: vec![0; channels], way_ns: 0, begins: VecDeque::new(), usage: Usage::default() }
    }

    /// Counts from here to there.
    pub(super) fn observe(&mut self, window: Range<u64>) {
        self.usage = Usage::within(window);
    }

    /// Takes a request; when it is done. Times of submission never fall.
    pub(super) fn submit(&mut self, now_ns: u64, request: Request) -> u64 {
        let channel = self.channels.iter_mut().min().expect("a disk has a channel");
        let begin_ns = now_ns.max(*channel);
        // The way is given in order, so that a long access keeps nobody's bytes waiting.
        let over_ns = begin_ns.max(self.way_ns) + request.bytes_ns;
        self.way_ns = over_ns;
        let done_ns = over_ns + request.access_ns;
        *channel = done_ns;
        while self.begins.front().is_some_and(|begin_ns| *begin_ns <= now_ns) {
            self.begins.pop_front();
        }
        if begin_ns > now_ns {
            self.begins.push_back(begin_ns);
        }
        self.usage.queue_is(now_ns, self.begins.len());
        self.usage.waits(now_ns, begin_ns);
        self.usage.works(begin_ns, done_ns);
        done_ns
    }

    pub(super) fn station(&self) -> Station {
        self.usage.station(self.channels.len())
    }
}

#[cfg(test)]
mod tests {
    use engine_env::rng::Seed;
    use rand::RngExt as _;

    use super::*;

    const SERVICE_NS: u64 = 1_000_000;

    /// Arrivals at random, each served in the same time, by one channel: M/D/1, of which the formula of Pollaczek and
    /// Khinchine says how many wait on average, load² / (2 (1 - load)).
    #[test]
    fn the_queue_is_as_long_as_queueing_theory_says() {
        const END_NS: u64 = 300_000 * SERVICE_NS;
        for load in [0.3, 0.6, 0.8] {
            let mut rng = Seed(3).rng();
            let mut device = Device::new(1);
            device.observe(0..END_NS);
            let mut now_ns = 0;
            while now_ns < END_NS {
                device.submit(now_ns, Request { access_ns: SERVICE_NS, bytes_ns: 0 });
                let gaps = -f64::ln(1.0 - rng.random::<f64>());
                now_ns += (gaps * SERVICE_NS as f64 / load) as u64;
            }
            let station = device.station();
            assert!((station.utilisation / load - 1.0).abs() < 0.02, "load {load}: {station:?}");
            let expected = load * load / (2.0 * (1.0 - load));
            assert!((station.queue_mean / expected - 1.0).abs() < 0.05, "load {load}: {station:?}");
        }
    }

    #[test]
    fn channels_work_side_by_side_and_share_the_way() {
        let mut device = Device::new(2);
        let read = Request { access_ns: 100, bytes_ns: 10 };
        assert_eq!(device.submit(0, read), 110);
        assert_eq!(device.submit(0, read), 120, "its bytes come after the other's");
        assert_eq!(device.submit(5, read), 220, "the first channel is free at 110");
        let bytes = Request { access_ns: 0, bytes_ns: 1_000 };
        let mut device = Device::new(8);
        let last = (0..8).map(|_| device.submit(0, bytes)).last();
        assert_eq!(last, Some(8_000), "eight channels are no faster than the way");
    }

    #[test]
    fn only_what_lies_in_the_window_counts() {
        let mut device = Device::new(1);
        device.observe(50..150);
        for _ in 0..3 {
            device.submit(0, Request { access_ns: 60, bytes_ns: 0 });
        }
        // Works until 180, so all of the window; two wait from 0: until 60 and until 120.
        let station = device.station();
        assert_eq!((station.utilisation, station.queue_mean, station.queue_max), (1.0, 0.8, 0));
    }
}
