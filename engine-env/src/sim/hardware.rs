//! [`HardwareProfile`]: what things cost in the simulated world once it has time.
//!
//! Every figure is a constant of the code with its source, or the word "assumed" and the reason for it. They were fixed
//! before anything was simulated with them and answer to no claim: a simulation explains published numbers, it decides
//! nothing.

/// A figure of a [`HardwareProfile`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// What a read that the page cache answers, or a write that it takes, costs before its first byte.
    CachedCall,
    /// How fast such bytes are copied.
    Copy,
    /// What a read costs the disk before its first byte.
    Read,
    /// What a write costs the disk before its first byte.
    Write,
    /// What it costs the disk to make durable what it was given.
    Sync,
    /// How fast bytes pass to and from the disk, whatever they belong to.
    Sequential,
    /// How many requests the disk works on at once.
    Channels,
    /// How much a node's page cache holds.
    PageCache,
    /// How long a message is on its way.
    Hop,
    /// How fast the bytes of messages pass from one party to another.
    Link,
    /// What a node's thread does for a request besides storage: taking it, decoding it, answering it.
    Cpu,
    /// How many requests a node works on at once.
    Threads,
    /// How far apart a node's pauses are on average; they come at random.
    PauseEvery,
    /// How long a pause lasts: all of the node's threads stand still, as in a garbage collection.
    PauseLength,
}

impl Quantity {
    /// All of them, in the order of lists.
    pub const ALL: [Self; 14] = [
        Self::CachedCall,
        Self::Copy,
        Self::Read,
        Self::Write,
        Self::Sync,
        Self::Sequential,
        Self::Channels,
        Self::PageCache,
        Self::Hop,
        Self::Link,
        Self::Cpu,
        Self::Threads,
        Self::PauseEvery,
        Self::PauseLength,
    ];

    /// The name in lists.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CachedCall => "cached-call",
            Self::Copy => "copy",
            Self::Read => "read",
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Sequential => "sequential",
            Self::Channels => "channels",
            Self::PageCache => "page-cache",
            Self::Hop => "hop",
            Self::Link => "link",
            Self::Cpu => "cpu",
            Self::Threads => "threads",
            Self::PauseEvery => "pause-every",
            Self::PauseLength => "pause-length",
        }
    }

    /// The unit of its values; empty for a number of things.
    #[must_use]
    pub fn unit(self) -> &'static str {
        match self {
            Self::CachedCall | Self::Read | Self::Write | Self::Sync | Self::Hop | Self::Cpu => "µs",
            Self::Copy | Self::Sequential | Self::Link => "MB/s",
            Self::Channels | Self::Threads => "",
            Self::PageCache => "GiB",
            Self::PauseEvery => "s",
            Self::PauseLength => "ms",
        }
    }

    /// What it is, in a few words.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::CachedCall => "a read or write that the page cache serves, without its bytes",
            Self::Copy => "copying such bytes",
            Self::Read => "a read that the page cache doesn't have, without its bytes",
            Self::Write => "a write to the disk, without its bytes",
            Self::Sync => "making durable what the disk was given",
            Self::Sequential => "bytes to and from the disk",
            Self::Channels => "requests that the disk works on at once",
            Self::PageCache => "page cache of a node",
            Self::Hop => "a message's way",
            Self::Link => "bytes of messages between two parties",
            Self::Cpu => "a request at a node, without storage",
            Self::Threads => "requests that a node works on at once",
            Self::PauseEvery => "from one pause of a node to the next, on average; 0: none",
            Self::PauseLength => "a pause's length",
        }
    }
}

/// A quantity's value in a profile, and where it is from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parameter {
    /// Which one.
    pub quantity: Quantity,
    /// Its value, in [`Quantity::unit`].
    pub value: f64,
    /// The paper, data sheet or measurement; or "assumed" and why.
    pub source: &'static str,
}

