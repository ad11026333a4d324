//! The report: one record and its raw files in, one page that opens offline out.

pub mod histograms;
pub mod record;
pub mod series;
