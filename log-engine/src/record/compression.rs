//! How a batch's records are packed: the codecs of Kafka's attribute bits 0 to 2, through the crates that the Rust world
//! uses for them.
//!
//! Unpacking never gives more than [`UNPACKED_BYTES_MAX`] bytes, and takes no memory on a length field's word alone.

use std::io::{Read, Write};
use std::str::FromStr;

use super::batch::BatchError;

/// A batch whose records unpack to more is refused: 128 MiB. It is also the largest window of zstd's own default.
pub const UNPACKED_BYTES_MAX: usize = 128 << 20;

/// A codec for the records of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Compression {
    /// Records lie in the batch as they are. The default, as Kafka's `compression.type` of a producer.
    #[default]
    None,
    /// RFC 1952, level 6.
    Gzip,
    /// In blocks of 32 KiB behind the header of xerial's `SnappyOutputStream`, as Java writes it; a bare block, as other
    /// clients write it, is read too.
    Snappy,
    /// The LZ4 frame format, independent blocks of 64 KiB.
    Lz4,
    /// Level 3.
    Zstd,
}

impl Compression {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The codec of these attribute bits; an unknown number comes back.
    pub(super) fn of_attributes(attributes: i16) -> Result<Self, u8> {
        let number = (attributes & 0x07) as u8;
        Self::ALL.get(usize::from(number)).copied().ok_or(number)
    }

    /// The attribute bits.
    pub(super) fn attribute_bits(self) -> i16 {
        self as i16
    }

    /// Its name in Kafka's settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// Appends the packed `records`.
    pub(super) fn pack(self, records: &[u8], out: &mut Vec<u8>) {
        let packed = match self {
            Self::None => {
                out.extend_from_slice(records);
                Ok(())
            }
            Self::Gzip => pack_gzip(records, out),
            Self::Snappy => {
                pack_snappy(records, out);
                Ok(())
            }
            Self::Lz4 => pack_lz4(records, out),
            Self::Zstd => zstd::stream::copy_encode(records, out, ZSTD_LEVEL),
        };
        packed.expect("writing to memory never fails");
    }

    /// What [`Compression::pack`] was given; at most `bytes_max` bytes of it.
    pub(super) fn unpack(self, packed: &[u8], bytes_max: usize) -> Result<Vec<u8>, BatchError> {
        let unpacked = match self {
            Self::None => Ok(packed.to_vec()),
            Self::Gzip => read_at_most(flate2::bufread::MultiGzDecoder::new(packed), bytes_max),
            Self::Snappy => unpack_snappy(packed, bytes_max),
            Self::Lz4 => read_at_most(lz4_flex::frame::FrameDecoder::new(packed), bytes_max),
            Self::Zstd => zstd::stream::read::Decoder::with_buffer(packed)
                .map_err(|e| Unpack::Malformed(e.to_string()))
                .and_then(|decoder| read_at_most(decoder, bytes_max)),
        };
        unpacked.map_err(|error| match error {
            Unpack::TooLarge => BatchError::UnpackedTooLarge { codec: self, bytes_max },
            Unpack::Malformed(why) => BatchError::Unpack { codec: self, why },
        })
    }
}

impl std::fmt::Display for Compression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Not the name of a codec.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is no compression; use none, gzip, snappy, lz4 or zstd")]
pub struct UnknownCompression {
    /// What was given.
    pub name: String,
}

impl FromStr for Compression {
    type Err = UnknownCompression;

    fn from_str(name: &str) -> Result<Self, UnknownCompression> {
        let found = Self::ALL.into_iter().find(|c| c.name() == name);
        found.ok_or_else(|| UnknownCompression { name: name.to_owned() })
    }
}

/// Why there is nothing unpacked.
enum Unpack {
    TooLarge,
    Malformed(String),
}

/// Reads to the end, and no more than `bytes_max` bytes: memory grows with what really comes.
fn read_at_most(reader: impl Read, bytes_max: usize) -> Result<Vec<u8>, Unpack> {
    let mut out = Vec::new();
    reader
        .take(bytes_max as u64 + 1)
        .read_to_end(&mut out)
        .map_err(|error| Unpack::Malformed(error.to_string()))?;
    if out.len() > bytes_max { Err(Unpack::TooLarge) } else { Ok(out) }
}

/// zstd's own default.
const ZSTD_LEVEL: i32 = 3;

fn pack_gzip(records: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
    let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::default());
    encoder.write_all(records)?;
    encoder.finish().map(drop)
}

fn pack_lz4(records: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
    let frame = lz4_flex::frame::FrameInfo::new()
        .block_mode(lz4_flex::frame::BlockMode::Independent)
        .block_size(lz4_flex::frame::BlockSize::Max64KB);
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(frame, out);
    encoder.write_all(records)?;
    encoder.finish()?;
    Ok(())
}

/// What xerial's stream begins with.
const XERIAL_MAGIC: &[u8; 8] = b"\x82SNAPPY\0";
/// Version and oldest compatible version, both 1, big-endian.
const XERIAL_VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];
const XERIAL_HEADER_LEN: usize = XERIAL_MAGIC.len() + XERIAL_VERSIONS.len();
/// Unpacked bytes of a block: xerial's default.
const XERIAL_BLOCK_LEN: usize = 32 << 10;
/// Snappy's densest instruction makes 64 bytes from 3.
const SNAPPY_RATIO_MAX: usize = 22;

fn pack_snappy(records: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(XERIAL_MAGIC);
    out.extend_from_slice(&XERIAL_VERSIONS);
    let mut encoder = snap::raw::Encoder::new();
    for block in records.chunks(XERIAL_BLOCK_LEN) {
        let packed = encoder.compress_vec(block).expect("a block of 32 KiB is below snappy's limit");
        let len = i32::try_from(packed.len()).expect("snappy makes little more of 32 KiB");
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(&packed);
    }
}

