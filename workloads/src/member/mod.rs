//! The `member-update` family: profiles are read, a field or two is changed, the whole record is written back.
//!
//! Every parameter is a key of the spec ([`spec`]). The population (sizes, which keys are hot) belongs to the
//! workload and is the same for every seed; the seed chooses the operations.

mod profile;
mod spec;

use crate::arrivals::Arrivals;
use crate::counted;
use crate::error::WorkloadError;
use crate::keys::{KeyChoice, Permutation};
use crate::op::{Access, Key, Op, OpKind};
use crate::values::{Label, StreamTag, Value};
use crate::workload::{Ops, Parameter, Workload};
use engine_env::rng::{Rng, Seed, mix};
use profile::{Changes, FIELDS, record};
use rand::RngExt;
use rand_distr::{Distribution, LogNormal, StandardNormal};
use spec::Family;
pub(crate) use spec::{MemberSpec, STANDARD, looks_like_spec, parse};
use std::sync::{Arc, OnceLock};

/// The population's own seed: which member has which size, and which are hot, is a fact of the workload.
const POPULATION: Seed = Seed(0x6d65_6d62_6572_7331);

/// A workload of the `member-update` family.
#[derive(Debug)]
pub(crate) struct MemberUpdate {
    spec: MemberSpec,
    /// Bytes of each member's record.
    sizes: OnceLock<Vec<u32>>,
}

impl MemberUpdate {
    pub(crate) fn new(spec: MemberSpec) -> Self {
        Self { spec, sizes: OnceLock::new() }
    }

    fn sizes(&self) -> &[u32] {
        self.sizes.get_or_init(|| {
            let spec = &self.spec;
            let sizes = LogNormal::new(spec.value_mu, spec.value_sigma).expect("the spec was checked");
            let (min, max) = (f64::from(spec.value_min), f64::from(spec.value_max));
            let mut rng = POPULATION.derive("sizes", 0).rng();
            (0..spec.members).map(|_| sizes.sample(&mut rng).round().clamp(min, max) as u32).collect()
        })
    }

    fn key(&self, member: u32) -> Key {
        member_key(member, self.spec.key_bytes)
    }

    fn kind(&self, access: Access) -> OpKind {
        match (self.spec.family, access) {
            (Family::Profiles, Access::Read) => OpKind::ReadProfile,
            (Family::Profiles, Access::Delete) => OpKind::DeleteProfile,
            (Family::Profiles, _) => OpKind::UpdateProfile,
            (Family::Feeds, Access::Read) => OpKind::ReadFeed,
            (Family::Feeds, Access::Delete) => OpKind::Delete,
            (Family::Feeds, _) => OpKind::UpdateFeed,
        }
    }

    /// What a key holds before the run, and after a write that nobody tells fields of.
    fn value(&self, label: Label, bytes: usize) -> Value {
        match self.spec.family {
            Family::Feeds => Value::generate(label.stream, label.key_index, label.version, bytes),
            Family::Profiles if self.spec.mix_increment > 0.0 => counted::template(label, bytes),
            Family::Profiles => record(label, &[0; FIELDS], bytes),
        }
    }

    fn popularity(&self, choice: KeyChoice, share: f64) -> Popular {
        let spec = &self.spec;
        Popular {
            choice,
            celebrities: if share > 0.0 { spec.celebrities } else { 0 },
            share,
            who: Permutation::new(spec.members, POPULATION.derive("celebrities", 0)),
        }
    }

    /// How many followers an author has: a fact of the population.
    fn followers(&self, author: u32) -> u32 {
        let spec = &self.spec;
        let mut rng = POPULATION.derive("followers", u64::from(author)).rng();
        let normal: f64 = StandardNormal.sample(&mut rng);
        let followers = spec.followers_median * (spec.followers_sigma * normal).exp();
        followers.round().clamp(1.0, f64::from(spec.followers_max)) as u32
    }
}

/// A popularity, beside a few members whom everybody knows.
struct Popular {
    choice: KeyChoice,
    celebrities: u32,
    share: f64,
    who: Permutation,
}

impl Popular {
    fn sample(&self, rng: &mut Rng) -> u32 {
        if self.celebrities > 0 && rng.random::<f64>() < self.share {
            return self.who.apply(rng.random_range(0..self.celebrities));
        }
        self.choice.sample(rng)
    }
}

/// A member's id: unique, printable but for 8 bytes, and without order, as ids of people are.
fn member_key(member: u32, bytes: u32) -> Key {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let id = mix(u64::from(member) ^ 0x6964);
    let mut text = [0; 16];
    for (at, digit) in text.iter_mut().enumerate() {
        *digit = HEX[(id >> (60 - 4 * at)) as usize & 15];
    }
    match bytes {
        8 => Key::new(&id.to_be_bytes()),
        36 => {
            let mut uuid = *b"00000000-0000-4000-8000-000000000000";
            uuid[..8].copy_from_slice(&text[..8]);
            uuid[9..13].copy_from_slice(&text[8..12]);
            uuid[15..18].copy_from_slice(&text[12..15]);
            uuid[35] = text[15];
            Key::new(&uuid)
        }
        _ => Key::new(&text),
    }
}

impl Workload for MemberUpdate {
    fn name(&self) -> &str {
        &self.spec.name
    }

