//! The `member-update` family: profiles are read, a field or two is changed, the whole record is written back.
//!
//! Every parameter is a key of the spec ([`spec`]). The population (sizes, which keys are hot) belongs to the
//! workload and is the same for every seed; the seed chooses the operations.

mod profile;
mod spec;

use crate::arrivals::Arrivals;
use crate::error::WorkloadError;
use crate::keys::KeyChoice;
use crate::op::{Key, Op, OpKind};
use crate::values::{Label, StreamTag};
use crate::workload::{Ops, Parameter, Workload};
use engine_env::rng::{Rng, Seed, mix};
use profile::{Changes, FIELDS, record};
use rand::RngExt;
use rand_distr::{Distribution, LogNormal};
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
            let value = record(label, &[0; FIELDS], sizes[member as usize] as usize);
            Op::with_value(OpKind::UpdateProfile, member, self.key(member), value)
        }))
    }

    fn stream(&self, seed: Seed) -> Ops<'_> {
        let spec = &self.spec;
        Box::new(MemberStream {
            workload: self,
            sizes: self.sizes(),
            reads: spec.reads.choice(spec.members, POPULATION.derive("reads", 0)),
            updates: spec.updates.choice(spec.members, POPULATION.derive("updates", 0)),
            changes: vec![[0; FIELDS]; spec.members as usize],
            rng: seed.derive("member-update", 0).rng(),
            tag: StreamTag::of(seed),
            version: 0,
        })
    }

    fn arrivals(&self) -> Arrivals {
        self.spec.arrivals()
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
    reads: KeyChoice,
    updates: KeyChoice,
    /// What members have changed so far; the whole record is made from it.
    changes: Vec<Changes>,
    rng: Rng,
    tag: StreamTag,
    version: u64,
}

impl Iterator for MemberStream<'_> {
    type Item = Op;

    fn next(&mut self) -> Option<Op> {
        let spec = &self.workload.spec;
        self.version += 1;
        let dice = self.rng.random::<f64>();
        if dice < spec.mix_read {
            let member = self.reads.sample(&mut self.rng);
            return Some(Op::without_value(OpKind::ReadProfile, member, self.workload.key(member)));
        }
        let member = self.updates.sample(&mut self.rng);
        let key = self.workload.key(member);
        if dice >= spec.mix_read + spec.mix_update {
            return Some(Op::without_value(OpKind::DeleteProfile, member, key));
        }
        let changes = &mut self.changes[member as usize];
        loop {
            let field = self.rng.random::<u32>() as usize % FIELDS;
            changes[field] = changes[field].wrapping_add(1);
            if self.rng.random::<f64>() >= spec.update_more {
                break;
            }
        }
        let label = Label { key_index: member, stream: self.tag, version: self.version };
        let value = record(label, changes, self.sizes[member as usize] as usize);
        Some(Op::with_value(OpKind::UpdateProfile, member, key, value))
    }
}

#[cfg(test)]
mod tests;
