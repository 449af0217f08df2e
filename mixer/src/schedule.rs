//! Decides when rooms run and how complex their encoding may be; pure decisions, without a clock.

mod load_governor;
mod media_clock;
mod rhythm;
mod slot_table;
mod work;

pub use load_governor::{ADMIT_BELOW, LOWER_ABOVE, LoadGovernor, REFUSE_ABOVE};
pub(crate) use media_clock::MediaClock;
pub use rhythm::{MOST_MET, Rhythm, Rhythms, SlotLoads, may_move_again};
pub(crate) use rhythm::{SLOTS, slots_of};
pub(crate) use slot_table::SlotTable;
pub use work::{Job, WorkOutcome, WorkPool};
pub(crate) use work::{JobLabel, Jobs, Work};
