//! What the targets share: an allocator that counts, and the limit it is held against.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, counting per thread what is held, and the most since the last look.
pub struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn note(change: isize) {
    HELD.with(|held| {
        held.set(held.get() + change);
        MOST.with(|most| most.set(most.get().max(held.get())));
    });
}

fn signed(size: usize) -> isize {
    isize::try_from(size).unwrap_or(isize::MAX)
}

// SAFETY: every call goes to the system's allocator as it came; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(signed(layout.size()));
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(signed(layout.size()));
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        note(-signed(layout.size()));
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(signed(size) - signed(layout.size()));
        // SAFETY: the caller's promise, passed on.
        unsafe { System.realloc(place, layout, size) }
    }
}

/// Runs `target` on `bytes`.
///
/// # Panics
/// If a property is broken, or if it held more memory at once than `factor` times the input and
/// `spare` bytes.
pub fn check(target: fn(&[u8]), bytes: &[u8], (factor, spare): (usize, usize)) {
    let before = HELD.with(Cell::get);
    MOST.with(|most| most.set(before));
    target(bytes);
    let held = usize::try_from(MOST.with(Cell::get) - before).unwrap_or(0);
    let limit = bytes.len() * factor + spare;
    assert!(held <= limit, "{held} bytes held for an input of {}; {limit} allowed", bytes.len());
}

/// The whole of a target: what is fed, how often its input it may hold, and how much besides.
#[macro_export]
macro_rules! target {
    ($target:path, $factor:expr, $spare:expr) => {
        #[global_allocator]
        static ALLOCATOR: $crate::Counting = $crate::Counting;

        libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
            $crate::check($target, bytes, ($factor, $spare));
        });
    };
}
