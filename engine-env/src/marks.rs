//! Marks of rare paths: a name in production code that a test can require to have been reached.
//!
//! A crash test that never cut a torn tail has said nothing about torn tails. So the code that cuts one says
//! `reached("torn tail cut")`, and the test that claims to cover it fails if the name never came up. (TigerBeetle's
//! `marks.zig` ties a log line to its one test in the same way.)
//!
//! Compiled to nothing in an optimised build: marks exist with debug assertions (which the test profile has) and with the
//! feature `marks`. They are counted for the thread that meets them; what other threads meet stays theirs.

use std::collections::BTreeMap;

/// Whether this build counts marks.
pub const ENABLED: bool = cfg!(any(debug_assertions, feature = "marks"));

/// How often each mark was met.
pub type Marks = BTreeMap<&'static str, u64>;

#[cfg(any(debug_assertions, feature = "marks"))]
thread_local! {
    static MET: std::cell::RefCell<Marks> = const { std::cell::RefCell::new(BTreeMap::new()) };
}

/// Notes that this thread came here. `name` says what happened, in words that a test's list can be read by.
#[inline(always)]
pub fn reached(name: &'static str) {
    #[cfg(any(debug_assertions, feature = "marks"))]
    MET.with_borrow_mut(|met| *met.entry(name).or_default() += 1);
    #[cfg(not(any(debug_assertions, feature = "marks")))]
    let _ = name;
}

/// The marks that this thread met since it last asked; empty in a build without them.
#[must_use]
pub fn take() -> Marks {
    #[cfg(any(debug_assertions, feature = "marks"))]
    return MET.take();
    #[cfg(not(any(debug_assertions, feature = "marks")))]
    Marks::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_counted_where_it_is_met_and_taken_once() {
        let _ = take();
        reached("a path that is hardly ever taken");
        reached("a path that is hardly ever taken");
        let elsewhere = std::thread::spawn(take).join().expect("it only asks");
        assert_eq!(elsewhere, Marks::new());
        let expected =
            if ENABLED { Marks::from([("a path that is hardly ever taken", 2)]) } else { Marks::new() };
        assert_eq!(take(), expected);
        assert_eq!(take(), Marks::new());
    }
}
