//! [`Transfer`]: what operations of a simulated machine moved, for whoever gives each its time; [`Meter`] keeps them, and a
//! page cache of bounded size beside the contents, which are all in memory.
//!
//! The meter only looks on: a machine does the same with and without it.

use std::collections::{BTreeMap, BTreeSet};

use super::names::Inode;

/// What the page cache keeps as a unit, in bytes.
const PAGE: u64 = 4096;

/// What one operation moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transfer {
    /// A read that found everything in the page cache.
    CachedRead {
        /// How much.
        bytes: u64,
    },
    /// A read that the disk had to serve: whole pages, from the first that was missing to the last.
    DiskRead {
        /// How much.
        bytes: u64,
    },
    /// A write that the page cache took; it goes to the disk with a sync, or when the kernel writes back.
    CachedWrite {
        /// How much.
        bytes: u64,
    },
    /// Bytes to the disk, and no answer before they are durable.
    Durable {
        /// How much.
        bytes: u64,
    },
}

/// Least recently used pages go first.
#[derive(Debug)]
struct PageCache {
    pages_max: usize,
    uses: u64,
    used_at: BTreeMap<(Inode, u64), u64>,
    oldest: BTreeMap<u64, (Inode, u64)>,
}

impl PageCache {
    /// Uses a page; whether it was there.
    fn touch(&mut self, page: (Inode, u64)) -> bool {
        self.uses += 1;
        self.oldest.insert(self.uses, page);
        let before = self.used_at.insert(page, self.uses);
        if let Some(before) = before {
            self.oldest.remove(&before);
        }
        if self.used_at.len() > self.pages_max
            && let Some((_, page)) = self.oldest.pop_first()
        {
            self.used_at.remove(&page);
        }
        before.is_some()
    }

    fn forget_others(&mut self, kept: &BTreeSet<Inode>) {
        self.used_at.retain(|(inode, _), _| kept.contains(inode));
        self.oldest.retain(|_, (inode, _)| kept.contains(inode));
    }
}

#[derive(Debug)]
pub(super) struct Meter {
    cache: PageCache,
    transfers: Vec<Transfer>,
    /// Where the last transfer ended, if it was a read: one that goes on there belongs to it.
    read_to: Option<(Inode, u64)>,
}

fn pages(at: u64, bytes: u64) -> std::ops::Range<u64> {
    at / PAGE..(at + bytes).div_ceil(PAGE)
}

impl Meter {
    pub(super) fn new(pages_max: usize) -> Self {
        let cache = PageCache { pages_max, uses: 0, used_at: BTreeMap::new(), oldest: BTreeMap::new() };
        Self { cache, transfers: Vec::new(), read_to: None }
    }

    pub(super) fn read(&mut self, inode: Inode, at: u64, bytes: u64) {
        let mut missing: Option<(u64, u64)> = None;
        for page in pages(at, bytes) {
            if !self.cache.touch((inode, page)) {
                missing = Some((missing.map_or(page, |(first, _)| first), page));
            }
        }
        let goes_on = self.read_to == Some((inode, at));
        self.read_to = Some((inode, at + bytes));
        let now = match missing {
            Some((first, last)) => Transfer::DiskRead { bytes: (last - first + 1) * PAGE },
            None => Transfer::CachedRead { bytes },
        };
        let Some(last) = self.transfers.last_mut().filter(|_| goes_on) else {
            self.transfers.push(now);
            return;
        };
        use Transfer::{CachedRead, DiskRead};
        *last = match (*last, now) {
            (CachedRead { bytes: before }, CachedRead { bytes }) => CachedRead { bytes: before + bytes },
            (DiskRead { bytes: before }, DiskRead { bytes }) => DiskRead { bytes: before + bytes },
            (disk @ DiskRead { .. }, _) | (_, disk @ DiskRead { .. }) => disk,
            (other, _) => {
                unreachable!("reads forget where they ended once something else happens: {other:?}")
            }
        };
    }