    fn about(&self) -> &str {
        &self.spec.about
    }

    fn records(&self) -> u64 {
        u64::from(self.spec.members)
    }

    fn preload(&self, seed: Seed) -> Ops<'_> {
        let stream = StreamTag::of(seed);
        let sizes = self.sizes();
        Box::new((0..self.spec.members).map(move |member| {
            let label = Label { key_index: member, stream, version: 0 };
            let value = self.value(label, sizes[member as usize] as usize);
            Op::with_value(self.kind(Access::Write), member, self.key(member), value)
        }))
    }

    fn stream(&self, seed: Seed) -> Ops<'_> {
        let spec = &self.spec;
        Box::new(MemberStream {
            workload: self,
            sizes: self.sizes(),
            reads: self.popularity(
                spec.reads.choice(spec.members, POPULATION.derive("reads", 0)),
                spec.celebrity_reads,
            ),
            updates: self.popularity(
                spec.updates.choice(spec.members, POPULATION.derive("updates", 0)),
                spec.celebrity_updates,
            ),
            changes: match (spec.family, spec.mix_increment > 0.0) {
                (Family::Profiles, false) => vec![[0; FIELDS]; spec.members as usize],
                _ => Vec::new(),
            },
            post: Post { author: 0, reached: 0, followers: 0 },
            rng: seed.derive("member-update", 0).rng(),
            tag: StreamTag::of(seed),
            version: 0,
        })
    }

    fn arrivals(&self) -> Arrivals {
        self.spec.arrivals()
    }

    fn story(&self) -> &str {
        &self.spec.story
    }

    /// Every member whose count may have changed: what is missing in it is a lost update.
    fn finale(&self, _streamed: u64) -> Ops<'_> {
        if self.spec.mix_increment == 0.0 {
            return Box::new(std::iter::empty());
        }
        Box::new(
            (0..self.spec.members)
                .map(|member| Op::without_value(OpKind::ReadProfile, member, self.key(member))),
        )
    }

    fn parameters(&self) -> Vec<Parameter> {
        self.spec.parameters()
    }

    fn configured(&self, settings: &[(String, String)]) -> Result<Arc<dyn Workload>, WorkloadError> {
        let mut spec = self.spec.clone();
        spec.apply(settings)?;
        Ok(Arc::new(Self::new(spec)))
    }
}

/// The endless stream of one run.
struct MemberStream<'a> {
    workload: &'a MemberUpdate,
    sizes: &'a [u32],
    reads: Popular,
    updates: Popular,
    /// What members have changed so far; the whole record is made from it. Only where records have fields.
    changes: Vec<Changes>,
    /// The post that is on its way to its author's followers.
    post: Post,
    rng: Rng,
    tag: StreamTag,
    version: u64,
}

/// A post on its way into the feeds of its author's followers.
struct Post {
    author: u32,
    reached: u32,
    followers: u32,
}

impl MemberStream<'_> {
    /// The next feed that the current post reaches, or the first one of the next post.
    fn next_feed(&mut self) -> u32 {
        if self.post.reached == self.post.followers {
            let author = self.updates.sample(&mut self.rng);
            self.post = Post { author, reached: 0, followers: self.workload.followers(author) };
        }
        self.post.reached += 1;
        let follower = mix(u64::from(self.post.author) << 32 | u64::from(self.post.reached));
        ((u128::from(follower) * u128::from(self.workload.spec.members)) >> 64) as u32
    }

    /// The record of a member with one field changed, or a few.
    fn changed(&mut self, label: Label, bytes: usize) -> Value {
        let changes = &mut self.changes[label.key_index as usize];
        loop {
            let field = self.rng.random::<u32>() as usize % FIELDS;
            changes[field] = changes[field].wrapping_add(1);
            if self.rng.random::<f64>() >= self.workload.spec.update_more {
                break;
            }
        }
        record(label, changes, bytes)
    }
}

impl Iterator for MemberStream<'_> {
    type Item = Op;

    fn next(&mut self) -> Option<Op> {
        let (workload, spec) = (self.workload, &self.workload.spec);
        self.version += 1;
        let dice = self.rng.random::<f64>();
        if dice < spec.mix_read {
            let member = self.reads.sample(&mut self.rng);
            return Some(Op::without_value(workload.kind(Access::Read), member, workload.key(member)));
        }
        let updates = dice < spec.mix_read + spec.mix_increment + spec.mix_update;
        let member = match spec.family {
            Family::Feeds if updates => self.next_feed(),
            _ => self.updates.sample(&mut self.rng),
        };
        let key = workload.key(member);
        if !updates {
            return Some(Op::without_value(workload.kind(Access::Delete), member, key));
        }
        let label = Label { key_index: member, stream: self.tag, version: self.version };
        let bytes = self.sizes[member as usize] as usize;
        let (kind, value) = match spec.family {
            _ if spec.mix_increment > 0.0 => (OpKind::IncrementProfile, workload.value(label, bytes)),
            Family::Feeds => (OpKind::UpdateFeed, workload.value(label, bytes)),
            Family::Profiles => (OpKind::UpdateProfile, self.changed(label, bytes)),
        };
        Some(Op::with_value(kind, member, key, value))
    }
}

#[cfg(test)]
mod tests;
