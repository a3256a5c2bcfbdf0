//! Where the ports are: one order for both plugin standards, and the host's pointers in it.
//!
//! Control inputs, control outputs, audio outputs, and the audio inputs last. The order is an interface: LADSPA
//! hosts pass controls by position, saved LV2 sessions may know ports by index, and `module-ladspa-sink` of
//! `PulseAudio` walks over its own buffers when anything follows the audio inputs (it counts channels port by port).

use driftmerge_dsp::Controls;
use driftmerge_dsp::params::CONTROLS;

use crate::layout::{Layout, MAX_PORTS};

/// The host's pointers for the ports of a plugin; NULL where nothing is connected.
///
/// They stay pointers: hosts give the same memory to an input and an output, so a slice made over a port would be
/// undefined behaviour as soon as another one is made.
#[derive(Clone, Copy)]
pub struct Ports {
    layout: &'static Layout,
    data: [*mut f32; MAX_PORTS],
    /// Which of [`CONTROLS`] each control input is.
    controls: [usize; CONTROLS.len()],
}

impl Ports {
    /// The ports of a plugin, with nothing connected.
    pub fn new(layout: &'static Layout) -> Self {
        let mut controls = [0; CONTROLS.len()];
        for (place, port) in controls.iter_mut().zip(layout.controls) {
            *place = CONTROLS.iter().position(|known| known.symbol == port.symbol).unwrap_or_default();
        }
        Self { layout, data: [std::ptr::null_mut(); MAX_PORTS], controls }
    }

    /// Notes where the host keeps port `index`. An index that the plugin does not have is ignored.
    pub fn connect(&mut self, index: usize, data: *mut f32) {
        if index < self.layout.count() {
            self.data[index] = data;
        }
    }

    /// The plugin's ports.
    pub(crate) fn layout(&self) -> &'static Layout {
        self.layout
    }

    /// Reads the control inputs; the default stands in for one that is not connected.
    ///
    /// # Safety
    /// Each connected control input points to a readable `f32`.
    pub(crate) unsafe fn controls(&self) -> Controls {
        let mut values = CONTROLS.map(|port| port.default);
        for ((port, place), data) in self.layout.controls.iter().zip(self.controls).zip(self.data) {
            if !data.is_null() {
                // SAFETY: not NULL, and readable by the caller's promise.
                let value = unsafe { data.read() };
                // The engine knows the bounds of the table, but not narrower ones. (NaN goes through.)
                values[place] = value.clamp(port.min, port.max);
            }
        }
        Controls::from_values(&values)
    }

    /// Writes the control outputs that are connected.
    ///
    /// # Safety
    /// Each connected control output points to a writable `f32`.
    pub(crate) unsafe fn write_meters(&self, values: &[f32]) {
        for (value, port) in values.iter().zip(&self.data[self.layout.first_meter()..self.layout.first_out()]) {
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
        let buffer = self.data[self.layout.first_in() + microphone];
        if buffer.is_null() {
            into.fill(0.0);
        } else {
            // SAFETY: the host's block has these frames by the caller's promise; `into` is on our stack.
            unsafe { std::ptr::copy_nonoverlapping(buffer.add(start), into.as_mut_ptr(), into.len()) };
        }
    }

    /// Copies `sound` to an audio output, if it is connected, from frame `start` of the host's block.
    ///
    /// # Safety
    /// If connected, the output's buffer has room for `start + sound.len()` frames.
    pub(crate) unsafe fn write(&self, out: usize, start: usize, sound: &[f32]) {
        let buffer = self.data[self.layout.first_out() + out];
        if !buffer.is_null() {
            // SAFETY: as in `read`, the other way round.
            unsafe { std::ptr::copy_nonoverlapping(sound.as_ptr(), buffer.add(start), sound.len()) };
        }
    }
}
