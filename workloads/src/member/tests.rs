use super::*;
use crate::op::Access;
use crate::values::check;
use std::collections::{HashMap, HashSet};

fn workload(members: u32) -> MemberUpdate {
    let (mut spec, _) = parse("member-update", STANDARD[0].1, false).expect("embedded");
    spec.members = members;
    MemberUpdate::new(spec)
}

#[test]
fn the_same_seed_gives_the_same_stream_and_another_seed_another() {
    let workload = workload(1000);
    let take = |seed| workload.stream(Seed(seed)).take(3000).collect::<Vec<_>>();
    assert_eq!(take(1), take(1));
    assert_ne!(take(1), take(2));
    let first = |seed| workload.preload(Seed(seed)).take(10).collect::<Vec<_>>();
    assert_eq!(first(1), first(1));
    assert_ne!(first(1), first(2), "the values carry the stream they are from");
}

#[test]
fn the_preload_writes_each_member_once_in_order_with_its_own_key() {
    let workload = workload(5000);
    let mut keys = HashSet::new();
    for (at, op) in workload.preload(Seed(1)).enumerate() {
        assert_eq!(op.key_index as usize, at);
        assert_eq!(op.key.len(), 16);
        assert!(keys.insert(op.key.clone()));
        let value = op.value.expect("a write");
        check(value.as_bytes(), value.label().expect("generated")).expect("self-checking");
    }
    assert_eq!(keys.len() as u64, workload.records());
}

#[test]
fn keys_are_distinct_at_every_length() {
    for bytes in [8, 16, 36] {
        let keys: HashSet<Key> = (0..20_000).map(|member| member_key(member, bytes)).collect();
        assert_eq!(keys.len(), 20_000);
        assert!(keys.iter().all(|key| key.len() == bytes as usize));
    }
}

#[test]
fn the_mix_and_the_popularities_are_those_of_the_spec() {
    const OPS: usize = 200_000;
    let workload = workload(10_000);
    let mut counts = [0_usize; 3];
    let (mut reads, mut updates) = (HashMap::<u32, usize>::new(), HashMap::<u32, usize>::new());
    for op in workload.stream(Seed(3)).take(OPS) {
        match op.access() {
            Access::Read => {
                counts[0] += 1;
                *reads.entry(op.key_index).or_default() += 1;
            }
            Access::Write => {
                counts[1] += 1;
                *updates.entry(op.key_index).or_default() += 1;
            }
            Access::Delete => counts[2] += 1,
            Access::Modify | Access::Scan => panic!("{op:?}"),
        }
    }
    let share = |at: usize| counts[at] as f64 / OPS as f64;
    assert!((share(0) - 0.6).abs() < 0.005, "reads {}", share(0));
    assert!((share(1) - 0.399).abs() < 0.005, "updates {}", share(1));
    assert!((share(2) - 0.001).abs() < 0.0004, "deletes {}", share(2));
    // Zipf .99 over 10,000: the hottest takes 1 in 9.95; zipf .2: the top 1 % take about 2.5 %.
    let hottest = *reads.values().max().expect("reads") as f64 / counts[0] as f64;
    assert!((hottest * 10.2 - 1.0).abs() < 0.08, "hottest read {hottest}");
    let mut by_count: Vec<usize> = updates.values().copied().collect();
    by_count.sort_unstable_by(|a, b| b.cmp(a));
    let top = by_count[..100].iter().sum::<usize>() as f64 / counts[1] as f64;
    assert!((0.015..0.045).contains(&top), "top percent of updates {top}");
}

/// measuring.md, section e: records are lognormal with mu 7.0 and sigma 0.4, clamped to 400..9000 bytes.
#[test]
fn record_sizes_have_the_percentiles_of_the_published_distribution() {
    let workload = workload(100_000);
    let mut sizes = workload.sizes().to_vec();
    sizes.sort_unstable();
    let at = |q: f64| f64::from(sizes[(q * sizes.len() as f64) as usize]);
    for (q, normal) in [(0.1, -1.2816_f64), (0.5, 0.0), (0.9, 1.2816), (0.99, 2.3263)] {
        let expected = (7.0 + 0.4 * normal).exp();
        assert!((at(q) / expected - 1.0).abs() < 0.03, "q {q}: {} expected {expected}", at(q));
    }
    assert!(sizes[0] >= 400 && *sizes.last().expect("not empty") <= 9000);
    let mut drawn = workload.preload(Seed(1)).zip(workload.sizes());
    assert!(drawn.by_ref().take(500).all(|(op, size)| op.value.expect("a write").len() == *size as usize));
}

/// measuring.md, section e: a repeat update changes 1 field (p50), 2 (p90).
#[test]
fn an_update_changes_one_field_at_the_median_and_two_at_p90() {
    let workload = workload(50);
    let fields = |op: &Op| {
        let value = op.value.as_ref().expect("a write");
        serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&value.as_bytes()[32..])
            .expect("JSON")
    };
    let mut last: HashMap<u32, _> = workload.preload(Seed(1)).map(|op| (op.key_index, fields(&op))).collect();
    let mut changed = Vec::new();
    for op in workload.stream(Seed(2)).filter(|op| op.access() == Access::Write).take(3000) {
        let now = fields(&op);
        let before = last.insert(op.key_index, now.clone()).expect("preloaded");
        changed.push(before.iter().filter(|(name, text)| now[*name] != **text).count());
    }
    changed.sort_unstable();
    assert_eq!((changed[1500], changed[2700]), (1, 2));
    // A short field may keep its two characters by chance; most changes must be visible.
    assert!(changed.iter().filter(|n| **n == 0).count() < 150, "{:?}", &changed[..200]);
}

