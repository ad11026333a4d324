//! [`prefetch`]: memory that will be wanted soon.

/// How much one prefetch brings, bytes.
pub const CACHE_LINE_BYTES: usize = 64;

/// Asks the processor to bring the cache line at an address, which needn't be anybody's: it is advice that can't fail. Where
/// several places in memory will be read one after the other, asking for the later ones first lets the waits overlap.
#[inline]
pub fn prefetch(address: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: PREFETCHT0 reads nothing that the program could see, and faults at no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::without_provenance(address)) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_address_may_be_asked_for() {
        let here = [1u8; 4 * CACHE_LINE_BYTES];
        let addresses = [0, 1, usize::MAX, 1 << 63, here.as_ptr().addr(), here.as_ptr().addr() + (1 << 30)];
        addresses.into_iter().for_each(prefetch);
        assert!(here.iter().all(|byte| *byte == 1));
    }
}
