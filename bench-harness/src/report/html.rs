//! `report.html`: one file that opens offline and shows the answer first.
//!
//! The plotting script is in the page once; a content security policy keeps the page from fetching anything at all.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::report::curves::{Curve, FIND_MAX, HIGHEST, KNEE_RULE, POINT_RULE, SUSTAINED_RULE};
use crate::report::findings::{Finding, Findings, Role, capital, sentence};
use crate::report::plots::{self, Figure};
use crate::report::quantity::{NONE, count};
use crate::report::raw::RawFiles;
use crate::report::record::{ComparisonVerdict, Run, Subject};
use crate::report::tables::{self, Cell, Table, Tone};
use crate::report::{method, told};

const POLICY: &str =
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:";

/// The whole page.
pub(crate) fn page(findings: &Findings<'_>, raw: &RawFiles, raw_files: &[String]) -> String {
    let run = findings.run;
    let title = told::title(findings);
    let forest = plots::forest(findings);
    // Runs of a search differ in their rates, so their curve tells them; rows beside have a table of their own.
    let of_one_load = || findings.main.iter().filter(|f| f.experiment() != HIGHEST && !f.beside());
    let sections: Vec<(String, Markup)> = of_one_load()
        .enumerate()
        .map(|(i, f)| (format!("setting-{}", i + 1), setting(f, raw, &format!("setting-{}", i + 1))))
        .collect();
    let curves = Curve::of(run);
    let against_limits = tables::against_limits(findings);
    let beside = tables::beside(findings);
    let problems = raw.problems();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="color-scheme" content="light dark";
                link rel="icon" href="data:,";
                title { (title) }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                header.page {
                    p.kicker {
                        span { "Storage-engine workbench" }
                        span { (run.id) }
                        @if run.quick { span.badge { "quick run" } }
                        @if run.interrupted { span.badge { "ended early" } }
                    }
                    h1 { (title) }
                    (introduction(findings))
                    @if !findings.wrong().is_empty() { (wrong_answers(findings)) }
                    (verdicts(run))
                    (answers(findings))
                }
                main {
                    section #answer {
                        @if !findings.main.is_empty() {
                            (table(&tables::main(findings), ""))
                            p.quiet { (told::main_table_note(findings)) }
                        }
                        @if let Some(t) = &beside {
                            h2 #beside { "Other quorums, and what each difference of design is worth" }
                            p.quiet { "At the load that decides. An engine against itself with something switched off tells what that is worth to it." }
                            (table(t, "wide small"))
                        }
                        @if let Some(noisy) = told::noisy(run) { div.notice { strong { "Noisy runs. " } (noisy) } }
                    }
                    nav.contents aria-label="Contents" {
                        @if beside.is_some() { a href="#beside" { "Other quorums and ablations" } }
                        @if !curves.is_empty() { a href="#curve-1" { "Latency against throughput" } }
                        @if forest.is_some() { a href="#ratios" { "Ratios" } }
                        @for (f, (id, _)) in of_one_load().zip(&sections) {
                            a href={ "#" (id) } { (capital(&findings.short_title(f))) }
                        }
                        @if !findings.main.is_empty() { a href="#resources" { "What it cost" } }
                        a href="#limits" { "The machine's limits" }
                        @if !run.claims.is_empty() { a href="#claims" { "Claims" } }
                        a href="#method" { "Method" }
                        a href="#machine" { "Machine" }
                        a href="#raw" { "Raw data" }
                    }
                    @if let Some(figure) = &forest {
                        section #ratios {
                            h2 { "Ratios, pair by pair" }
                            (plot(figure))
                        }
                    }
                    @for (_, section) in &sections { (section) }
                    @for (i, c) in curves.iter().enumerate() { (curve(c, &format!("curve-{}", i + 1))) }
                    @if !findings.main.is_empty() { section #resources {
                        h2 { "What it cost" }
                        p.quiet { "Means over the runs. Processor time holds the driver's and the checking of every answer, on both sides alike; what the floor takes is theirs." }
                        (table(&tables::resources(findings), ""))
                        @if let Some(t) = tables::costs_beside(findings) { (table(&t, "wide small")) }
                    } }
                    section #limits {
                        h2 { "The machine's limits" }
                        p { "Measured without any engine in the same run, through the same disk layer. Absolute figures move with the machine's mood; ratios to these move less." }
                        @if run.limits.is_empty() { p.quiet { "Not measured in this run." } }
                        @else { (table(&tables::limits(&run.limits), "wide")) }
                        @if let Some(t) = &against_limits {
                            h3 { "Engines against these limits" }
                            (table(t, "wide"))
                        }
                        @for failed in &run.limits.failed { p.quiet { "Not measured: " (sentence(failed)) } }
                    }
                    @if !run.claims.is_empty() {
                        section #claims {
                            h2 { "The published claims" }
                            @for paragraph in told::claims(run) { p { (paragraph) } }
                            (table(&tables::claims(run), "wide"))
                        }
                    }
                    section #method {
                        h2 { "Method" }
                        @for part in method::parts(findings) {
                            h3 { (part.title) }
                            ul { @for s in &part.sentences { li { (s) } } }
                        }
                        @for (kind, subjects) in [("Engine", &run.engines), ("Workload", &run.workloads)] {
                            @for subject in subjects { (about(kind, subject)) }
                        }
                        @for note in &run.notes { p { (sentence(note)) } }
                    }
                    section #machine {
                        h2 { "Machine and build" }
                        (table(&tables::environment(run), "facts"))
                    }
                    section #raw {
                        h2 { "Raw data" }
                        p { "This page is made from these files alone; " code { "workbench report DIR" } " makes it again." }
                        p { @for (i, file) in raw_files.iter().enumerate() {
                            @if i > 0 { ", " }
                            a href=(link(file)) { (file) }
                        } }
                        @if !problems.is_empty() {
                            div.notice {
                                strong { "Not everything could be read." }
                                ul { @for p in &problems { li { (sentence(p)) } } }
                            }
                        }
                        details open[findings.main.is_empty()] {
                            summary { "Every run, " (count(run.measurements.len() as u64)) " measurements" }
                            (table(&tables::runs(findings), "wide"))
                        }
                    }
                }
                footer.page {
                    "Run " (run.id) ", " (run.started) " to " (run.finished) " UTC, schema " (run.schema) "."
                }
                (PreEscaped(plotting_script()))
                script { (PreEscaped(include_str!("page.js"))) }
            }
        }
    };
    page.into_string()
}

