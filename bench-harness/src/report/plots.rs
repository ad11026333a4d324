//! The interactive plots: percentile spectrum, latency and throughput over time, ratios with their intervals.
//!
//! A plot is made from the raw files and the record alone. Its colours work on light and dark; text, grid and
//! background are left to the page, which knows which of the two it is.

use hdrhistogram::Histogram;
use plotly::common::{
    DashType, ErrorData, ErrorType, Line, Marker, MarkerSymbol, Mode, Orientation, TickMode, Title,
};
use plotly::layout::{Axis, AxisType, HoverMode, Legend, Margin, Shape, ShapeLayer, ShapeLine, ShapeType};
use plotly::{Layout, Plot, Scatter};

use crate::report::curves::{Curve, Point};
use crate::report::findings::{Finding, Findings, Role, Side, metric_name};
use crate::report::histograms;
use crate::report::quantity;
use crate::report::raw::RawFiles;
use crate::report::record::{LoadKind, Measurement, Percentiles};

/// A plot, ready for the page.
pub(crate) struct Figure {
    /// Unique within the page.
    pub(crate) id: String,
    pub(crate) title: String,
    /// How to read it.
    pub(crate) caption: String,
    pub(crate) height_px: u32,
    pub(crate) plot: Plot,
}

/// The colour of an engine, readable on white and on near-black, and apart for the colour-blind.
pub(crate) fn color(role: Role) -> &'static str {
    const OTHERS: [&str; 4] = ["#2a9d6f", "#a05fc4", "#c9a227", "#c4566b"];
    match role {
        Role::First => "#2f7ed8",
        Role::Second => "#e0752d",
        Role::Floor => "#8b929c",
        Role::Other(n) => OTHERS[n % OTHERS.len()],
    }
}

fn axis(title: &str) -> Axis {
    Axis::new().title(Title::with_text(title)).auto_margin(true).zero_line(false)
}

fn layout() -> Layout {
    Layout::new()
        .hover_mode(HoverMode::Closest)
        .legend(
            Legend::new()
                .orientation(Orientation::Horizontal)
                .y(1.02)
                .y_anchor(plotly::common::Anchor::Bottom)
                .x(0.0),
        )
        .margin(Margin::new().left(64).right(16).top(36).bottom(52))
}

/// Runs of a side whose latencies may be shown.
fn shown<'a>(side: &Side<'a>, operation: &str) -> Vec<&'a Measurement> {
    side.of(operation).filter(|m| m.wrong_answers == 0 && m.rejected.is_none()).collect()
}

/// Latency against the share of operations that were faster, on an axis that gives each further nine equal room.
pub(crate) fn spectrum(finding: &Finding<'_>, operation: &str, raw: &RawFiles, id: &str) -> Option<Figure> {
    let mut plot = Plot::new();
    let mut deepest = 1.0f64;
    let mut any = false;
    for side in &finding.sides {
        let runs: Vec<Histogram<u64>> =
            shown(side, operation).iter().filter_map(|m| raw.distribution(m, histograms::RESPONSE)).collect();
        let mut sum: Option<Histogram<u64>> = None;
        for run in &runs {
            match &mut sum {
                None => sum = Some(run.clone()),
                // Logs of one program share their bounds; a foreign one that doesn't fit is only drawn by itself.
                Some(sum) => drop(sum.add(run)),
            }
        }
        let Some(sum) = sum else { continue };
        let line = |points: Vec<(f64, u64)>| {
            let x: Vec<f64> = points.iter().map(|(q, _)| 1.0 / (1.0 - q)).collect();
            let y: Vec<f64> = points.iter().map(|(_, ns)| *ns as f64 / 1e3).collect();
            let text: Vec<String> = points
                .iter()
                .map(|(q, ns)| format!("{:.4} %: {}", q * 100.0, quantity::micros(*ns as f64 / 1e3)))
                .collect();
            Scatter::new(x, y)
                .mode(Mode::Lines)
                .name(side.engine)
                .legend_group(side.engine)
                .text_array(text)
                .hover_template("%{text}<extra>%{fullData.name}</extra>")
        };
        if runs.len() > 1 {
            for run in &runs {
                let thin = Line::new().color(color(side.role)).width(1.0);
                plot.add_trace(line(histograms::spectrum(run)).line(thin).opacity(0.28).show_legend(false));
            }
        }
        let points = histograms::spectrum(&sum);
        if let Some((q, _)) = points.last() {
            deepest = deepest.max(1.0 / (1.0 - q));
            any = true;
        }
        let mut thick = Line::new().color(color(side.role)).width(2.6);
        if side.role == Role::Floor {
            thick = thick.dash(DashType::Dot);
        }
        plot.add_trace(line(points).line(thick));
    }
    if !any {
        return None;
    }
    let ticks = [
        (1.0, "0 %"),
        (2.0, "50 %"),
        (10.0, "90 %"),
        (100.0, "99 %"),
        (1e3, "99.9 %"),
        (1e4, "99.99 %"),
        (1e5, "99.999 %"),
        (1e6, "99.9999 %"),
    ];
    let ticks: Vec<_> = ticks.into_iter().filter(|(x, _)| *x <= deepest * 1.5).collect();
    let x_axis = axis("share of operations answered at least this fast")
        .type_(AxisType::Log)
        .tick_mode(TickMode::Array)
        .tick_values(ticks.iter().map(|(x, _)| *x).collect())
        .tick_text(ticks.iter().map(|(_, t)| *t).collect())
        .range(vec![0.0, deepest.log10() + 0.05]);
    plot.set_layout(layout().x_axis(x_axis).y_axis(axis("response time, µs").type_(AxisType::Log)));
    Some(Figure {
        id: format!("{id}-spectrum"),
        title: "Percentile spectrum".to_owned(),
        caption: "Lower is better. Thick: all runs of an engine together; thin: each run, which shows how much luck is \
                  in one run. A curve ends where fewer than 100 operations were slower."
            .to_owned(),
        height_px: 420,
        plot,
    })
}