    pub(super) fn write(&mut self, inode: Inode, at: u64, bytes: u64) {
        self.touch(inode, at, bytes);
        self.transfers.push(Transfer::CachedWrite { bytes });
    }

    pub(super) fn write_durably(&mut self, inode: Inode, at: u64, bytes: u64) {
        self.touch(inode, at, bytes);
        let pages = pages(at, bytes);
        self.durable((pages.end - pages.start) * PAGE);
    }

    pub(super) fn durable(&mut self, bytes: u64) {
        self.read_to = None;
        self.transfers.push(Transfer::Durable { bytes });
    }

    fn touch(&mut self, inode: Inode, at: u64, bytes: u64) {
        self.read_to = None;
        for page in pages(at, bytes) {
            self.cache.touch((inode, page));
        }
    }

    pub(super) fn take(&mut self) -> Vec<Transfer> {
        self.read_to = None;
        std::mem::take(&mut self.transfers)
    }

    pub(super) fn forget_others(&mut self, kept: &BTreeSet<Inode>) {
        self.cache.forget_others(kept);
    }
}

#[cfg(test)]
mod tests {
    use crate::rng::Seed;
    use crate::sim::{SimHome, Transfer};
    use crate::{Disk, File, Home, Op, OpenHow, ReadHow, WriteSync};

    fn program(home: &SimHome, taken: &mut Vec<Vec<Transfer>>) {
        let mut disk = home.disk().expect("it is powered");
        let (file, _) = disk.open("a", OpenHow::CreateNew).expect("it is new");
        let mut take = || taken.push(home.take_transfers());
        file.write_now(0, &[1; 3 * 4096], WriteSync::None).expect("written");
        take();
        file.sync_now().expect("synced");
        take();
        // Two pages stay: the first one is gone.
        let mut into = [0; 100];
        file.read_now(2 * 4096, &mut into, ReadHow::MayBlock).expect("read");
        take();
        file.read_now(50, &mut into, ReadHow::MayBlock).expect("read");
        file.read_now(150, &mut into, ReadHow::MayBlock).expect("read");
        take();
        let write = Op::Write { file: file.clone(), at: 4000, buf: vec![2; 200], sync: WriteSync::Data };
        disk.run(write).expect("written");
        disk.run(Op::ZeroFill { file: file.clone(), at: 8192, len: 512 }).expect("filled");
        disk.run(Op::Sync { file }).expect("synced");
        take();
    }

    #[test]
    fn what_moved_is_told_and_nothing_else_changes() {
        let (metered, plain) = (SimHome::new(Seed(7)), SimHome::new(Seed(7)));
        metered.meter(2);
        let mut taken = Vec::new();
        program(&metered, &mut taken);
        assert_eq!(taken[0], [Transfer::CachedWrite { bytes: 12_288 }]);
        assert_eq!(taken[1], [Transfer::Durable { bytes: 12_288 }]);
        assert_eq!(taken[2], [Transfer::CachedRead { bytes: 100 }]);
        assert_eq!(
            taken[3],
            [Transfer::DiskRead { bytes: 4096 }],
            "the second goes on where the first ended"
        );
        let last = [
            Transfer::Durable { bytes: 8192 },
            Transfer::CachedWrite { bytes: 512 },
            Transfer::Durable { bytes: 512 },
        ];
        assert_eq!(taken[4], last);
        program(&plain, &mut Vec::new());
        assert_eq!(metered.trace_hash(), plain.trace_hash());
        assert!(plain.take_transfers().is_empty());
    }

    #[test]
    fn what_the_kernel_writes_back_survives_and_is_clean() {
        let home = SimHome::new(Seed(8));
        let mut disk = home.disk().expect("it is powered");
        let (file, _) = disk.open("a", OpenHow::CreateNew).expect("it is new");
        file.write_now(0, &[3; 1000], WriteSync::None).expect("written");
        assert!(home.durable_bytes("a").expect("it is there").is_empty());
        assert_eq!(home.write_back(), 1024);
        assert_eq!(home.durable_bytes("a").expect("it is there"), [3; 1000]);
        assert_eq!(home.write_back(), 0);
    }
}