/// The plotting library's own script, without the formula renderer that comes with it and that no plot here needs.
fn plotting_script() -> String {
    const END: &str = "</script>";
    let mut scripts = plotly::Plot::offline_js_sources();
    if let Some(end) = scripts.find(END) {
        scripts.truncate(end + END.len());
    }
    scripts
}

fn answers(findings: &Findings<'_>) -> Markup {
    let answers = findings.answers();
    html! {
        @if !answers.is_empty() {
            ul.answers {
                @for a in &answers {
                    li.first[a.verdict == ComparisonVerdict::ABetter].second[a.verdict == ComparisonVerdict::BBetter] {
                        strong { (a.short) }
                        span { (a.long) }
                    }
                }
            }
            @if findings.run.quick { p.quiet { (told::QUICK) } }
        } @else if !Curve::of(findings.run).is_empty() {
            ul.answers { @for c in Curve::of(findings.run) { li { strong { (c.answer()) } } } }
        } @else {
            p.lead { "Nothing was compared in this run; the table shows what was measured." }
        }
    }
}

/// The published claims that this run answers, with the warning that belongs before any figure of theirs.
fn verdicts(run: &Run) -> Markup {
    let claims = told::verdicts(run);
    html! {
        @if !claims.is_empty() {
            section #verdicts {
                p { (told::UNLIKE) }
                ul.verdicts {
                    @for c in &claims {
                        @let verdict = tables::claim_verdict(c);
                        li {
                            strong { (c.id) ": " (c.statement) " " }
                            span class=(tone_class(&verdict).unwrap_or_default()) { (verdict.text) }
                            @let claimed = told::claimed(c);
                            p.quiet { @if !claimed.is_empty() { (sentence(&claimed)) " " } (c.why) }
                        }
                    }
                }
                @if let Some(t) = tables::claim_parts(&claims) { (table(&t, "wide")) }
            }
        }
    }
}

fn introduction(findings: &Findings<'_>) -> Markup {
    let told = told::introduction(findings);
    html! {
        p.lead { (told.question) }
        dl.engines {
            @for (name, role, about) in &told.engines {
                @let role = role.map(|r| format!("r-{}", role_class(r))).unwrap_or_default();
                div { dt class=(role) { (name) } dd { (about) } }
            }
        }
        @if !told.asked.is_empty() { p { (told.asked) } }
        @for (what, terms) in &told.terms { p { strong { (what) ": " } (terms) } }
    }
}

fn wrong_answers(findings: &Findings<'_>) -> Markup {
    html! {
        div.banner role="alert" {
            strong { "Wrong answers. " }
            "A run that returned a wrong answer has no number: its figures are withheld."
            ul {
                @for m in findings.wrong() {
                    li {
                        (m.engine) ", " (m.durability) ", " (m.operation) ": " (count(m.wrong_answers)) " wrong of " (count(m.count)) "."
                        @for example in &m.wrong_answer_examples { br; (example) }
                    }
                }
            }
        }
    }
}

