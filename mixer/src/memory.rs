//! Memory that is really there.
//!
//! The system gives a page of fresh memory when it is first written, and the thread that writes waits
//! for it. Whatever a mixer thread is to write is therefore touched when it is built, on the control
//! side.
//!
//! Real-time: set-up only (allocates).

use core::hint::black_box;
use core::mem::MaybeUninit;

/// So many copies of `value`, written one by one.
pub(crate) fn filled<T: Clone>(len: usize, value: T) -> Box<[T]> {
    let mut all = Vec::with_capacity(len);
    // Without this the compiler asks the system for memory that is zeroed when it is touched.
    black_box(&mut all);
    all.resize(len, value);
    all.into_boxed_slice()
}

/// An empty list with places for so many.
pub(crate) fn list<T>(capacity: usize) -> Vec<T> {
    let mut list = Vec::with_capacity(capacity);
    black_box(&mut list);
    list.spare_capacity_mut().fill_with(MaybeUninit::zeroed);
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_as_it_was_asked_for() {
        assert_eq!(*filled(3, 0.5), [0.5; 3]);
        let list = list::<u64>(7);
        assert!(list.is_empty() && list.capacity() >= 7);
    }
}
