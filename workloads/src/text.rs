//! Text that compresses like the free text of a profile: a corpus built once from a fixed vocabulary, of which
//! values take slices. It never changes between runs, and a slice costs one copy.

use rand::RngExt;
use std::sync::OnceLock;

/// Bytes that a slice may start in; a power of two, so that a hash picks a start by masking.
const STARTS: usize = 1 << 16;
/// Longest slice taken at once.
const SLICE_MAX: usize = 4096;
/// Short slices are copied in steps of so many bytes and cut to their length: a step is two registers, a copy of any
/// length is a call.
pub(crate) const STEP: usize = 32;
/// Longer slices are worth the call.
const STEPS_MAX: usize = 8;
const CORPUS_LEN: usize = STARTS + SLICE_MAX + STEP;

const WORDS: &[&str] = &[
    "Avenue",
    "Street",
    "Boulevard",
    "Suite",
    "Building",
    "Room",
    "Capitol",
    "State",
    "House",
    "Senate",
    "District",
    "County",
    "City",
    "Hall",
    "Main",
    "Park",
    "North",
    "South",
    "East",
    "West",
    "Office",
    "primary",
    "mayor",
    "member",
    "chair",
    "committee",
    "council",
    "education",
    "finance",
    "health",
    "transportation",
    "agriculture",
    "judiciary",
    "representative",
    "senator",
    "president",
    "leadership",
    "majority",
    "minority",
    "Democratic",
    "Republican",
    "Independent",
    "University",
    "College",
    "School",
    "bachelor",
    "master",
    "law",
    "science",
    "engineering",
    "history",
    "economics",
    "manager",
    "director",
    "owner",
    "business",
    "company",
    "software",
    "nurse",
    "teacher",
    "farmer",
    "attorney",
    "veteran",
    "army",
    "family",
    "children",
    "married",
    "born",
    "raised",
    "served",
    "elected",
    "since",
    "years",
    "first",
    "second",
    "community",
    "volunteer",
    "board",
    "public",
    "service",
    "local",
    "small",
    "development",
    "experience",
    "worked",
    "lives",
    "with",
    "and",
    "the",
    "of",
    "in",
    "for",
    "from",
    "to",
    "at",
    "on",
    "James",
    "Mary",
    "Robert",
    "Patricia",
    "John",
    "Jennifer",
    "Michael",
    "Linda",
    "David",
    "Elizabeth",
    "William",
    "Barbara",
    "Richard",
    "Susan",
    "Joseph",
    "Jessica",
    "Thomas",
    "Sarah",
    "Smith",
    "Johnson",
    "Williams",
    "Brown",
    "Jones",
    "Garcia",
    "Miller",
    "Davis",
    "Rodriguez",
    "Martinez",
    "Hernandez",
    "Lopez",
    "Gonzalez",
    "Wilson",
    "Anderson",
    "Taylor",
    "Moore",
    "Jackson",
    "Martin",
    "Lee",
    "Springfield",
    "Franklin",
    "Greenville",
    "Bristol",
    "Clinton",
    "Fairview",
    "Salem",
    "Madison",
    "Georgetown",
    "Arlington",
    "Ashland",
    "Burlington",
    "Manchester",
    "Oxford",
    "Jefferson",
    "Lincoln",
    "Washington",
    "https:",
    "www",
    "gov",
    "org",
    "example",
    "people",
    "profile",
    "images",
    "about",
    "contact",
];

/// The text that slices are taken from.
#[derive(Clone, Copy)]
pub(crate) struct Corpus(&'static [u8; CORPUS_LEN]);

/// The corpus, built on first use.
pub(crate) fn corpus() -> Corpus {
    static CORPUS: OnceLock<Box<[u8; CORPUS_LEN]>> = OnceLock::new();
    Corpus(CORPUS.get_or_init(|| {
        let mut rng = engine_env::rng::Seed(0x7465_7874).rng();
        let mut text = Vec::with_capacity(CORPUS_LEN + SLICE_MAX);
        while text.len() < CORPUS_LEN {
            match rng.random_range(0..12_u32) {
                0 => text.extend_from_slice(format!("{} ", rng.random_range(1..10_000_u32)).as_bytes()),
                1 => text.extend_from_slice(
                    format!("{}-{:04} ", rng.random_range(200..1000_u32), rng.random_range(0..10_000_u32))
                        .as_bytes(),
                ),
                _ => {
                    // Squaring favours the front of the list a little, as common words are favoured in text.
                    let at: f64 = rng.random::<f64>().powf(1.3);
                    text.extend_from_slice(WORDS[(at * WORDS.len() as f64) as usize].as_bytes());
                    text.push(b' ');
                }
            }
        }
        text.truncate(CORPUS_LEN);
        text.into_boxed_slice().try_into().expect("filled to its length")
    }))
}

impl Corpus {
    /// Appends `len` bytes of text chosen by `pick`: printable ASCII without quote or backslash. Quick where `out` has
    /// room for a [`STEP`] more.
    #[inline]
    pub(crate) fn fill(self, out: &mut Vec<u8>, len: usize, pick: u64) {
        if len <= STEPS_MAX * STEP {
            let end = out.len() + len;
            let mut from = pick as usize & (STARTS - 1);
            while out.len() < end {
                append_step(out, self.0[from..from + STEP].try_into().expect("as long as a step"));
                from += STEP;
            }
            out.truncate(end);
            return;
        }
        let (mut left, mut pick) = (len, pick);
        loop {
            let start = pick as usize & (STARTS - 1);
            let take = left.min(SLICE_MAX);
            out.extend_from_slice(&self.0[start..start + take]);
            left -= take;
            if left == 0 {
                return;
            }
            pick = engine_env::rng::mix(pick.wrapping_add(1));
        }
    }
}

/// Appends one step.
#[inline]
pub(crate) fn append_step(out: &mut Vec<u8>, step: &[u8; STEP]) {
    out.extend_from_slice(step);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_in_steps_is_the_slice_that_one_copy_takes() {
        let corpus = corpus();
        for len in (0..3 * STEP).chain([STEPS_MAX * STEP, STEPS_MAX * STEP + 1]) {
            for pick in [0, 77, STARTS as u64 - 1, u64::MAX] {
                let mut out = b"before".to_vec();
                corpus.fill(&mut out, len, pick);
                let from = pick as usize & (STARTS - 1);
                assert_eq!(out, [b"before", &corpus.0[from..from + len]].concat(), "{len} bytes at {pick}");
            }
        }
    }

    #[test]
    fn text_is_printable_and_needs_no_escape_in_json() {
        let mut out = Vec::new();
        corpus().fill(&mut out, 20_000, 99);
        assert_eq!(out.len(), 20_000);
        assert!(out.iter().all(|b| (b' '..=b'~').contains(b) && *b != b'"' && *b != b'\\'));
    }
}
