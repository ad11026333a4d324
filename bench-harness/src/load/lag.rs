//! [`LagTrend`]: does the engine fall behind for good?
//!
//! An engine that keeps up touches a short response again and again, also between bursts and after stalls; one that
//! falls behind never does. So the shortest response of each stretch of the last third tells: if those minima rise
//! by more than 1 % of the time that passes, the backlog grows by more than 1 % of the offered load.

const STRETCHES: usize = 10;
const GROWTH_MAX: f64 = 0.01;

#[derive(Debug, Clone)]
pub(super) struct LagTrend {
    from_ns: u64,
    stretch_ns: u64,
    /// Reads and writes apart: quick reads would hide writes that queue.
    minima: [[Option<u64>; STRETCHES]; 2],
}

impl LagTrend {
    /// Watches the last third of a phase from `start_ns` of `length_ns`.
    pub(super) fn of_last_third(start_ns: u64, length_ns: u64) -> Self {
        Self {
            from_ns: start_ns + length_ns / 3 * 2,
            stretch_ns: (length_ns / 3 / STRETCHES as u64).max(1),
            minima: [[None; STRETCHES]; 2],
        }
    }

    /// An operation that was due at `due_ns` took `response_ns`.
    pub(super) fn take(&mut self, writes: bool, due_ns: u64, response_ns: u64) {
        let Some(since) = due_ns.checked_sub(self.from_ns) else { return };
        let stretch = (since / self.stretch_ns) as usize;
        if let Some(minimum) = self.minima[usize::from(writes)].get_mut(stretch) {
            *minimum = Some(minimum.map_or(response_ns, |m| m.min(response_ns)));
        }
    }

    pub(super) fn grows(&self) -> bool {
        self.minima.iter().any(|minima| self.slope(minima).is_some_and(|s| s > GROWTH_MAX))
    }

    /// Least-squares slope of the minima over time, nanoseconds per nanosecond.
    fn slope(&self, minima: &[Option<u64>; STRETCHES]) -> Option<f64> {
        let points: Vec<(f64, f64)> = minima
            .iter()
            .enumerate()
            .filter_map(|(i, m)| Some((i as f64 * self.stretch_ns as f64, (*m)? as f64)))
            .collect();
        // With fewer stretches that saw an operation, one late answer would look like a trend.
        if points.len() < STRETCHES / 2 {
            return None;
        }
        let n = points.len() as f64;
        let (mx, my) = points.iter().fold((0.0, 0.0), |(x, y), p| (x + p.0 / n, y + p.1 / n));
        let (num, den) = points
            .iter()
            .fold((0.0, 0.0), |(num, den), p| (num + (p.0 - mx) * (p.1 - my), den + (p.0 - mx).powi(2)));
        Some(num / den)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn trend(response_ns: impl Fn(u64) -> u64) -> bool {
        let mut trend = LagTrend::of_last_third(0, 30 * SECOND);
        for i in 0..30_000 {
            let due = i * SECOND / 1000;
            trend.take(true, due, response_ns(due));
        }
        trend.grows()
    }

    #[test]
    fn a_backlog_that_grows_by_two_per_cent_is_seen_and_half_a_per_cent_is_not() {
        assert!(trend(|due| 50_000 + due / 50));
        assert!(!trend(|due| 50_000 + due / 200));
    }

    #[test]
    fn stalls_and_bursts_that_are_worked_off_are_no_growth() {
        // 200 ms every 10 s, the last of them a second before the end.
        assert!(!trend(|due| if due % (10 * SECOND) > 9 * SECOND {
            (200_000_000_u64).saturating_sub(due % SECOND)
        } else {
            50_000
        }));
    }

    #[test]
    fn quick_reads_do_not_hide_writes_that_queue() {
        let mut trend = LagTrend::of_last_third(0, 3 * SECOND);
        for i in 0..3_000 {
            let due = i * SECOND / 1000;
            trend.take(false, due, 1000);
            trend.take(true, due, due / 10);
        }
        assert!(trend.grows());
    }
}
