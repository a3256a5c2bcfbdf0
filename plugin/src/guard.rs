//! Protection of the host's audio thread: flushes denormals and contains panics.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Flushes denormal numbers to zero while it exists, and restores the processor's setting when dropped. Audio thread.
///
/// Decaying filters end in denormals, which some processors handle a hundred times more slowly. Some hosts enable
/// flushing and some do not; with this guard the output is the same in all of them. On processors other than x86-64 and
/// 64-bit ARM it does nothing.
///
/// The register is accessed through inline assembly because the functions of `core::arch` are deprecated: the compiler
/// assumes that denormals are kept and may fold constants accordingly. The error is at most 1e-38.
pub struct FlushDenormals {
    before: Register,
}

#[cfg(target_arch = "x86_64")]
type Register = u32;
#[cfg(target_arch = "aarch64")]
type Register = u64;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
type Register = ();

impl FlushDenormals {
    /// Turns flushing on for this thread.
    #[must_use]
    pub fn new() -> Self {
        let before = register::read();
        register::write(register::flushing(before));
        Self { before }
    }
}

impl Default for FlushDenormals {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for FlushDenormals {
    fn drop(&mut self) {
        register::write(self.before);
    }
}

#[cfg(target_arch = "x86_64")]
mod register {
    use std::arch::asm;

    /// MXCSR: flush results to zero (bit 15), take inputs as zero (bit 6).
    pub fn flushing(before: u32) -> u32 {
        before | 1 << 15 | 1 << 6
    }

    pub fn read() -> u32 {
        let mut value = 0_u32;
        // SAFETY: stores the 32 bits of MXCSR to a local variable; SSE is part of x86-64.
        unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut value, options(nostack, preserves_flags)) };
        value
    }

    pub fn write(value: u32) {
        // SAFETY: loads MXCSR with a value read from it, at most with the two flush bits added.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const value, options(nostack, preserves_flags)) };
    }
}

#[cfg(target_arch = "aarch64")]
mod register {
    use std::arch::asm;

    /// FPCR: flush to zero (bit 24).
    pub fn flushing(before: u64) -> u64 {
        before | 1 << 24
    }

    pub fn read() -> u64 {
        let value: u64;
        // SAFETY: reads the floating-point control register, which every thread may.
        unsafe { asm!("mrs {}, fpcr", out(reg) value, options(nomem, nostack, preserves_flags)) };
        value
    }

    pub fn write(value: u64) {
        // SAFETY: writes back a value read from it, at most with the flush bit added.
        unsafe { asm!("msr fpcr, {}", in(reg) value, options(nostack, preserves_flags)) };
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod register {
    pub fn flushing(before: ()) {
        before
    }
    pub fn read() {}
    pub fn write((): ()) {}
}

/// A value whose bugs must not crash the host: once a call on it has panicked, it is never used again.
pub(crate) struct Guarded<T> {
    inner: T,
    failed: bool,
}

impl<T> Guarded<T> {
    pub fn new(inner: T) -> Self {
        Self { inner, failed: false }
    }

    /// Runs `job`. Returns None if it or an earlier job panicked. Audio thread: the guard costs nothing until a panic,
    /// and only the panic itself allocates, when it reports to standard error.
    pub fn call<R>(&mut self, job: impl FnOnce(&mut T) -> R) -> Option<R> {
        if self.failed {
            return None;
        }
        match catch_unwind(AssertUnwindSafe(|| {
            #[cfg(test)]
            sabotage::strike();
            job(&mut self.inner)
        })) {
            Ok(result) => Some(result),
            Err(payload) => {
                self.failed = true;
                // Dropping the payload could panic again, and would free memory on the audio thread.
                std::mem::forget(payload);
                None
            }
        }
    }
}

/// Makes the engine panic on demand, in tests of either entry point.
#[cfg(test)]
pub(crate) mod sabotage {
    use std::cell::Cell;

    thread_local! { static ARMED: Cell<bool> = const { Cell::new(false) } }

    /// The next guarded call on this thread panics.
    pub fn arm() {
        ARMED.set(true);
    }

    pub(super) fn strike() {
        assert!(!ARMED.replace(false), "panic requested by a test");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;

    #[test]
    fn denormals_are_flushed_inside_and_kept_outside() {
        let smallest_normal = black_box(f32::MIN_POSITIVE);
        let halved = || black_box(smallest_normal) * black_box(0.5);
        assert!(halved() > 0.0, "the test thread keeps denormals");
        {
            let _guard = FlushDenormals::new();
            assert_eq!(halved(), 0.0);
        }
        assert!(halved() > 0.0, "the setting is restored");
    }

    #[test]
    fn a_host_that_flushes_already_is_left_flushing() {
        let _host = FlushDenormals::new();
        drop(FlushDenormals::new());
        assert_eq!(black_box(f32::MIN_POSITIVE) * black_box(0.5), 0.0);
    }

    #[test]
    fn after_a_panic_nothing_is_called_any_more() {
        let mut guarded = Guarded::new(0);
        assert_eq!(guarded.call(|n| *n + 1), Some(1));
        assert_eq!(guarded.call(|_| -> i32 { panic!("a bug") }), None);
        assert_eq!(guarded.call(|n| *n + 1), None);
    }
}
