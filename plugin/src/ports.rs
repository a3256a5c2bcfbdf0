//! Where the ports are: one order for both plugin standards, and the host's pointers in it.
//!
//! Control inputs, control outputs, audio outputs, and the audio inputs last. The order is an interface: LADSPA
//! hosts pass controls by position, saved LV2 sessions may know ports by index, and `module-ladspa-sink` of
//! `PulseAudio` walks over its own buffers when anything follows the audio inputs (it counts channels port by port).

use driftmerge_dsp::params::{CONTROLS, Controls, METERS};

/// Index of the first control output.
pub const FIRST_METER: usize = CONTROLS.len();
/// Index of the first audio output.
pub const FIRST_OUT: usize = FIRST_METER + METERS.len();
/// Microphones that an instance merges.
pub const MICROPHONES: usize = 2;

/// Index of the first audio input of a plugin with `outs` audio outputs.
pub const fn first_in(outs: usize) -> usize {
    FIRST_OUT + outs
}

/// Ports of a plugin with `outs` audio outputs.
pub const fn count(outs: usize) -> usize {
    first_in(outs) + MICROPHONES
}

/// The host's pointers for a plugin with `OUTS` audio outputs; NULL where nothing is connected.
///
/// They stay pointers: hosts give the same memory to an input and an output, so a slice made over a port would be
/// undefined behaviour as soon as another one is made.
#[derive(Clone, Copy)]
pub struct Ports<const OUTS: usize> {
    controls: [*const f32; CONTROLS.len()],
    meters: [*mut f32; METERS.len()],
    outs: [*mut f32; OUTS],
    ins: [*const f32; MICROPHONES],
}

impl<const OUTS: usize> Default for Ports<OUTS> {
    fn default() -> Self {
        Self {
            controls: [std::ptr::null(); CONTROLS.len()],
            meters: [std::ptr::null_mut(); METERS.len()],
            outs: [std::ptr::null_mut(); OUTS],
            ins: [std::ptr::null(); MICROPHONES],
        }
    }
}

impl<const OUTS: usize> Ports<OUTS> {
    /// Notes where the host keeps port `index`. An index that the plugin does not have is ignored.
    pub fn connect(&mut self, index: usize, data: *mut f32) {
        let first_in = first_in(OUTS);
        match index {
            i if i < FIRST_METER => self.controls[i] = data,
            i if i < FIRST_OUT => self.meters[i - FIRST_METER] = data,
            i if i < first_in => self.outs[i - FIRST_OUT] = data,
            i if i < count(OUTS) => self.ins[i - first_in] = data,
            _ => {}
        }
    }

    /// Reads the control inputs; the default stands in for one that is not connected.
    ///
    /// # Safety
    /// Each connected control input points to a readable `f32`.
    pub(crate) unsafe fn controls(&self) -> Controls {
        let mut values = CONTROLS.map(|port| port.default);
        for (value, port) in values.iter_mut().zip(self.controls) {
            if !port.is_null() {
                // SAFETY: not NULL, and readable by the caller's promise.
                *value = unsafe { port.read() };
            }
        }
        Controls::from_values(&values)
    }

    /// Writes the control outputs that are connected.
    ///
    /// # Safety
    /// Each connected control output points to a writable `f32`.
    pub(crate) unsafe fn write_meters(&self, values: &[f32; METERS.len()]) {
        for (value, port) in values.iter().zip(self.meters) {
            if !port.is_null() {
                // SAFETY: not NULL, and writable by the caller's promise.
                unsafe { port.write(*value) };
            }
        }
    }

    /// Copies `into.len()` frames of a microphone, from frame `start` of the host's block; silence if it is not
    /// connected.
    ///
    /// # Safety
    /// If connected, the microphone's buffer holds `start + into.len()` frames.
    pub(crate) unsafe fn read(&self, microphone: usize, start: usize, into: &mut [f32]) {
        let buffer = self.ins[microphone];
        if buffer.is_null() {
            into.fill(0.0);
        } else {
            // SAFETY: the host's block has these frames by the caller's promise; `into` is on our stack.
            unsafe { std::ptr::copy_nonoverlapping(buffer.add(start), into.as_mut_ptr(), into.len()) };
        }
    }

    /// Copies `sound` to every connected audio output, from frame `start` of the host's block.
    ///
    /// # Safety
    /// Each connected output buffer has room for `start + sound.len()` frames.
    pub(crate) unsafe fn write(&self, start: usize, sound: &[f32]) {
        for buffer in self.outs {
            if !buffer.is_null() {
                // SAFETY: as in `read`, the other way round.
                unsafe { std::ptr::copy_nonoverlapping(sound.as_ptr(), buffer.add(start), sound.len()) };
            }
        }
    }
}
