//! The small text files of a store, `latest` and each version's `.manifest`: lines, and a last one with the CRC-32 of
//! all bytes before it.

use engine_env::{Disk, DiskError, DiskErrorKind, File as _, OpenHow, WriteSync};

const CRC_KEY: &str = "crc32 ";
/// No file of ours is longer; one that is isn't ours.
const BYTES_MAX: u64 = 64 << 20;

/// Appends the last line.
pub(super) fn seal(mut lines: String) -> Vec<u8> {
    let crc = crc32fast::hash(lines.as_bytes());
    lines.push_str(&format!("{CRC_KEY}{crc:08x}\n"));
    lines.into_bytes()
}

/// The lines before the last one, if that one fits them.
pub(super) fn open_seal(bytes: &[u8]) -> Result<&str, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is no text".to_owned())?;
    let lines = text.strip_suffix('\n').ok_or("it is cut short")?;
    let body_len = lines.rfind('\n').map_or(0, |at| at + 1);
    let stored = lines[body_len..].strip_prefix(CRC_KEY).ok_or("its last line isn't a CRC-32")?;
    let computed = format!("{:08x}", crc32fast::hash(&bytes[..body_len]));
    if stored != computed {
        return Err(format!("its CRC-32 is {computed}, {stored} is noted"));
    }
    Ok(&text[..body_len])
}

/// The bytes of a small file; `None` if there is none.
pub(super) fn read<D: Disk>(disk: &mut D, path: &str) -> Result<Option<Vec<u8>>, DiskError> {
    let (file, len) = match disk.open(path, OpenHow::Existing) {
        Err(error) if error.kind == DiskErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    // A longer file isn't one of ours; its head alone doesn't fit its last line, and is refused.
    let len = usize::try_from(len.min(BYTES_MAX)).expect("at most 64 MiB");
    disk.read(&file, 0, len).map(Some)
}

/// Creates a file with these bytes. Neither they nor the name are synced yet.
pub(super) fn create<D: Disk>(disk: &mut D, path: &str, bytes: &[u8]) -> Result<D::File, DiskError> {
    let (file, _) = disk.open(path, OpenHow::CreateNew)?;
    file.write_now(0, bytes, WriteSync::None)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_sealed_text_opens_and_a_changed_one_does_not(
            lines in "([a-z0-9 ]{0,20}\n){0,5}", at: prop::sample::Index, mask in 1..=255u8
        ) {
            let mut bytes = seal(lines.clone());
            prop_assert_eq!(open_seal(&bytes), Ok(lines.as_str()));
            let cut = at.index(bytes.len());
            prop_assert!(open_seal(&bytes[..cut]).is_err());
            bytes[cut] ^= mask;
            prop_assert!(open_seal(&bytes).is_err());
        }

        #[test]
        fn any_bytes_never_panic(bytes: Vec<u8>) {
            let _ = open_seal(&bytes);
        }
    }
}
