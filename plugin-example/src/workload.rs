//! `birthday-greetings`: members, in the order of their birthdays, are sent a greeting and open it.
use workloads::{Op, Ops, Registry, Seed, StreamTag, Value, Workload};

const MEMBERS: u32 = 36_500;

struct BirthdayGreetings;

impl Workload for BirthdayGreetings {
    fn name(&self) -> &str {
        "birthday-greetings"
    }
    fn about(&self) -> &str {
        "each day 100 members get a greeting of 280 bytes and open it"
    }
    fn records(&self) -> u64 {
        u64::from(MEMBERS)
    }
    fn preload(&self, seed: Seed) -> Ops<'_> {
        Box::new((0..MEMBERS).map(move |member| greeting(seed, member, 0)))
    }
    fn stream(&self, seed: Seed) -> Ops<'_> {
        Box::new((1..u64::MAX).flat_map(move |turn| {
            let member = (turn % u64::from(MEMBERS)) as u32;
            [greeting(seed, member, turn), Op::get(member, key(member))]
        }))
    }
}

fn key(member: u32) -> String {
    format!("inbox/{member:05}")
}

fn greeting(seed: Seed, member: u32, version: u64) -> Op {
    Op::put(member, key(member), Value::generate(StreamTag::of(seed), member, version, 280))
}

/// Adds the workload to those that can be named.
pub fn register(registry: &mut Registry) {
    registry.add(BirthdayGreetings);
}