fn setting(finding: &Finding<'_>, raw: &RawFiles, id: &str) -> Markup {
    let operation = finding.main_operation();
    let spectrum = plots::spectrum(finding, operation, raw, id);
    let over_time = [
        plots::latency_over_time(finding, operation, raw, id),
        plots::throughput_over_time(finding, operation, raw, id),
        plots::lag_over_time(finding, operation, raw, id),
    ];
    html! {
        section id=(id) {
            h2 { (tables::section_title(finding)) }
            p.quiet { "Workload " (finding.setting.workload) ", " (finding.setting.world) "." }
            @match &spectrum {
                Some(figure) => (plot(figure)),
                None => p.quiet { "No percentile spectrum: the histogram files hold too few operations, or are missing." },
            }
            div.pair { @for figure in over_time.iter().flatten() { (plot(figure)) } }
            @if over_time.iter().all(Option::is_none) { p.quiet { "No plots over time: the series files are missing or empty." } }
            details open {
                summary { "By kind of operation: response time, its parts, and counts" }
                (table(&tables::operations(finding), "wide small"))
            }
            @for c in finding.comparisons.iter().filter(|c| !c.why.is_empty()) {
                p.quiet { (crate::report::findings::metric_name(&c.metric)) ": " (sentence(&c.why)) }
            }
        }
    }
}

fn curve(curve: &Curve, id: &str) -> Markup {
    let figure = plots::curve(curve, id);
    let title = if [FIND_MAX, HIGHEST].contains(&curve.experiment.as_str()) {
        "The search for the highest rate"
    } else {
        "Latency against throughput"
    };
    html! {
        section id=(id) {
            h2 { (title) ": " (curve.engine) ", " (curve.durability) }
            p.quiet { "Workload " (curve.workload) ". " (POINT_RULE) "." }
            @match &figure {
                Some(figure) => (plot(figure)),
                None => p.quiet { "No plot: no rate has a latency that may be quoted." },
            }
            (table(&tables::curve(curve), "wide small"))
            p.quiet { (SUSTAINED_RULE) "." @if curve.knee_per_s.is_some() { " " (KNEE_RULE) "." } }
        }
    }
}

fn about(kind: &str, subject: &Subject) -> Markup {
    html! {
        h3 { (kind) " " code { (subject.name) } }
        p { (sentence(&subject.about)) }
        @if !subject.parameters.is_empty() { (table(&tables::parameters(subject), "")) }
    }
}

fn plot(figure: &Figure) -> Markup {
    // A closing tag inside the text would end the script element early.
    let json = figure.plot.to_json().replace('<', "\\u003c");
    html! {
        figure {
            figcaption { h3 { (figure.title) } p { (figure.caption) } }
            div.plot id=(figure.id) style={ "height:" (figure.height_px) "px" } {
                p.waiting { "This plot is drawn by the script in this page; it needs JavaScript, but no network." }
            }
            script type="application/json" id={ (figure.id) "-figure" } { (PreEscaped(json)) }
        }
    }
}

fn role_class(role: Role) -> &'static str {
    match role {
        Role::First => "first",
        Role::Second => "second",
        Role::Floor => "floor",
        Role::Other(_) => "other",
    }
}

fn tone_class(cell: &Cell) -> Option<String> {
    Some(match cell.tone {
        Tone::Plain => return None,
        Tone::Of(role) => format!("t-{}", role_class(role)),
        Tone::Good => "t-good".to_owned(),
        Tone::Bad => "t-bad".to_owned(),
        Tone::Quiet => "t-quiet".to_owned(),
        Tone::Neutral => "t-neutral".to_owned(),
    })
}

/// A table; `class` is `wide` for long texts in number columns, `facts` for names with values.
fn table(t: &Table, class: &str) -> Markup {
    html! {
        table class=(class) {
            thead { tr {
                @for h in &t.head {
                    @let role = h.role.map(|r| format!("r-{}", role_class(r))).unwrap_or_default();
                    th scope="col" class={ @if h.numbers { "n " } (role) } { (h.text) }
                }
            } }
            @for group in &t.groups {
                tbody {
                    @if let Some(title) = &group.title {
                        tr.title { th.group scope="rowgroup" colspan=(t.head.len()) { (title) } }
                    }
                    @for row in &group.rows {
                        tr {
                            @for (i, (cell, head)) in row.iter().zip(&t.head).enumerate() {
                                @let prose = cell.text.len() > 60 && i > 0;
                                td.label[i == 0].n[head.numbers].prose[prose].none[cell.text == NONE] data-label=(head.text) {
                                    @match tone_class(cell) {
                                        Some(tone) => span class=(tone) { (cell.text) },
                                        None => (cell.text),
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A relative link to a file of the folder.
fn link(file: &str) -> String {
    let mut out = String::from("./");
    for byte in file.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/' => out.push(byte as char),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}