const fn is(quantity: Quantity, value: f64, source: &'static str) -> Parameter {
    Parameter { quantity, value, source }
}

/// A kind of machine and of network.
#[derive(Debug, Clone, PartialEq)]
pub struct HardwareProfile {
    name: &'static str,
    about: &'static str,
    /// In the order of [`Quantity::ALL`].
    parameters: [Parameter; 14],
}

impl HardwareProfile {
    /// What this project's measurements were made on, and a network of its time.
    #[must_use]
    pub fn nvme_2024() -> Self {
        Self {
            name: "nvme-2024",
            about: "the virtual disk that this project is measured on; nodes of this project's, one thread each",
            parameters: [
                is(
                    Quantity::CachedCall,
                    1.1,
                    "workbench limits, reference run at 12d6362: 1.28 µs for 1 KiB, without the copy",
                ),
                is(Quantity::Copy, 5_800.0, "workbench limits, docs/log-storage.md"),
                is(
                    Quantity::Read,
                    92.5,
                    "workbench limits, reference run at 12d6362: 98.2 µs for 4 KiB around the page cache, without its bytes",
                ),
                is(
                    Quantity::Write,
                    95.0,
                    "workbench limits, docs/log-storage.md: 189 µs for a durable 4 KiB, without its bytes; \
                     write and sync about equal (fio on a quieter machine of the kind)",
                ),
                is(Quantity::Sync, 88.0, "as write"),
                is(Quantity::Sequential, 712.0, "workbench limits, docs/log-storage.md: with the final sync"),
                is(
                    Quantity::Channels,
                    4.0,
                    "fio on a quieter machine of the kind: 4 KiB reads, 16.4 k/s at depth 1, 68.8 k/s at depth 32",
                ),
                is(Quantity::PageCache, 192.0, "assumed: three quarters of a server's 256 GiB"),
                is(Quantity::Hop, 25.0, "assumed: half of a round trip of 50 µs inside a data centre"),
                is(Quantity::Link, 3_125.0, "assumed: 25 Gbit/s"),
                is(
                    Quantity::Cpu,
                    10.0,
                    "reference run at 12d6362: 59.7 µs of processor time an operation of kv-cluster at os, by 3.2 requests; \
                     half of it taken for the node's (assumed)",
                ),
                is(Quantity::Threads, 1.0, "this project's node: one thread owns the port and storage reads"),
                is(Quantity::PauseEvery, 0.0, "this project's node has no garbage collector"),
                is(Quantity::PauseLength, 0.0, "as pause-every"),
            ],
        }
    }

    /// A server of the time of the published move, with a solid state drive.
    #[must_use]
    pub fn ssd_2012() -> Self {
        Self {
            name: "ssd-2012",
            about: "a server of 2012 with a SATA solid state drive; nodes as the original's, under a Java VM",
            parameters: [
                CALL_2012,
                COPY_2012,
                is(
                    Quantity::Read,
                    100.0,
                    "assumed: a flash page's 50 µs, and as much for SATA and the controller",
                ),
                is(
                    Quantity::Write,
                    70.0,
                    "assumed: into the drive's cache, which capacitors keep (Intel SSD DC S3700, 2012)",
                ),
                is(Quantity::Sync, 200.0, "assumed: the drive answers from its kept cache, after its queue"),
                is(
                    Quantity::Sequential,
                    460.0,
                    "assumed: about what drives like the Intel SSD DC S3700 (2012) write in sequence",
                ),
                is(
                    Quantity::Channels,
                    8.0,
                    "Tom's Hardware 2012: an Intel SSD DC S3700 has eight flash channels",
                ),
                CACHE_2012,
                HOP_2012,
                LINK_2012,
                CPU_2012,
                THREADS_2012,
                PAUSE_EVERY_2012,
                PAUSE_LENGTH_2012,
            ],
        }
    }

