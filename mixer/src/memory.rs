//! Memory whose pages are touched when it is allocated.
//!
//! The operating system provides a page of fresh memory when the page is first written, and the
//! writing thread waits for it. So all memory that a mixer thread will write is touched when it is
//! built, on the control side.
//!
//! Real-time: set-up only (allocates).

use core::hint::black_box;
use core::mem::MaybeUninit;

/// Creates a boxed slice of `len` copies of `value`, each of them written.
pub(crate) fn filled<T: Clone>(len: usize, value: T) -> Box<[T]> {
    let mut all = Vec::with_capacity(len);
    // Without this, the compiler requests zeroed memory whose pages are not touched yet.
    black_box(&mut all);
    all.resize(len, value);
    all.into_boxed_slice()
}

/// Creates an empty list with space for `capacity` items, all of it written.
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
    fn memory_has_the_requested_content_and_capacity() {
        assert_eq!(*filled(3, 0.5), [0.5; 3]);
        let list = list::<u64>(7);
        assert!(list.is_empty() && list.capacity() >= 7);
    }
}
