//! The port order, which both plugin standards share, and the host's pointers in that order.
//!
//! Control inputs come first, then control outputs, audio outputs and audio inputs. The order is an interface: LADSPA
//! hosts pass controls by position, LV2 sessions may refer to ports by index, and `module-ladspa-sink` of `PulseAudio`,
//! which counts channels port by port, overruns its buffers if anything follows the audio inputs.

use driftmerge_dsp::Controls;
use driftmerge_dsp::params::CONTROLS;

use crate::layout::{Layout, MAX_PORTS};

/// The host's pointers to the ports of one plugin; NULL for unconnected ports.
///
/// Hosts may use the same memory for an input and an output. Slices over such ports would alias, which is undefined
/// behaviour, so the ports are accessed through pointers only.
#[derive(Clone, Copy)]
pub struct Ports {
    layout: &'static Layout,
    data: [*mut f32; MAX_PORTS],
    /// Which of [`CONTROLS`] each control input is.
    controls: [usize; CONTROLS.len()],
}

impl Ports {
    /// The ports of a plugin, all unconnected.
    pub fn new(layout: &'static Layout) -> Self {
        let mut controls = [0; CONTROLS.len()];
        for (place, port) in controls.iter_mut().zip(layout.controls) {
            *place = CONTROLS.iter().position(|known| known.symbol == port.symbol).unwrap_or_default();
        }
        Self { layout, data: [std::ptr::null_mut(); MAX_PORTS], controls }
    }

    /// Connects port `index` to the host's memory. Ignores an index that the plugin does not have.
    pub fn connect(&mut self, index: usize, data: *mut f32) {
        if index < self.layout.count() {
            self.data[index] = data;
        }
    }

    /// The plugin's ports.
    pub(crate) fn layout(&self) -> &'static Layout {
        self.layout
    }

    /// Reads the control inputs; unconnected ones have their default value.
    ///
    /// # Safety
    /// Each connected control input points to a readable `f32`.
    pub(crate) unsafe fn controls(&self) -> Controls {
        let mut values = CONTROLS.map(|port| port.default);
        for ((port, place), data) in self.layout.controls.iter().zip(self.controls).zip(self.data) {
            if !data.is_null() {
                // SAFETY: not NULL, and readable as the caller guarantees.
                let value = unsafe { data.read() };
                // A layout may have narrower bounds than the table, which the engine enforces. NaN passes; the engine
                // handles it.
                values[place] = value.clamp(port.min, port.max);
            }
        }
        Controls::from_values(&values)
    }

    /// Writes the connected control outputs.
    ///
    /// # Safety
    /// Each connected control output points to a writable `f32`.
    pub(crate) unsafe fn write_meters(&self, values: &[f32]) {
        for (value, port) in values.iter().zip(&self.data[self.layout.first_meter()..self.layout.first_out()]) {
            if !port.is_null() {
                // SAFETY: not NULL, and writable as the caller guarantees.
                unsafe { port.write(*value) };
            }
        }
    }

    /// Copies `into.len()` frames of a microphone from frame `start` of the host's block; silence if it is unconnected.
    ///
    /// # Safety
    /// If connected, the microphone's buffer holds `start + into.len()` frames.
    pub(crate) unsafe fn read(&self, microphone: usize, start: usize, into: &mut [f32]) {
        let buffer = self.data[self.layout.first_in() + microphone];
        if buffer.is_null() {
            into.fill(0.0);
        } else {
            // SAFETY: the caller guarantees that the host's block has these frames; `into` is on our own stack.
            unsafe { std::ptr::copy_nonoverlapping(buffer.add(start), into.as_mut_ptr(), into.len()) };
        }
    }

    /// Copies `sound` to an audio output, from frame `start` of the host's block on, if the output is connected.
    ///
    /// # Safety
    /// If connected, the output's buffer has room for `start + sound.len()` frames.
    pub(crate) unsafe fn write(&self, out: usize, start: usize, sound: &[f32]) {
        let buffer = self.data[self.layout.first_out() + out];
        if !buffer.is_null() {
            // SAFETY: the caller guarantees that the output has room for these frames; `sound` is on our own stack.
            unsafe { std::ptr::copy_nonoverlapping(sound.as_ptr(), buffer.add(start), sound.len()) };
        }
    }
}