    /// The same server with one turning disk.
    #[must_use]
    pub fn hdd_2012() -> Self {
        Self {
            name: "hdd-2012",
            about: "the same server with one disk of 7,200 turns a minute",
            parameters: [
                CALL_2012,
                COPY_2012,
                is(
                    Quantity::Read,
                    11_660.0,
                    "seek 7.5 ms (Voldemort's site: 5 to 10 ms dominate) and half a turn, 4.16 ms (Seagate \
                     Constellation ES.3 product manual)",
                ),
                is(Quantity::Write, 200.0, "assumed: into the drive's cache"),
                is(Quantity::Sync, 11_660.0, "as read: the cached blocks go to one place"),
                is(
                    Quantity::Sequential,
                    129.0,
                    "Seagate Constellation ES.3 product manual: 83 to 175 MB/s sustained, the middle",
                ),
                is(Quantity::Channels, 1.0, "one arm"),
                CACHE_2012,
                HOP_2012,
                LINK_2012,
                CPU_2012,
                THREADS_2012,
                PAUSE_EVERY_2012,
                PAUSE_LENGTH_2012,
            ],
        }
    }

    /// All profiles.
    #[must_use]
    pub fn all() -> [Self; 3] {
        [Self::nvme_2024(), Self::ssd_2012(), Self::hdd_2012()]
    }

    /// The profile of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|profile| profile.name == name)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What it describes.
    #[must_use]
    pub fn about(&self) -> &'static str {
        self.about
    }

    /// Everything that it says, in the order of [`Quantity::ALL`].
    #[must_use]
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// A quantity's value, in [`Quantity::unit`].
    #[must_use]
    pub fn value(&self, quantity: Quantity) -> f64 {
        self.parameters[quantity as usize].value
    }

    /// A span of time in nanoseconds.
    ///
    /// # Panics
    /// If the quantity isn't one.
    #[must_use]
    pub fn span_ns(&self, quantity: Quantity) -> u64 {
        let unit_ns = match quantity.unit() {
            "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            other => panic!("{} is no span of time: its unit is {other:?}", quantity.name()),
        };
        (self.value(quantity) * unit_ns).round() as u64
    }

    /// How long so many bytes take, in nanoseconds.
    ///
    /// # Panics
    /// If the quantity is no speed.
    #[must_use]
    pub fn bytes_ns(&self, quantity: Quantity, bytes: u64) -> u64 {
        assert_eq!(quantity.unit(), "MB/s", "{} is no speed", quantity.name());
        (bytes as f64 * 1e3 / self.value(quantity)).round() as u64
    }

    /// The same with one quantity so many times as large; a number of things is rounded, and stays above 0. `None` if that
    /// changes nothing.
    #[must_use]
    pub fn scaled(&self, quantity: Quantity, factor: f64) -> Option<Self> {
        let old = self.value(quantity);
        let new = match quantity.unit() {
            "" => (old * factor).round().max(1.0),
            _ => old * factor,
        };
        let mut scaled = self.clone();
        scaled.parameters[quantity as usize].value = new;
        (new != old).then_some(scaled)
    }
}

const CALL_2012: Parameter = is(Quantity::CachedCall, 2.2, "assumed: a core half as fast as nvme-2024's");
const COPY_2012: Parameter = is(Quantity::Copy, 2_900.0, "assumed: as cached-call");
const CACHE_2012: Parameter =
    is(Quantity::PageCache, 16.0, "assumed: half of a server's 32 GiB, the rest a Java heap");
const HOP_2012: Parameter = is(
    Quantity::Hop,
    250.0,
    "assumed: half of a round trip of 500 µs, the figure that goes round as Dean's (2009)",
);
const LINK_2012: Parameter = is(Quantity::Link, 125.0, "Kreps (2014): 1 Gbit/s Ethernet");
const CPU_2012: Parameter = is(
    Quantity::Cpu,
    62.0,
    "the original, measured: 16.0 k gets/s of two requests on two cores of nvme-2024's kind, clients included; \
     without those, on a core half as fast, taken for the same (assumed)",
);
const THREADS_2012: Parameter = is(Quantity::Threads, 8.0, "Voldemort's default: at least 8 selectors");
const PAUSE_EVERY_2012: Parameter =
    is(Quantity::PauseEvery, 5.0, "assumed: a young collection every few seconds");
