//! `malloc` and `free` of the test binary that includes this: they count and hand on to glibc's.
//!
//! Rust's allocator and the C of libopus are both linked to them. Either the calls of one piece of
//! work are counted ([`calls_of`]), or the bytes that it keeps ([`bytes_kept_by`]), or the calls of other
//! threads for as long as they are watched ([`watch`]).

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

/// Runs `work` and says how often it allocated or freed.
pub fn calls_of<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let before = CALLS.get();
    COUNTING.set(true);
    let result = work();
    COUNTING.set(false);
    (result, CALLS.get() - before)
}

/// Runs `work` and says by how much memory it holds more afterwards, as `malloc` rounds it up.
pub fn bytes_kept_by<T>(work: impl FnOnce() -> T) -> (T, i64) {
    let before = BYTES.get();
    let (result, _) = calls_of(work);
    (result, BYTES.get() - before)
}

/// The threads that are watched, by their numbers in the system; 0 is none.
static WATCHED: [AtomicI32; 4] = [const { AtomicI32::new(0) }; 4];
static WATCHED_CALLS: AtomicU64 = AtomicU64::new(0);

/// Counts what the threads with these numbers, four at most, allocate and free from now on.
pub fn watch(threads: &[i32]) {
    assert!(threads.len() <= WATCHED.len());
    WATCHED_CALLS.store(0, Ordering::SeqCst);
    for (watched, thread) in WATCHED.iter().zip(threads) {
        watched.store(*thread, Ordering::SeqCst);
    }
}

/// Ends watching and says how often the threads together allocated or freed.
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
    // SAFETY: asks for a number, changes nothing.
    if watched != [0; 4] && watched.contains(&unsafe { gettid() }) {
        WATCHED_CALLS.fetch_add(1, Ordering::Relaxed);
    }
}

/// Takes note of memory that is given out.
fn given(at: *mut c_void) -> *mut c_void {
    if COUNTING.get() {
        // SAFETY: `at` was just allocated, or is null, of which it says 0.
        BYTES.set(BYTES.get() + unsafe { malloc_usable_size(at) } as i64);
    }
    at
}

/// Takes note of memory that is about to be taken back.
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

// Safety of all of these: each has the signature and the promises of the C function of its
// name, since it does nothing but count and call glibc's own.

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
