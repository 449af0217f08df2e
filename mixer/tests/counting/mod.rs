//! `malloc` and `free` for a test binary that includes this module. They count calls and bytes, and
//! forward to the functions of glibc.
//!
//! Rust's allocator and libopus both link to these functions. A test counts the calls that a
//! closure makes ([`calls_of`]), the bytes that remain allocated after it ([`bytes_kept_by`]), or
//! the calls of chosen threads ([`watch`]).

#![allow(unsafe_code, reason = "malloc and free are C symbols")]
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

thread_local! {
    static COUNTING: Cell<bool> = const { Cell::new(false) };
    static CALLS: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<i64> = const { Cell::new(0) };
}

/// Runs `work`; returns its result and how often it called `malloc` or `free` on this thread.
pub fn calls_of<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let before = CALLS.get();
    COUNTING.set(true);
    let result = work();
    COUNTING.set(false);
    (result, CALLS.get() - before)
}

/// Runs `work`; returns its result and by how many bytes the memory allocated by this thread has
/// grown. Each allocation counts with the size to which `malloc` rounds it up.
pub fn bytes_kept_by<T>(work: impl FnOnce() -> T) -> (T, i64) {
    let before = BYTES.get();
    let (result, _) = calls_of(work);
    (result, BYTES.get() - before)
}

/// Thread ids of the watched threads; 0 marks a free place.
static WATCHED: [AtomicI32; 4] = [const { AtomicI32::new(0) }; 4];
static WATCHED_CALLS: AtomicU64 = AtomicU64::new(0);

/// Starts to count the calls of `malloc` and `free` on the threads with these ids, four at most.
pub fn watch(threads: &[i32]) {
    assert!(threads.len() <= WATCHED.len());
    WATCHED_CALLS.store(0, Ordering::SeqCst);
    for (watched, thread) in WATCHED.iter().zip(threads) {
        watched.store(*thread, Ordering::SeqCst);
    }
}

/// Stops counting; returns the number of calls of all watched threads together.
pub fn watched() -> u64 {
    for watched in &WATCHED {
        watched.store(0, Ordering::SeqCst);
    }
    WATCHED_CALLS.load(Ordering::SeqCst)
}

fn count() {
    if COUNTING.get() {
        CALLS.set(CALLS.get() + 1);
    }
    let watched = WATCHED
        .each_ref()
        .map(|watched| watched.load(Ordering::Relaxed));
    // SAFETY: returns the id of the calling thread and changes nothing.
    if watched != [0; 4] && watched.contains(&unsafe { gettid() }) {
        WATCHED_CALLS.fetch_add(1, Ordering::Relaxed);
    }
}

/// Counts the bytes of an allocation that is about to be returned to its caller.
fn given(at: *mut c_void) -> *mut c_void {
    if COUNTING.get() {
        // SAFETY: `at` was just allocated, or is null, for which the size is 0.
        BYTES.set(BYTES.get() + unsafe { malloc_usable_size(at) } as i64);
    }
    at
}

/// Subtracts the bytes of an allocation that is about to be freed.
fn taken(at: *mut c_void) {
    if COUNTING.get() {
        // SAFETY: the caller frees `at` after this, or it is null.
        BYTES.set(BYTES.get() - unsafe { malloc_usable_size(at) } as i64);
    }
}

unsafe extern "C" {
    fn gettid() -> c_int;
    fn malloc_usable_size(at: *mut c_void) -> usize;
    fn __libc_malloc(size: usize) -> *mut c_void;
    fn __libc_calloc(count: usize, size: usize) -> *mut c_void;
    fn __libc_realloc(at: *mut c_void, size: usize) -> *mut c_void;
    fn __libc_memalign(align: usize, size: usize) -> *mut c_void;
    fn __libc_free(at: *mut c_void);
}

// SAFETY of the functions below: each has the signature and the guarantees of the C function of its
// name, since it only counts and calls glibc's own function.

#[unsafe(no_mangle)]
unsafe extern "C" fn malloc(size: usize) -> *mut c_void {
    count();
    given(unsafe { __libc_malloc(size) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn calloc(items: usize, size: usize) -> *mut c_void {
    count();
    given(unsafe { __libc_calloc(items, size) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn realloc(at: *mut c_void, size: usize) -> *mut c_void {
    count();
    taken(at);
    given(unsafe { __libc_realloc(at, size) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn aligned_alloc(align: usize, size: usize) -> *mut c_void {
    count();
    given(unsafe { __libc_memalign(align, size) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memalign(align: usize, size: usize) -> *mut c_void {
    count();
    given(unsafe { __libc_memalign(align, size) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn posix_memalign(out: *mut *mut c_void, align: usize, size: usize) -> c_int {
    const OUT_OF_MEMORY: c_int = 12;
    count();
    unsafe {
        *out = given(__libc_memalign(align, size));
        if (*out).is_null() { OUT_OF_MEMORY } else { 0 }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn free(at: *mut c_void) {
    count();
    taken(at);
    unsafe { __libc_free(at) }
}