fn unpack_snappy(packed: &[u8], bytes_max: usize) -> Result<Vec<u8>, Unpack> {
    let mut out = Vec::new();
    if !packed.starts_with(XERIAL_MAGIC) {
        unpack_snappy_block(packed, bytes_max, &mut out)?;
        return Ok(out);
    }
    let cut_short = || Unpack::Malformed("a block is cut short".to_owned());
    let mut rest = packed.get(XERIAL_HEADER_LEN..).ok_or_else(cut_short)?;
    while !rest.is_empty() {
        if rest.starts_with(XERIAL_MAGIC) {
            // Streams may follow each other.
            rest = rest.get(XERIAL_HEADER_LEN..).ok_or_else(cut_short)?;
            continue;
        }
        let (len, behind) = rest.split_first_chunk::<4>().ok_or_else(cut_short)?;
        let len = usize::try_from(i32::from_be_bytes(*len)).map_err(|_| cut_short())?;
        let (block, behind) = behind.split_at_checked(len).ok_or_else(cut_short)?;
        unpack_snappy_block(block, bytes_max, &mut out)?;
        rest = behind;
    }
    Ok(out)
}

fn unpack_snappy_block(block: &[u8], bytes_max: usize, out: &mut Vec<u8>) -> Result<(), Unpack> {
    let malformed = |error: snap::Error| Unpack::Malformed(error.to_string());
    let len = snap::raw::decompress_len(block).map_err(malformed)?;
    if len > block.len().saturating_mul(SNAPPY_RATIO_MAX) {
        return Err(Unpack::Malformed(format!("a block of {} bytes says it unpacks to {len}", block.len())));
    }
    let start = out.len();
    if len > bytes_max - start {
        return Err(Unpack::TooLarge);
    }
    out.resize(start + len, 0);
    let written = snap::raw::Decoder::new().decompress(block, &mut out[start..]).map_err(malformed)?;
    out.truncate(start + written);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PACKING: [Compression; 4] =
        [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    fn packed(codec: Compression, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        codec.pack(bytes, &mut out);
        out
    }

    #[test]
    fn names_read_back_and_others_are_refused_with_the_way_out() {
        for codec in Compression::ALL {
            assert_eq!(codec.name().parse(), Ok(codec));
            assert_eq!(Compression::of_attributes(codec.attribute_bits()), Ok(codec));
        }
        let error = "brotli".parse::<Compression>().expect_err("Kafka has none");
        assert!(error.to_string().contains("zstd"), "{error}");
        assert_eq!(Compression::of_attributes(7), Err(7));
    }

    #[test]
    fn a_few_bytes_that_unpack_to_many_are_stopped_at_the_limit() {
        let zeros = vec![0; 1 << 20];
        for codec in PACKING {
            let bomb = packed(codec, &zeros);
            assert!(bomb.len() < 1 << 17, "{codec} makes {} bytes of a MiB of zeros", bomb.len());
            assert_eq!(codec.unpack(&bomb, zeros.len()), Ok(zeros.clone()), "{codec}");
            let error = codec.unpack(&bomb, zeros.len() - 1).expect_err("one too many");
            assert_eq!(error, BatchError::UnpackedTooLarge { codec, bytes_max: zeros.len() - 1 });
        }
        // Five bytes that claim four GiB.
        let lie = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
        assert!(matches!(
            Compression::Snappy.unpack(&lie, UNPACKED_BYTES_MAX),
            Err(BatchError::Unpack { .. })
        ));
    }

    #[test]
    fn snappy_is_read_in_both_framings_and_in_streams_that_follow_each_other() {
        let bytes: Vec<u8> = (0..100_000_u32).flat_map(|i| (i / 7).to_le_bytes()).collect();
        let bare = snap::raw::Encoder::new().compress_vec(&bytes).expect("below the limit");
        assert_eq!(Compression::Snappy.unpack(&bare, 1 << 20), Ok(bytes.clone()));
        let framed = packed(Compression::Snappy, &bytes);
        assert!(framed.starts_with(b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01"));
        let twice = [framed.clone(), framed].concat();
        assert_eq!(Compression::Snappy.unpack(&twice, 1 << 20), Ok([bytes.clone(), bytes].concat()));
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(
            pieces in proptest::collection::vec((any::<u8>(), 1..400usize), 0..20),
            noise in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut bytes: Vec<u8> = pieces.iter().flat_map(|&(b, n)| std::iter::repeat_n(b, n)).collect();
            bytes.extend(noise);
            for codec in Compression::ALL {
                let unpacked = codec.unpack(&packed(codec, &bytes), 1 << 20);
                prop_assert_eq!(unpacked.as_ref(), Ok(&bytes), "{}", codec);
            }
        }

        #[test]
        fn arbitrary_and_harmed_bytes_are_refused_or_stay_below_the_limit(
            noise in proptest::collection::vec(any::<u8>(), 0..200),
            at in any::<proptest::sample::Index>(), with: u8, cut in any::<proptest::sample::Index>(),
        ) {
            let text: Vec<u8> = noise.iter().cycle().take(noise.len() * 9).copied().collect();
            for codec in PACKING {
                let mut harmed = packed(codec, &text);
                let i = at.index(harmed.len());
                harmed[i] ^= with;
                harmed.truncate(1 + cut.index(harmed.len()));
                for bytes in [&noise, &harmed] {
                    if let Ok(out) = codec.unpack(bytes, 4000) {
                        prop_assert!(out.len() <= 4000);
                    }
                }
            }
        }
    }
}