#[test]
fn text_compresses_like_records_rather_than_like_noise() {
    let value = workload(1).preload(Seed(1)).next().and_then(|op| op.value).expect("a record");
    let mut seen = HashSet::new();
    // Distinct 4-grams in the bodies of one record: random bytes would have almost as many as bytes.
    let body = &value.as_bytes()[32..];
    for gram in body.windows(4) {
        seen.insert(gram);
    }
    assert!(seen.len() < body.len() * 97 / 100, "{} of {}", seen.len(), body.len());
}

#[test]
fn settings_make_a_new_workload_and_leave_the_old_one_alone() {
    let workload = workload(1000);
    let set = [("members".to_owned(), "7".to_owned())];
    let small = workload.configured(&set).expect("a known key");
    assert_eq!((small.records(), workload.records()), (7, 1000));
    assert_eq!(small.preload(Seed(1)).count(), 7);
}

fn named(name: &str, set: &[(&str, &str)]) -> MemberUpdate {
    let text = STANDARD.iter().find(|(n, _)| *n == name).expect("embedded").1;
    let (mut spec, warnings) = parse(name, text, false).expect("an embedded spec is sound");
    assert!(warnings.is_empty());
    let set: Vec<_> = set.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    spec.apply(&set).expect("sound settings");
    MemberUpdate::new(spec)
}

#[test]
fn every_named_workload_tells_its_story_in_plain_sentences() {
    for (name, _) in STANDARD {
        let workload = named(name, &[]);
        assert_eq!(workload.name(), name);
        assert!(name == "member-read-mostly" || workload.story().len() > 200, "{name}");
        assert!(workload.story().lines().all(|line| line.len() <= 120), "{name}");
        assert!(workload.about().len() < 120, "{name}");
    }
}

#[test]
fn contended_members_are_incremented_by_many_and_all_read_in_the_end() {
    let workload = named("member-contended", &[("members", "50")]);
    let mut increments = HashMap::<u32, usize>::new();
    for op in workload.stream(Seed(1)).take(20_000) {
        match op.kind {
            OpKind::ReadProfile => {}
            OpKind::IncrementProfile => *increments.entry(op.key_index).or_default() += 1,
            other => panic!("{other}"),
        }
    }
    let total: usize = increments.values().sum();
    assert!((9_700..10_300).contains(&total), "{total}");
    assert!(increments.values().max() > Some(&(total / 8)), "many meet on the same member");
    let preloaded = workload.preload(Seed(1)).next().and_then(|op| op.value).expect("a profile");
    assert_eq!(crate::counted::count(preloaded.as_bytes()), Ok(0));
    assert_eq!(workload.finale(20_000).count(), 50);
}

#[test]
fn celebrities_take_their_share_whatever_the_seed() {
    let workload = named("hot-profile", &[("members", "10000")]);
    let hottest = |seed| {
        let mut reads = HashMap::<u32, usize>::new();
        let mut total = 0;
        for op in workload.stream(Seed(seed)).take(100_000).filter(|op| op.access() == Access::Read) {
            *reads.entry(op.key_index).or_default() += 1;
            total += 1;
        }
        let even = |n: usize| (0.02..0.04).contains(&(n as f64 / f64::from(total)));
        let hot: HashSet<u32> = reads.into_iter().filter(|(_, n)| even(*n)).map(|(key, _)| key).collect();
        hot
    };
    let (first, second) = (hottest(1), hottest(2));
    assert!(first.intersection(&second).count() >= 10, "{first:?} {second:?}");
}

#[test]
fn a_post_reaches_its_author_s_followers_and_no_feed_but_theirs() {
    let workload = named(
        "feed-fanout",
        &[("members", "5000"), ("mix.read", "0"), ("mix.update", "1"), ("keys.celebrities", "10")],
    );
    let ops: Vec<Op> = workload.stream(Seed(1)).take(50_000).collect();
    assert!(ops.iter().all(|op| op.kind == OpKind::UpdateFeed));
    // Whoever is reached by one post of an author is reached by each: the same runs of feeds come back.
    let mut posts = HashMap::<u32, usize>::new();
    for pair in ops.windows(2) {
        *posts.entry(pair[0].key_index ^ pair[1].key_index.rotate_left(16)).or_default() += 1;
    }
    assert!(posts.values().filter(|n| **n >= 3).count() > 1000, "authors post more than once");
    let sizes: Vec<u32> = (0..2000).map(|author| workload.followers(author)).collect();
    let mut sorted = sizes;
    sorted.sort_unstable();
    assert!((90..125).contains(&sorted[1000]), "median {}", sorted[1000]);
    assert!(*sorted.last().expect("some") <= 1000);
}