const PAUSE_LENGTH_2012: Parameter = is(
    Quantity::PauseLength,
    50.0,
    "assumed; Gao and Tran, Voldemort on Solid State Drives (2012), found pauses to decide p95, and 4 s at worst",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_says_each_quantity_once_with_a_source() {
        for profile in HardwareProfile::all() {
            let said: Vec<_> = profile.parameters().iter().map(|parameter| parameter.quantity).collect();
            assert_eq!(said, Quantity::ALL, "{}", profile.name());
            for (at, parameter) in profile.parameters().iter().enumerate() {
                assert_eq!(Quantity::ALL[at] as usize, at);
                assert!(parameter.source.len() > 5, "{} {:?}", profile.name(), parameter.quantity);
                assert!(parameter.value >= 0.0 && parameter.value.is_finite());
            }
            assert_eq!(HardwareProfile::named(profile.name()), Some(profile));
        }
        assert_eq!(HardwareProfile::named("tape-1970"), None);
    }

    #[test]
    fn one_quantity_is_scaled_and_a_number_of_things_stays_one() {
        let hdd = HardwareProfile::hdd_2012();
        let faster = hdd.scaled(Quantity::Read, 0.5).expect("another value");
        assert_eq!(faster.span_ns(Quantity::Read), 5_830_000);
        let others = |profile: &HardwareProfile| {
            profile.parameters().iter().filter(|p| p.quantity != Quantity::Read).copied().collect::<Vec<_>>()
        };
        assert_eq!(others(&faster), others(&hdd));
        assert_eq!(hdd.scaled(Quantity::Channels, 0.5), None, "half an arm");
        assert_eq!(hdd.scaled(Quantity::Channels, 2.0).expect("two arms").value(Quantity::Channels), 2.0);
        assert_eq!(HardwareProfile::nvme_2024().scaled(Quantity::PauseEvery, 2.0), None, "there are none");
    }

    /// docs/hardware.md has this table. The first rows were fitted; commits of other sizes were not, and large ones are much
    /// too slow: a file written in sequence is slowed down by the kernel, one large commit isn't.
    #[test]
    fn nvme_2024_is_as_far_from_what_was_measured_as_its_table_says() {
        let nvme = HardwareProfile::nvme_2024();
        let commit = |bytes: u64| {
            let pages = bytes.next_multiple_of(4096);
            let (write, sync) = (nvme.span_ns(Quantity::Write), nvme.span_ns(Quantity::Sync));
            write + sync + nvme.bytes_ns(Quantity::Sequential, pages)
        };
        let cached = nvme.span_ns(Quantity::CachedCall) + nvme.bytes_ns(Quantity::Copy, 1024);
        let read = nvme.span_ns(Quantity::Read) + nvme.bytes_ns(Quantity::Sequential, 4096);
        let rows = [
            (commit(4096), 189_000, 0),
            (read, 98_239, 0),
            (cached, 1_284, -1),
            (commit(4096), 193_535, -2),
            (commit(1024), 198_000, -5),
            (commit(16 << 10), 215_000, -4),
            (commit(64 << 10), 256_000, 7),
            (commit(1 << 20), 903_000, 83),
        ];
        for (at, (modelled_ns, measured_ns, error_percent)) in rows.into_iter().enumerate() {
            let error = (modelled_ns as f64 / f64::from(measured_ns) - 1.0) * 100.0;
            assert!((error - f64::from(error_percent)).abs() <= 0.5, "row {at}: {error:.1} %");
        }
    }
}
