//! Names of a partition's files: the first offset in twenty digits, as Kafka's.

use crate::Offset;

/// A segment that is ready and has no offset yet. Appends may already be in it: recovery adopts it then.
pub(crate) const NEXT: &str = "next.prepared";
/// The durable-end mark.
pub(crate) const MARK: &str = "durable-end.mark";
/// Where each leader's term begins: Kafka's name.
pub(crate) const EPOCHS: &str = "leader-epoch-checkpoint";
/// Its name while it is written.
pub(crate) const EPOCHS_UNFINISHED: &str = "leader-epoch-checkpoint.new";
/// How far the high watermark was.
pub(crate) const HIGH_WATERMARK: &str = "high-watermark.mark";
/// Where the log starts, once something was removed.
pub(crate) const START: &str = "log-start-offset.mark";
/// Up to where a partition is compacted.
pub(crate) const CLEAN: &str = "compacted-end.mark";
/// What the name of a compacted copy ends with, while it is made.
pub(crate) const CLEANED_SUFFIX: &str = ".cleaned";
/// A segment that is cut, while it is copied.
pub(crate) const CUT: &str = "cut.prepared";

/// The `.log` file of the segment that starts at `base`.
pub(crate) fn log(dir: &str, base: Offset) -> String {
    format!("{dir}/{:020}.log", base.0)
}

/// The `.index` file of the segment that starts at `base`.
pub(crate) fn index(dir: &str, base: Offset) -> String {
    format!("{dir}/{:020}.index", base.0)
}

/// The `.timeindex` file of the segment that starts at `base`.
pub(crate) fn time_index(dir: &str, base: Offset) -> String {
    format!("{dir}/{:020}.timeindex", base.0)
}

/// The files of the segment that starts at `base`. The segment itself comes last.
pub(crate) fn all(dir: &str, base: Offset) -> [String; 3] {
    [index(dir, base), time_index(dir, base), log(dir, base)]
}

/// The compacted copy of the segment that starts at `base`, while it is made.
pub(crate) fn cleaned(dir: &str, base: Offset) -> String {
    format!("{dir}/{:020}{CLEANED_SUFFIX}", base.0)
}

/// A finished copy, which replaces the segments from `base` up to `end`.
pub(crate) fn swap(dir: &str, base: Offset, end: Offset) -> String {
    format!("{dir}/{:020}-{:020}.swap", base.0, end.0)
}

/// The offsets in a finished copy's name.
pub(crate) fn swapped(name: &str) -> Option<(Offset, Offset)> {
    let (base, end) = name.strip_suffix(".swap")?.split_once('-')?;
    Some((base_of(base, "")?, base_of(end, "")?)).filter(|(base, end)| base < end)
}

/// The producer snapshot of a log that ends at `end`.
pub(crate) fn snapshot(dir: &str, end: Offset) -> String {
    format!("{dir}/{:020}.snapshot", end.0)
}

/// The first offset that a file's name says, with that suffix.
pub(crate) fn base_of(name: &str, suffix: &str) -> Option<Offset> {
    let digits = name.strip_suffix(suffix)?;
    let plain = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    // Far from the end of i64, so that no sum of offsets overflows, whatever a name says.
    digits.parse().ok().filter(|&n: &u64| plain && n < 1 << 62).map(Offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_twenty_digits_and_read_back() {
        assert_eq!(log("t-0", Offset(42)), "t-0/00000000000000000042.log");
        assert_eq!(base_of("00000000000000000042.log", ".log"), Some(Offset(42)));
        for wrong in
            ["42.log", "0000000000000000004x.log", "99999999999999999999.log", "00000000000000000042.index"]
        {
            assert_eq!(base_of(wrong, ".log"), None, "{wrong}");
        }
        let copy = swap("t-0", Offset(5), Offset(42));
        assert_eq!(copy, "t-0/00000000000000000005-00000000000000000042.swap");
        assert_eq!(swapped(&copy["t-0/".len()..]), Some((Offset(5), Offset(42))));
        for wrong in ["5-42.swap", "00000000000000000042-00000000000000000005.swap", "-.swap"] {
            assert_eq!(swapped(wrong), None, "{wrong}");
        }
    }
}
