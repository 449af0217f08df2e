//! Load governor of a mixer: when the mixer is overloaded, first its encoders become less complex,
//! then joins are refused.
//!
//! A pure state machine. A few times a second it is given the load, which is busy time over elapsed
//! time, and the length of the measurement; the caller carries out its rulings. It goes by the
//! median of the last five readings: a machine that stands still for 45 ms spoils one or two
//! readings, which the median ignores.
//!
//! | load | ruling |
//! |---|---|
//! | above 60 % | complexity one step down, two if above 85 % |
//! | low enough that the step above would stay under 60 %, for 5 s | complexity one step up |
//! | above 85 % | joins are refused |
//! | under 75 % for 2 s | joins are accepted again |

use core::time::Duration;

/// Load above which encoders become less complex: the rest is kept for a burst of new talkers.
pub const LOWER_ABOVE: f32 = 0.60;

/// Load above which joins are refused.
pub const REFUSE_ABOVE: f32 = 0.85;

/// Load below which joins are accepted again. It is a tenth below [`REFUSE_ABOVE`]: more than the
/// load of one participant who joins or leaves.
pub const ADMIT_BELOW: f32 = 0.75;

/// Watches the load of one mixer and rules on complexity and joins.
#[derive(Debug, Clone)]
pub struct LoadGovernor {
    readings: [f32; READINGS],
    /// Readings since the last change of complexity; earlier ones do not show its effect.
    fresh: usize,
    next: usize,
    load: f32,
    step: usize,
    refuses: bool,
    /// How long the load has been low enough for a step up.
    could_rise: Duration,
    /// How long the load has been low enough to accept joins.
    could_admit: Duration,
}

impl LoadGovernor {
    /// Creates a governor for a mixer that has done nothing yet.
    pub fn new() -> LoadGovernor {
        LoadGovernor {
            readings: [0.0; READINGS],
            fresh: 0,
            next: 0,
            load: 0.0,
            step: 0,
            refuses: false,
            could_rise: Duration::ZERO,
            could_admit: Duration::ZERO,
        }
    }

    /// Takes in one reading; returns whether a ruling changed.
    ///
    /// - `load`: busy time over elapsed time, from 0, above 1 if overloaded.
    /// - `over`: how long the load was measured.
    pub fn observe(&mut self, load: f32, over: Duration) -> bool {
        self.readings[self.next] = load;
        self.next = (self.next + 1) % READINGS;
        self.fresh = (self.fresh + 1).min(READINGS);
        if self.fresh < READINGS {
            return false;
        }
        self.load = self.median();
        let before = (self.step, self.refuses);
        self.admit(over);
        self.steer(over);
        before != (self.step, self.refuses)
    }

    /// The load that the rulings are based on: the median of the last readings.
    pub fn load(&self) -> f32 {
        self.load
    }

    /// The highest libopus complexity that an encoder may use.
    pub fn max_complexity(&self) -> u8 {
        STEPS[self.step].complexity
    }

    /// Whether joins are refused.
    pub fn refuses_joins(&self) -> bool {
        self.refuses
    }

    fn admit(&mut self, over: Duration) {
        if self.load > REFUSE_ABOVE {
            self.refuses = true;
        }
        if self.load >= ADMIT_BELOW {
            self.could_admit = Duration::ZERO;
        } else {
            self.could_admit += over;
            self.refuses &= self.could_admit < ADMIT_AFTER;
        }
    }

    fn steer(&mut self, over: Duration) {
        let lowest = STEPS.len() - 1;
        if self.load > LOWER_ABOVE && self.step < lowest {
            let steps = if self.load > REFUSE_ABOVE { 2 } else { 1 };
            self.go_to((self.step + steps).min(lowest));
        } else if self.step > 0 && self.load < rise_below(self.step) {
            self.could_rise += over;
            if self.could_rise >= RISE_AFTER {
                self.go_to(self.step - 1);
            }
        } else {
            self.could_rise = Duration::ZERO;
        }
    }

    fn go_to(&mut self, step: usize) {
        self.step = step;
        self.fresh = 0;
        self.could_rise = Duration::ZERO;
    }

    fn median(&self) -> f32 {
        let mut readings = self.readings;
        readings.sort_unstable_by(f32::total_cmp);
        readings[READINGS / 2]
    }
}

impl Default for LoadGovernor {
    fn default() -> LoadGovernor {
        LoadGovernor::new()
    }
}

/// A complexity, and the factor by which an encode costs more one step above it.
struct Step {
    complexity: u8,
    above_costs: f32,
}

/// Complexity steps of the governor.
///
/// Encoding 20 ms of a voice takes 145, 124, 105, 84 and 46 us at these complexities in hybrid mode
/// at 32 kbit/s, and 55, 52, 43, 30 and 22 us in CELT-only mode at 64 kbit/s; each factor is the
/// greater of the two ratios. Smaller steps cost quality and gain little.
const STEPS: [Step; 5] = [
    Step {
        complexity: 10,
        above_costs: 1.0,
    },
    Step {
        complexity: 7,
        above_costs: 1.17,
    },
    Step {
        complexity: 5,
        above_costs: 1.21,
    },
    Step {
        complexity: 3,
        above_costs: 1.43,
    },
    Step {
        complexity: 0,
        above_costs: 1.83,
    },
];

