//! `report.md`: the page's tables and verdicts as text, for a terminal, a review or a commit.

use std::fmt::Write as _;

use crate::report::curves::{Curve, KNEE_RULE, POINT_RULE, SUSTAINED_RULE};
use crate::report::findings::{Findings, sentence};
use crate::report::quantity::count;
use crate::report::raw::RawFiles;
use crate::report::tables::{self, Table};
use crate::report::{method, told};

/// The whole text.
pub(crate) fn text(findings: &Findings<'_>, raw: &RawFiles) -> String {
    let run = findings.run;
    let mut out = String::new();
    let mut line = |s: &str| {
        out.push_str(s);
        out.push_str("\n\n");
    };
    line(&format!("# {}", plain(&told::title(findings))));
    let quick = if run.quick { ", quick run" } else { "" };
    let early = if run.interrupted { ", ended early" } else { "" };
    line(&format!("Run {}{quick}{early}. Plots and details: [report.html](report.html).", plain(&run.id)));
    let introduction = told::introduction(findings);
    line(&introduction.question);
    for (name, _, about) in &introduction.engines {
        line(&format!("- **{}**: {}", plain(name), plain(about)));
    }
    line(&plain(&introduction.asked));
    for (what, terms) in &introduction.terms {
        line(&format!("**{what}**: {}", plain(terms)));
    }
    if !findings.wrong().is_empty() {
        line(
            "**Wrong answers.** A run that returned a wrong answer has no number: its figures are withheld.",
        );
        for m in findings.wrong() {
            line(&format!(
                "- {}, {}, {}: {} wrong of {}. {}",
                plain(&m.engine),
                plain(&m.durability),
                plain(&m.operation),
                count(m.wrong_answers),
                count(m.count),
                plain(&m.wrong_answer_examples.join("; "))
            ));
        }
    }
    let verdicts = told::verdicts(run);
    if !verdicts.is_empty() {
        line(told::UNLIKE);
        for c in &verdicts {
            let claimed = told::claimed(c);
            let claimed = if claimed.is_empty() { String::new() } else { format!(" {}", sentence(&claimed)) };
            line(&format!(
                "**{}: {}. Verdict: {}.**{} {}",
                plain(&c.id),
                plain(&c.statement),
                c.verdict,
                plain(&claimed),
                plain(&c.why)
            ));
        }
        if let Some(t) = tables::claim_parts(&verdicts) {
            line(table(&t).trim_end());
        }
    }
    for answer in findings.answers() {
        line(&format!("**{}** {}", plain(&answer.short), plain(&answer.long)));
    }
    if run.quick {
        line(told::QUICK);
    }
    if !findings.main.is_empty() {
        line(table(&tables::main(findings)).trim_end());
        line(&told::main_table_note(findings));
    }
    if let Some(t) = tables::beside(findings) {
        line("## Other quorums, and what each difference of design is worth");
        line(table(&t).trim_end());
    }
    if let Some(noisy) = told::noisy(run) {
        line(&format!("**Noisy runs.** {}", plain(&noisy)));
    }
    for curve in Curve::of(run) {
        line(&format!("## {}: {}, {}", curve.experiment, plain(&curve.engine), plain(&curve.durability)));
        line(&plain(&curve.answer()));
        line(table(&tables::curve(&curve)).trim_end());
        line(&format!("{POINT_RULE}. {SUSTAINED_RULE}. {KNEE_RULE}."));
    }
    if !findings.main.is_empty() {
        line("## What it cost");
        line(table(&tables::resources(findings)).trim_end());
        if let Some(t) = tables::costs_beside(findings) {
            line(table(&t).trim_end());
        }
    }
    line("## The machine's limits");
    if run.limits.is_empty() {
        line("Not measured in this run.");
    } else {
        line(table(&tables::limits(&run.limits)).trim_end());
    }
    if let Some(t) = tables::against_limits(findings) {
        line(table(&t).trim_end());
    }
    if !run.claims.is_empty() {
        line("## The published claims");
        for paragraph in told::claims(run) {
            line(&paragraph);
        }
        line(table(&tables::claims(run)).trim_end());
    }
    line("## Method");
    for part in method::parts(findings) {
        line(&format!("**{}.** {}", part.title, plain(&part.sentences.join(" "))));
    }
    for note in &run.notes {
        line(&plain(&sentence(note)));
    }
    line("## Machine and build");
    line(table(&tables::environment(run)).trim_end());
    let problems = raw.problems();
    if !problems.is_empty() {
        line("## Not read");
        for p in problems {
            line(&format!("- {}", plain(&sentence(&p))));
        }
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

/// Text that Markdown leaves alone.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' | '*' | '_' | '`' | '<' | '[' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            '\n' | '\r' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

fn table(t: &Table) -> String {
    let mut out = String::new();
    let head: Vec<String> = t.head.iter().map(|h| plain(&h.text)).collect();
    // Writing to a string can't fail.
    let _ = writeln!(out, "| {} |", head.join(" | "));
    let rule: Vec<&str> = t.head.iter().map(|h| if h.numbers { "---:" } else { "---" }).collect();
    let _ = writeln!(out, "| {} |", rule.join(" | "));
    for group in &t.groups {
        if let Some(title) = &group.title {
            let _ = writeln!(out, "| **{}** |{}", plain(title), " |".repeat(t.head.len().saturating_sub(1)));
        }
        for row in &group.rows {
            let cells: Vec<String> = row.iter().map(|c| plain(&c.text)).collect();
            let _ = writeln!(out, "| {} |", cells.join(" | "));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_outside_can_not_break_a_table() {
        assert_eq!(plain("a|b\n<c> *d*"), "a\\|b \\<c> \\*d\\*");
    }
}