/// p99 of each second.
pub(crate) fn latency_over_time(
    finding: &Finding<'_>,
    operation: &str,
    raw: &RawFiles,
    id: &str,
) -> Option<Figure> {
    let (plot, any) = over_time(finding, operation, raw, "%{y:,.1f} µs", |seconds| {
        seconds.iter().filter_map(|s| Some((s.second, s.p99_us?))).collect()
    });
    let y_axis = axis("p99 of each second, µs").type_(AxisType::Log);
    finish_over_time(
        plot,
        any,
        y_axis,
        format!("{id}-latency-over-time"),
        "Latency over time",
        "Lower is better. One line per run; seconds count from the start of the measured time. Spikes that come back at equal distances are usually the engine's own work: segment rolls, merges, syncs.",
    )
}

/// Operations answered in each second.
pub(crate) fn throughput_over_time(
    finding: &Finding<'_>,
    operation: &str,
    raw: &RawFiles,
    id: &str,
) -> Option<Figure> {
    let (plot, any) = over_time(finding, operation, raw, "%{y:,.0f}/s", |seconds| {
        // A row lasts until the next one starts. The last has no next and is usually cut short, so it is left out.
        seconds
            .windows(2)
            .filter(|w| w[1].second > w[0].second)
            .map(|w| (w[0].second, w[0].count as f64 / (w[1].second - w[0].second)))
            .collect()
    });
    let y_axis = axis("operations answered per second").range_mode(plotly::layout::RangeMode::ToZero);
    finish_over_time(
        plot,
        any,
        y_axis,
        format!("{id}-throughput-over-time"),
        "Throughput over time",
        "One line per run. Where operations arrive evenly, a flat line is an engine that keeps up; dips followed by peaks are stalls and their backlog. Where they arrive in batches, both engines follow the same batches.",
    )
}

/// How far behind its schedule the load was in each second; `None` in a closed loop, which has none.
pub(crate) fn lag_over_time(
    finding: &Finding<'_>,
    operation: &str,
    raw: &RawFiles,
    id: &str,
) -> Option<Figure> {
    if finding.setting.load.kind != LoadKind::Open {
        return None;
    }
    let (plot, any) = over_time(finding, operation, raw, "%{y:,.1f} µs", |seconds| {
        // The axis has no place for zero.
        seconds.iter().filter_map(|s| Some((s.second, s.lag_us?.max(0.1)))).collect()
    });
    let y_axis = axis("largest lag of each second, µs").type_(AxisType::Log);
    finish_over_time(
        plot,
        any,
        y_axis,
        format!("{id}-lag-over-time"),
        "Behind the schedule over time",
        "Lower is better. The longest that an operation of the second waited from the moment it was due until the engine took it. Bursts and stalls are teeth; an engine that can't keep up climbs without end.",
    )
}

