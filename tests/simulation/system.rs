//! What a program asks the system for, answered by the seed: random bytes and the time.
//!
//! Both are asked of the C library. The functions here stand in front of its own, for the whole test program;
//! on threads that are no simulation they pass the question on. So hash maps, election timeouts, the order in
//! which `select!` looks at its branches, new ids, and every clock follow the simulation, and no product code
//! knows of it.

use crate::random::Random;
use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_uint, c_void};

/// What the wall clocks show when a simulation begins.
const WALL_MS: i64 = 1_750_000_000_000;
/// What the machines' own clocks show then: since boot, on a machine that has run for a while.
const BOOT_MS: u64 = 100_000_000;

thread_local! {
    static SIMULATED: Cell<bool> = const { Cell::new(false) };
    static BYTES: RefCell<Option<Random>> = const { RefCell::new(None) };
    static MONOTONIC_MS: Cell<u64> = const { Cell::new(BOOT_MS) };
    static REAL_MS: Cell<i64> = const { Cell::new(WALL_MS) };
}

/// From here on, this thread is a simulation.
pub fn take_over(seed: u64) {
    BYTES.set(Some(Random::new(seed, "system")));
    SIMULATED.set(true);
}

/// What both clocks show from here on: milliseconds since the simulation began.
pub fn set_clocks(own_ms: u64, wall_ms: i64) {
    MONOTONIC_MS.set(BOOT_MS + own_ms);
    REAL_MS.set(WALL_MS + wall_ms);
}

/// # Safety
/// `buffer` has room for `length` bytes, as for the system's function of this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, flags: c_uint) -> isize {
    if !SIMULATED.get() {
        // SAFETY: the caller's promise is passed on.
        return unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) } as isize;
    }
    if length > 0 {
        // SAFETY: the caller promises the room.
        let bytes = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length) };
        BYTES.with_borrow_mut(|random| {
            let random = random.as_mut().expect("a simulation has a seed");
            bytes.fill_with(|| random.next() as u8);
        });
    }
    length as isize
}

/// # Safety
/// `time` points to room for a time, as for the system's function of this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> c_int {
    if !SIMULATED.get() {
        // SAFETY: the caller's promise is passed on.
        return unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) } as c_int;
    }
    let ms = if clock == libc::CLOCK_REALTIME { REAL_MS.get() } else { MONOTONIC_MS.get() as i64 };
    let shown = libc::timespec { tv_sec: ms.div_euclid(1_000), tv_nsec: ms.rem_euclid(1_000) * 1_000_000 };
    // SAFETY: the caller promises the room.
    unsafe { time.write(shown) };
    0
}

/// Both functions are the ones in use: otherwise a simulation would not follow its seed.
#[test]
fn the_system_answers_by_the_seed() {
    use std::collections::hash_map::RandomState;
    use std::hash::BuildHasher;
    use std::time::{Instant, SystemTime, UNIX_EPOCH};

    let drawn = || {
        let ask = || {
            take_over(7);
            let begun = Instant::now();
            set_clocks(25, -1_000);
            assert_eq!(begun.elapsed().as_millis(), 25);
            assert_eq!(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis(), 1_749_999_999_000);
            (RandomState::new().hash_one("key"), uuid::Uuid::new_v4())
        };
        std::thread::spawn(ask).join().unwrap()
    };
    assert_eq!(drawn(), drawn());
}