/// Load below which one step up would stay below [`LOWER_ABOVE`] even if the mixer only encoded.
fn rise_below(step: usize) -> f32 {
    LOWER_ABOVE * CLEAR / STEPS[step].above_costs
}

/// Keeps a tenth in reserve: the number of talkers varies.
const CLEAR: f32 = 0.9;

/// How long the load must be low for a step up: conversations have pauses.
const RISE_AFTER: Duration = Duration::from_secs(5);

/// How long the load must be low before joins are accepted again; shorter than the `Retry-After` of
/// a refused join.
const ADMIT_AFTER: Duration = Duration::from_secs(2);

/// Readings that the median is taken of: two readings spoilt by a stall must not be the majority.
const READINGS: usize = 5;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const READING: Duration = Duration::from_millis(200);

    fn observe(governor: &mut LoadGovernor, load: f32, readings: usize) -> usize {
        let changes = (0..readings).filter(|_| governor.observe(load, READING));
        changes.count()
    }

    #[test]
    fn load_governor_rules_by_load_and_time() {
        for (load, seconds, complexity, refuses) in [
            (0.0, 60, 10, false),
            (0.60, 60, 10, false),
            (0.61, 1, 7, false),
            (0.61, 2, 5, false),
            (0.61, 3, 3, false),
            (0.61, 4, 0, false),
            (0.85, 60, 0, false),
            (0.86, 1, 5, true),
            (0.86, 2, 0, true),
            (7.0, 60, 0, true),
        ] {
            let mut governor = LoadGovernor::new();
            observe(&mut governor, load, seconds * 5);
            let ruled = (governor.max_complexity(), governor.refuses_joins());
            assert_eq!(ruled, (complexity, refuses), "{load} for {seconds} s");
        }
    }

    #[test]
    fn load_governor_raises_complexity_one_step_at_a_time() {
        let mut governor = LoadGovernor::new();
        observe(&mut governor, 1.0, 10);
        assert_eq!(governor.max_complexity(), 0);
        let mut seen = Vec::new();
        for reading in 0..250 {
            if governor.observe(0.1, READING) && !governor.refuses_joins() {
                seen.push((reading / 5, governor.max_complexity()));
            }
        }
        let complexities: Vec<u8> = seen.iter().map(|change| change.1).collect();
        assert_eq!(complexities, [0, 3, 5, 7, 10], "the first lets people in");
        let gaps = seen.windows(2).map(|pair| pair[1].0 - pair[0].0);
        assert!(gaps.skip(1).all(|seconds| seconds >= 5), "{seen:?}");
    }

    #[test]
    fn load_governor_ignores_short_stalls_of_the_machine() {
        let mut governor = LoadGovernor::new();
        for turn in 0..1_000 {
            // A stall of 45 ms across two readings of 200 ms, every two seconds.
            let stolen = if turn % 10 < 2 { 0.22 } else { 0.0 };
            assert!(!governor.observe(0.58 + stolen, READING));
        }
    }

    #[test]
    fn load_governor_refuses_and_accepts_joins_with_hysteresis() {
        let mut governor = LoadGovernor::new();
        observe(&mut governor, 0.9, 20);
        assert!(governor.refuses_joins());
        observe(&mut governor, 0.80, 500);
        assert!(governor.refuses_joins(), "between the limits it stays");
        observe(&mut governor, 0.74, 8);
        assert!(governor.refuses_joins(), "not for a moment only");
        observe(&mut governor, 0.74, 8);
        assert!(!governor.refuses_joins());
        observe(&mut governor, 0.84, 500);
        assert!(!governor.refuses_joins(), "between the limits it stays");
    }

    proptest! {
        /// Under any steady demand, of encodes or other work, the rulings settle.
        #[test]
        fn load_governor_settles(encodes in 0.0f32..1.5, rest in 0.0f32..0.5, hybrid: bool) {
            let costs_us = if hybrid { [145.0, 124.0, 105.0, 84.0, 46.0] } else { [55.0, 52.0, 43.0, 30.0, 22.0] };
            let mut governor = LoadGovernor::new();
            let demand = |governor: &mut LoadGovernor| {
                let load = rest + encodes * costs_us[governor.step] / costs_us[0];
                governor.observe(load, READING)
            };
            // Four steps down, and joins may be accepted again.
            let changes = (0..150).filter(|_| demand(&mut governor)).count();
            prop_assert!(changes <= 6, "{} changes", changes);
            let changes = (0..3_000).filter(|_| demand(&mut governor)).count();
            prop_assert_eq!(changes, 0);
        }

        /// Any sequence of loads leaves the step within the table, and refusals follow the load
        /// alone.
        #[test]
        fn load_governor_follows_the_load(loads in prop::collection::vec(0.0f32..2.0, 1..400)) {
            let mut governor = LoadGovernor::new();
            for load in loads {
                let (step, refused) = (governor.step, governor.refuses_joins());
                governor.observe(load, READING);
                prop_assert!(governor.step < STEPS.len());
                prop_assert!(governor.step <= step + 2 && governor.step + 1 >= step);
                if governor.refuses_joins() && !refused {
                    prop_assert!(governor.load() > REFUSE_ABOVE);
                }
                if refused && !governor.refuses_joins() {
                    prop_assert!(governor.load() < ADMIT_BELOW);
                }
            }
        }
    }
}