fn over_time(
    finding: &Finding<'_>,
    operation: &str,
    raw: &RawFiles,
    hover: &str,
    points: impl Fn(&[crate::report::series::Second]) -> Vec<(f64, f64)>,
) -> (Plot, bool) {
    let mut plot = Plot::new();
    let mut any = false;
    // The floor first, so that the engines lie on top of it.
    for side in finding.sides.iter().rev() {
        let mut first = true;
        for m in shown(side, operation) {
            let points = points(&raw.seconds(m));
            if points.is_empty() {
                continue;
            }
            any = true;
            let (x, y) = points.into_iter().unzip::<f64, f64, Vec<_>, Vec<_>>();
            let name = m.pair.map_or_else(|| side.engine.to_owned(), |p| format!("{} pair {p}", side.engine));
            plot.add_trace(
                Scatter::new(x, y)
                    .mode(Mode::LinesMarkers)
                    .name(side.engine)
                    .legend_group(side.engine)
                    .show_legend(first)
                    .line(Line::new().color(color(side.role)).width(1.4))
                    .marker(Marker::new().color(color(side.role)).size(4))
                    .opacity(if side.role == Role::Floor { 0.5 } else { 0.75 })
                    .hover_template(format!("{hover} at %{{x:.0f}} s<extra>{}</extra>", escape(&name))),
            );
            first = false;
        }
    }
    (plot, any)
}

fn finish_over_time(
    mut plot: Plot,
    any: bool,
    y_axis: Axis,
    id: String,
    title: &str,
    caption: &str,
) -> Option<Figure> {
    let layout = layout().x_axis(axis("seconds")).y_axis(y_axis);
    plot.set_layout(layout);
    any.then(|| Figure { id, title: title.to_owned(), caption: caption.to_owned(), height_px: 320, plot })
}

