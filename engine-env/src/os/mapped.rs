//! [`SealedBytes`]: the bytes of a file that nobody changes any more.

use std::ops::Deref;
use std::sync::Arc;

/// The contents of a sealed file, shared and cheap to clone. The file must not be written, truncated or reused
/// while a clone lives: the engine that seals a file upholds that.
#[derive(Clone)]
pub struct SealedBytes(Inner);

#[derive(Clone)]
enum Inner {
    Mapped(Arc<memmap2::Mmap>),
    Owned(Arc<[u8]>),
}

impl SealedBytes {
    pub(super) fn mapped(map: memmap2::Mmap) -> Self {
        Self(Inner::Mapped(Arc::new(map)))
    }

    /// Tells the kernel that reads will jump about: what isn't in the page cache comes alone, without what stands
    /// around it. Only advice; nothing tells whether it was taken.
    pub fn expect_random_reads(&self) {
        if let Inner::Mapped(map) = &self.0 {
            let _ = map.advise(memmap2::Advice::Random);
        }
    }

    /// Bytes in memory, as the simulated disk gives them.
    #[must_use]
    pub fn owned(bytes: Vec<u8>) -> Self {
        Self(Inner::Owned(bytes.into()))
    }
}

impl Deref for SealedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Inner::Mapped(map) => map,
            Inner::Owned(bytes) => bytes,
        }
    }
}

impl std::fmt::Debug for SealedBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SealedBytes({} bytes)", self.len())
    }
}
