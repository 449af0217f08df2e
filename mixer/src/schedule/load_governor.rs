//! What a mixer does when it has too much to do: first it encodes with less care, then nobody else gets in.
//!
//! A pure machine. It is told the load, busy time over time, a few times a second, and how long that reading was; what
//! it rules is carried out by others. It looks at the median of the last readings: a machine that stands still for 45 ms
//! spoils one reading, or two, and neither is believed.
//!
//! | load | ruling |
//! |---|---|
//! | above 60 % | complexity one step down, two if above 85 % |
//! | low enough that the step above would stay under 60 %, for 5 s | complexity one step up |
//! | above 85 % | joins are refused |
//! | under 75 % for 2 s | joins are taken again |

use core::time::Duration;

/// Load above which encoders are told to take less care: what is left is for the burst of a few who begin to talk at once.
pub const LOWER_ABOVE: f32 = 0.60;

/// Load above which nobody else gets in.
pub const REFUSE_ABOVE: f32 = 0.85;

/// Load under which joins are taken again. A tenth of a mixer is more than anybody who comes or goes makes out.
pub const ADMIT_BELOW: f32 = 0.75;

/// Watches the load of one mixer.
#[derive(Debug, Clone)]
pub struct Governor {
    readings: [f32; READINGS],
    /// Readings since the last change of complexity: those before it say nothing about what is now.
    fresh: usize,
    next: usize,
    load: f32,
    step: usize,
    refuses: bool,
    /// How long the load has been low enough for a step up.
    could_rise: Duration,
    /// How long it has been low enough to let people in.
    could_admit: Duration,
}

impl Governor {
    /// A governor of a mixer that has done nothing yet.
    pub fn new() -> Governor {
        Governor {
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

    /// Takes one reading; says whether a ruling changed.
    ///
    /// - `load`: busy time over time, 0 to 1 and more.
    /// - `over`: how long it was measured.
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

    /// The load it goes by.
    pub fn load(&self) -> f32 {
        self.load
    }

    /// No encoder may take more care than this, libopus complexity.
    pub fn max_complexity(&self) -> u8 {
        STEPS[self.step].complexity
    }

    /// Nobody else gets in.
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

impl Default for Governor {
    fn default() -> Governor {
        Governor::new()
    }
}

/// One complexity, and what an encode costs one step above it over what it costs here.
struct Step {
    complexity: u8,
    above_costs: f32,
}

/// 20 ms of a voice at 32 kbit/s, hybrid, take 145, 124, 105, 84 and 46 us at these, CELT only at 64 kbit/s 55, 52, 43, 30
/// and 22 us; the greater of the two ratios stands here. Steps closer than these cost quality and gain little.
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

/// Load under which one step up would stay clear of [`LOWER_ABOVE`] even if there were nothing but encodes.
fn rise_below(step: usize) -> f32 {
    LOWER_ABOVE * CLEAR / STEPS[step].above_costs
}

/// A tenth to spare: people talk more and less.
const CLEAR: f32 = 0.9;

/// How long it must be calm for a step up: conversations have pauses.
const RISE_AFTER: Duration = Duration::from_secs(5);

/// How long it must be calm until people get in again; Retry-After says more.
const ADMIT_AFTER: Duration = Duration::from_secs(2);

/// Readings the median is of: two that a machine spoilt by standing still across them must not be the most.
const READINGS: usize = 5;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const READING: Duration = Duration::from_millis(200);

    fn observe(governor: &mut Governor, load: f32, readings: usize) -> usize {
        let changes = (0..readings).filter(|_| governor.observe(load, READING));
        changes.count()
    }

    #[test]
    fn loads_and_what_they_come_to() {
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
            let mut governor = Governor::new();
            observe(&mut governor, load, seconds * 5);
            let ruled = (governor.max_complexity(), governor.refuses_joins());
            assert_eq!(ruled, (complexity, refuses), "{load} for {seconds} s");
        }
    }

    #[test]
    fn care_comes_back_one_step_at_a_time() {
        let mut governor = Governor::new();
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
    fn a_machine_that_stands_still_changes_nothing() {
        let mut governor = Governor::new();
        for turn in 0..1_000 {
            // 45 ms of 200 stolen, across two readings, every two seconds.
            let stolen = if turn % 10 < 2 { 0.22 } else { 0.0 };
            assert!(!governor.observe(0.58 + stolen, READING));
        }
    }

    #[test]
    fn joins_are_refused_and_taken_with_a_gap_between() {
        let mut governor = Governor::new();
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
        /// Whatever a steady demand is made of, encodes or not, the governor comes to rest.
        #[test]
        fn a_steady_demand_is_settled(encodes in 0.0f32..1.5, rest in 0.0f32..0.5, hybrid: bool) {
            let costs_us = if hybrid { [145.0, 124.0, 105.0, 84.0, 46.0] } else { [55.0, 52.0, 43.0, 30.0, 22.0] };
            let mut governor = Governor::new();
            let demand = |governor: &mut Governor| {
                let load = rest + encodes * costs_us[governor.step] / costs_us[0];
                governor.observe(load, READING)
            };
            // Four steps down, and people may be let in again.
            let changes = (0..150).filter(|_| demand(&mut governor)).count();
            prop_assert!(changes <= 6, "{} changes", changes);
            let changes = (0..3_000).filter(|_| demand(&mut governor)).count();
            prop_assert_eq!(changes, 0);
        }

        /// Nothing it can be told makes it rule outside of its table, and it rules refusals by the load alone.
        #[test]
        fn rulings_follow_the_load(loads in prop::collection::vec(0.0f32..2.0, 1..400)) {
            let mut governor = Governor::new();
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