/// Each comparison's ratio with its interval, its pairs, and what the machine can't tell apart.
pub(crate) fn forest(findings: &Findings<'_>) -> Option<Figure> {
    let mut plot = Plot::new();
    let mut labels = Vec::new();
    let (mut x_low, mut x_high) = (0.9f64, 1.1f64);
    let (mut means, mut above, mut below, mut texts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut pair_x, mut pair_y) = (Vec::new(), Vec::new());
    let mut aa = Vec::new();
    let several_pairs = {
        let mut pairs: Vec<_> =
            findings.main.iter().filter(|f| !f.beside()).filter_map(Finding::pair).collect();
        pairs.dedup();
        pairs.len() > 1
    };
    for finding in findings.main.iter().filter(|f| !f.beside()) {
        for c in &finding.comparisons {
            let Some(ratio) = c.ratio.filter(|r| r.is_finite() && *r > 0.0) else { continue };
            let y = -(labels.len() as f64);
            let operation = if c.operation.is_empty() || c.operation == finding.main_operation() {
                String::new()
            } else {
                format!(" of {}", c.operation)
            };
            let engines = if several_pairs { format!("{} ÷ {}, ", c.a, c.b) } else { String::new() };
            labels.push(format!(
                "<b>{}</b>{}<br><span style='font-size:85%'>{}{}, {}</span>",
                metric_name(&c.metric),
                escape(&operation),
                escape(&engines),
                escape(&c.durability),
                escape(&short_load(finding))
            ));
            let [low, high] = c.ci95.unwrap_or([ratio, ratio]);
            for v in [ratio, low, high]
                .into_iter()
                .chain(c.pair_ratios.iter().copied())
                .chain(c.aa_ci95.into_iter().flatten())
            {
                if v.is_finite() && v > 0.0 {
                    x_low = x_low.min(v);
                    x_high = x_high.max(v);
                }
            }
            means.push((ratio, y));
            above.push((high - ratio).max(0.0));
            below.push((ratio - low).max(0.0));
            let interval = c
                .ci95
                .map_or_else(|| "no interval".to_owned(), |ci| format!("95 %: {}", quantity::interval(ci)));
            texts.push(format!(
                "{} ÷ {} = {} ({interval}, {} pairs)",
                escape(&c.a),
                escape(&c.b),
                quantity::number(ratio),
                c.pairs
            ));
            for r in &c.pair_ratios {
                pair_x.push(*r);
                pair_y.push(y);
            }
            if let Some([low, high]) = c.aa_ci95 {
                aa.push(([low, high], y));
            }
        }
    }
    if means.is_empty() {
        return None;
    }
    for (i, (band, y)) in aa.iter().enumerate() {
        plot.add_trace(
            Scatter::new(band.to_vec(), vec![*y, *y])
                .mode(Mode::Lines)
                .name("an engine against itself (A/A)")
                .legend_group("aa")
                .show_legend(i == 0)
                .line(Line::new().color("#8b929c").width(15.0))
                .opacity(0.32)
                .hover_template("A/A: %{x:.3f}<extra></extra>"),
        );
    }
    plot.add_trace(
        Scatter::new(pair_x, pair_y)
            .mode(Mode::Markers)
            .name("one pair of runs")
            .marker(Marker::new().color("#2a9d6f").size(7).symbol(MarkerSymbol::CircleOpen))
            .opacity(0.8)
            .hover_template("one pair: %{x:.3f}<extra></extra>"),
    );
    let (x, y): (Vec<f64>, Vec<f64>) = means.into_iter().unzip();
    plot.add_trace(
        Scatter::new(x, y)
            .mode(Mode::Markers)
            .name("geometric mean and 95 % interval")
            .text_array(texts)
            .hover_template("%{text}<extra></extra>")
            .marker(Marker::new().color("#2f7ed8").size(11).symbol(MarkerSymbol::Diamond))
            .error_x(
                ErrorData::new(ErrorType::Data)
                    .symmetric(false)
                    .array(above)
                    .array_minus(below)
                    .color("#2f7ed8")
                    .thickness(2.4)
                    .width(6),
            ),
    );
    let (low, high) = (x_low.log10(), x_high.log10());
    let pad = (high - low) * 0.06;
    let rows = labels.len();
    let (a, b) = findings.main.iter().find_map(Finding::pair)?;
    let title =
        if several_pairs { "first engine ÷ second engine".to_owned() } else { format!("{a} ÷ {b}") };
    let x_axis = axis(&escape(&title)).type_(AxisType::Log).range(vec![low - pad, high + pad]);
    let y_axis = Axis::new()
        .tick_mode(TickMode::Array)
        .tick_values((0..rows).map(|i| -(i as f64)).collect())
        .tick_text(labels)
        .range(vec![-(rows as f64) + 0.4, 0.6])
        .show_grid(false)
        .zero_line(false)
        .auto_margin(true);
    let one = Shape::new()
        .shape_type(ShapeType::Line)
        .x0(1.0)
        .x1(1.0)
        .y_ref("paper")
        .y0(0.0)
        .y1(1.0)
        .layer(ShapeLayer::Below)
        .line(ShapeLine::new().color("#8b929c").width(1.5).dash(DashType::Dash));
    plot.set_layout(layout().x_axis(x_axis).y_axis(y_axis).shapes(vec![one]));
    Some(Figure {
        id: "forest".to_owned(),
        title: "How many times".to_owned(),
        caption: format!(
            "At 1 (dashed) both are equal. For latency and cost, right of 1 means that {a} takes more than {b}; for throughput, that {a} does more. \
             An interval that touches 1, or lies within the grey band of what an engine shows against itself, shows no difference."
        ),
        height_px: u32::try_from(rows).unwrap_or(40).min(40) * 52 + 120,
        plot,
    })
}

