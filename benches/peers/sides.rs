//! Sides of a comparison, and how they take turns. It promises that every side of a round is
//! measured within that round, after the same quiet moment, and that the order turns about.

use crate::{context::Context, stats};

/// What one side did in one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// The server's, over all operations of the round; not a number if there is no server.
    pub(crate) cpu_seconds: f64,
    pub(crate) operations: f64,
}

pub(crate) struct Side<'a> {
    pub(crate) label: String,
    unit: &'static str,
    run: Box<dyn FnMut(std::time::Duration) -> anyhow::Result<Sample> + 'a>,
    pub(crate) samples: Vec<Sample>,
}

impl<'a> Side<'a> {
    /// `run` works for the time it is given.
    pub(crate) fn new(
        label: impl Into<String>,
        run: impl FnMut(std::time::Duration) -> anyhow::Result<Sample> + 'a,
    ) -> Self {
        Self {
            label: label.into(),
            unit: "/s",
            run: Box::new(run),
            samples: Vec::new(),
        }
    }

    /// Of its rate, when that is not operations per second.
    pub(crate) fn unit(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self
    }

    pub(crate) fn values(&self, of: impl Fn(&Sample) -> f64) -> Vec<f64> {
        self.samples.iter().map(of).collect()
    }

    pub(crate) fn rates(&self) -> Vec<f64> {
        self.values(|sample| sample.per_second)
    }

    pub(crate) fn cpu_per_1000(&self) -> Vec<f64> {
        self.values(|sample| 1000.0 * sample.cpu_seconds / sample.operations)
    }
}

/// Every side once to warm up, then the rounds.
pub(crate) fn take_turns(context: &Context, sides: &mut [Side<'_>]) -> anyhow::Result<()> {
    let warm_up = (context.window / 5).max(std::time::Duration::from_secs(1));
    for side in sides.iter_mut() {
        context.settle()?;
        (side.run)(warm_up)?;
    }
    for round in 0..context.rounds {
        let mut order: Vec<usize> = (0..sides.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for n in order {
            context.settle()?;
            let side = &mut sides[n];
            let sample = (side.run)(context.window)?;
            let latency = if sample.p50_us.is_finite() {
                format!(
                    ", p50 {} µs, p99 {} µs",
                    stats::short(sample.p50_us),
                    stats::short(sample.p99_us)
                )
            } else {
                String::new()
            };
            eprintln!(
                "  round {}/{} {}: {} {}{latency}",
                round + 1,
                context.rounds,
                side.label,
                stats::short(sample.per_second),
                side.unit,
            );
            side.samples.push(sample);
        }
    }
    Ok(())
}
