//! One decoder under libFuzzer: the environment's `TARGET` says which.
#![cfg_attr(fuzzing, no_main)]

use std::sync::LazyLock;

use fuzz::{TARGETS, Target};

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("TARGET").unwrap_or_default();
    fuzz::named(&name).unwrap_or_else(|| {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        panic!("TARGET is {name:?}; set it to one of {}", names.join(", "))
    })
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    (TARGET.accepts)(bytes);
});
