//! The published claims, embedded: every report lists all of them, measured or not.

use serde::Deserialize;

use crate::report::record::{Claim, ClaimVerdict, ClaimedFigures};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    claim: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    statement: String,
    before: Option<f64>,
    after: Option<f64>,
    unit: String,
    ratio: Option<f64>,
    why: String,
}

/// Every claim, in order, none of them measured.
///
/// # Panics
/// Never: the embedded file is checked by a test.
#[must_use]
pub fn claims() -> Vec<Claim> {
    let file: File = toml::from_str(include_str!("claims.toml")).expect("a test reads the embedded file");
    file.claim
        .into_iter()
        .map(|e| Claim {
            id: e.id,
            statement: e.statement,
            claimed: ClaimedFigures { before: e.before, after: e.after, unit: e.unit, ratio: e.ratio },
            measured: None,
            verdict: ClaimVerdict::NotMeasured,
            why: e.why,
            parts: Vec::new(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_nineteen_are_there_in_order_each_with_its_reason() {
        let claims = claims();
        let ids: Vec<_> = claims.iter().map(|c| c.id.clone()).collect();
        assert_eq!(ids, (1..=19).map(|n| format!("C{n}")).collect::<Vec<_>>());
        assert!(claims.iter().all(|c| c.why.ends_with('.') && c.verdict == ClaimVerdict::NotMeasured));
    }
}