/// Latency against throughput, with the knee, the bound and the rates that were refused.
pub(crate) fn curve(curve: &Curve, id: &str) -> Option<Figure> {
    type Quantile = (&'static str, fn(&Percentiles) -> Option<f64>, &'static str, DashType);
    let quantiles: [Quantile; 3] = [
        ("p50", |p| p.p50, "#2a9d6f", DashType::Solid),
        ("p99", |p| p.p99, "#2f7ed8", DashType::Solid),
        ("p99.9", |p| p.p999, "#a05fc4", DashType::Dot),
    ];
    let mut plot = Plot::new();
    let mut lowest = f64::INFINITY;
    for (name, of, color, dash) in quantiles {
        let known: Vec<(&Point, f64)> =
            curve.points.iter().filter_map(|p| Some((p, of(&p.response_us)?))).collect();
        if known.is_empty() {
            continue;
        }
        lowest = known.iter().fold(lowest, |low, (_, us)| low.min(*us));
        let text = known.iter().map(|(p, us)| {
            let noisy = p.noisy.as_ref().map(|why| format!("<br>noisy: {}", escape(why))).unwrap_or_default();
            let offered = quantity::per_second(p.offered_per_s);
            format!("{name} {}, {offered} offered: {}{noisy}", quantity::micros(*us), escape(&p.why))
        });
        plot.add_trace(
            Scatter::new(
                known.iter().map(|(p, _)| p.achieved_per_s).collect(),
                known.iter().map(|(_, us)| *us).collect(),
            )
            .mode(Mode::LinesMarkers)
            .name(name)
            .text_array(text.collect::<Vec<_>>())
            .hover_template("%{text}<extra></extra>")
            .line(Line::new().color(color).width(2.2).dash(dash))
            .marker(Marker::new().color(color).size(8)),
        );
    }
    if lowest.is_infinite() {
        return None;
    }
    let noisy: Vec<(f64, f64)> = curve
        .points
        .iter()
        .filter(|p| p.noisy.is_some())
        .filter_map(|p| Some((p.achieved_per_s, p.response_us.p99?)))
        .collect();
    if !noisy.is_empty() {
        let (x, y): (Vec<f64>, Vec<f64>) = noisy.into_iter().unzip();
        plot.add_trace(
            Scatter::new(x, y)
                .mode(Mode::Markers)
                .name("noisy run")
                .hover_info(plotly::common::HoverInfo::Skip)
                .marker(Marker::new().color("#c9a227").size(16).symbol(MarkerSymbol::CircleOpen)),
        );
    }
    let withheld: Vec<&Point> = curve.points.iter().filter(|p| p.response_us.p99.is_none()).collect();
    if !withheld.is_empty() {
        let text = withheld
            .iter()
            .map(|p| format!("{} offered: {}", quantity::per_second(p.offered_per_s), escape(&p.why)));
        plot.add_trace(
            Scatter::new(
                withheld.iter().map(|p| p.offered_per_s).collect(),
                vec![lowest / 2.0; withheld.len()],
            )
            .mode(Mode::Markers)
            .name("offered, no p99 to quote")
            .text_array(text.collect::<Vec<_>>())
            .hover_template("%{text}<extra></extra>")
            .marker(Marker::new().color("#c4566b").size(9).symbol(MarkerSymbol::X)),
        );
    }
    let line = |color: &'static str, dash: DashType| {
        Shape::new()
            .shape_type(ShapeType::Line)
            .layer(ShapeLayer::Below)
            .line(ShapeLine::new().color(color).width(1.5).dash(dash))
    };
    let bound = line("#8b929c", DashType::Dash)
        .x_ref("paper")
        .x0(0.0)
        .x1(1.0)
        .y0(curve.p99_bound_us)
        .y1(curve.p99_bound_us);
    let mut shapes = vec![bound];
    if let Some(knee) = curve.points.iter().find(|p| Some(p.offered_per_s) == curve.knee_per_s) {
        let at = knee.achieved_per_s;
        shapes.push(line("#e0752d", DashType::Dot).y_ref("paper").y0(0.0).y1(1.0).x0(at).x1(at));
    }
    let x_axis = axis("operations answered per second").range_mode(plotly::layout::RangeMode::ToZero);
    let y_axis = axis("response time, µs").type_(AxisType::Log);
    plot.set_layout(layout().x_axis(x_axis).y_axis(y_axis).shapes(shapes));
    Some(Figure {
        id: format!("{id}-plot"),
        title: "Response time by rate".to_owned(),
        caption: "Right and low is better. Dashed: the bound on p99; dotted, upright: the knee. A cross below the curves is a \
                  rate whose latency may not be quoted; a ring marks a noisy run. Point at a mark to see why."
            .to_owned(),
        height_px: 420,
        plot,
    })
}

fn short_load(finding: &Finding<'_>) -> String {
    match (&finding.setting.load.label, finding.setting.load.offered_per_s) {
        (_, Some(rate)) => format!("{}/s", quantity::number(rate)),
        (Some(label), None) => label.clone(),
        (None, None) => finding.setting.load_words(),
    }
}

/// Plot texts are rendered as a subset of HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
