//! An index of a segment: entries of fixed length that rise, in memory or in the file of a sealed segment.
//!
//! The files are Kafka's and have no checksum. So an entry is only a hint: whoever follows one checks what it says
//! against the batch that it points at.

use engine_env::SealedBytes;

/// An entry and its bytes.
pub(crate) trait Entry: Copy {
    /// Bytes of an entry.
    const LEN: usize;
    /// From exactly [`Entry::LEN`] bytes.
    fn decode(bytes: &[u8]) -> Self;
    fn encode(self, out: &mut Vec<u8>);
}

/// An index, in memory or in a sealed file.
#[derive(Debug)]
pub(crate) enum Index<E> {
    /// Of the active segment, or rebuilt.
    Memory(Vec<E>),
    /// The file of a sealed segment.
    Sealed(SealedBytes),
}

/// The entries in the bytes of an index file; a cut-off one at the end is left out.
pub(crate) fn entries<'a, E: Entry + 'a>(bytes: &'a [u8]) -> impl Iterator<Item = E> + 'a {
    bytes.chunks_exact(E::LEN).map(E::decode)
}

/// The file's bytes.
pub(crate) fn encode<E: Entry>(entries: &[E]) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.len() * E::LEN);
    for &entry in entries {
        entry.encode(&mut out);
    }
    out
}

impl<E: Entry> Index<E> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Memory(entries) => entries.len(),
            Self::Sealed(bytes) => bytes.len() / E::LEN,
        }
    }

    fn get(&self, i: usize) -> E {
        match self {
            Self::Memory(entries) => entries[i],
            Self::Sealed(bytes) => E::decode(&bytes[i * E::LEN..(i + 1) * E::LEN]),
        }
    }

    pub(crate) fn last(&self) -> Option<E> {
        self.len().checked_sub(1).map(|i| self.get(i))
    }

    /// The last entry for which `is_before`, which holds for some of the first entries and for none behind them.
    pub(crate) fn last_where(&self, is_before: impl Fn(E) -> bool) -> Option<E> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if is_before(self.get(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low.checked_sub(1).map(|i| self.get(i))
    }

    /// The entries for which `is_before`, from the first on.
    pub(crate) fn first_while(&self, is_before: impl Fn(E) -> bool) -> Vec<E> {
        (0..self.len()).map(|i| self.get(i)).take_while(|&e| is_before(e)).collect()
    }
}
