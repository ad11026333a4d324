//! [`Claim`]: a published claim in the record, with its figures as published and as measured, and its verdict.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A published claim and what was found about it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// `C1` to `C19`.
    pub id: String,
    /// The claim in a sentence.
    pub statement: String,
    /// The claimed figures.
    pub claimed: ClaimedFigures,
    /// What was measured, if it was.
    pub measured: Option<MeasuredFigures>,
    /// The answer.
    pub verdict: ClaimVerdict,
    /// Why, in a sentence or two.
    pub why: String,
    /// What it was divided into: like for like, other durabilities, other quorums.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<ClaimPart>,
}

/// A quantity that a claim was divided into.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ClaimPart {
    /// `C1 literal`, `C1a`.
    pub id: String,
    /// The quantity in words.
    pub what: String,
    /// Durability of both sides.
    pub durability: String,
    /// Copies and quorums of both sides, and the load.
    pub setting: String,
    /// What was measured; the ratio is times better, before by after for latencies.
    pub measured: MeasuredFigures,
    /// The design before the move against itself.
    pub aa_before_ci95: Option<[f64; 2]>,
    /// The design after the move against itself.
    pub aa_after_ci95: Option<[f64; 2]>,
    /// How many pairs of runs counted.
    pub pairs: u32,
    /// The answer, where this part is judged by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<ClaimVerdict>,
    /// Anything to say about it, in a sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// Figures as published; `None` where the claim is not a number.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ClaimedFigures {
    /// Before the move.
    pub before: Option<f64>,
    /// After the move.
    pub after: Option<f64>,
    /// Unit of both.
    pub unit: String,
    /// How many times better.
    pub ratio: Option<f64>,
}

/// Figures as measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MeasuredFigures {
    /// With the design before the move.
    pub before: Option<f64>,
    /// With the design after it.
    pub after: Option<f64>,
    /// Unit of both.
    pub unit: String,
    /// How many times better.
    pub ratio: Option<f64>,
    /// Interval of `ratio`.
    pub ci95: Option<[f64; 2]>,
}

/// The answer to a claim.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClaimVerdict {
    /// Found again, to the published extent.
    #[serde(rename = "reproduced")]
    Reproduced,
    /// The same side is better, by less, or by how much isn't shown.
    #[serde(rename = "direction only")]
    DirectionOnly,
    /// Not found.
    #[serde(rename = "not reproduced")]
    NotReproduced,
    /// The interval allows both answers.
    #[serde(rename = "undecided")]
    Undecided,
    /// Not put to the test.
    #[default]
    #[serde(rename = "not measured")]
    NotMeasured,
}

impl fmt::Display for ClaimVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reproduced => "reproduced",
            Self::DirectionOnly => "direction only",
            Self::NotReproduced => "not reproduced",
            Self::Undecided => "undecided",
            Self::NotMeasured => "not measured",
        })
    }
}
