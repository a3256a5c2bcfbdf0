//! What one microphone says about itself: is it alive, is somebody speaking, how far above its noise.
//!
//! Problem: weights need the noise of each microphone, and a microphone that dies has to go within tens of
//! milliseconds, before any average has noticed. Input is the power of frames of [`FRAME_S`]. The noise floor is the
//! smallest smoothed power of the last [`WINDOWS`] windows (minimum statistics, after R. Martin, 2001): speech pauses
//! at least once in that time. What is said here is about this microphone alone; nothing is compared.

/// Length of the frames whose powers are given, s. Short enough to see a microphone die, long enough that the power
/// of steady noise varies little from frame to frame.
pub const FRAME_S: f64 = 0.01;

/// Power below which a frame holds no signal at all (digital silence; full scale is 1).
const SILENCE: f64 = 1e-18;
/// Smoothing of the power before its minimum is taken, share of the new frame: about 0.1 s.
const SMOOTH: f64 = 0.1;
/// Frames in a window of the minimum: 0.62 s.
const WINDOW_FRAMES: u32 = 62;
/// Windows over which the minimum is kept: 5 s and the one under way. Sentences are shorter than that.
const WINDOWS: usize = 8;
/// The minimum of a smoothed power lies below its mean by about this.
const MINIMUM_TO_MEAN: f64 = 1.25;
/// Power over the floor from which a frame counts as speech: 5 dB.
const SPEECH_RATIO: f64 = 3.0;
/// Power under the floor from which a frame counts as dead: 20 dB, far below what noise does by itself.
const DEAD_RATIO: f64 = 0.01;
/// Frames in a row, under [`DEAD_RATIO`] but not silent, that make a microphone dead.
const DEAD_FRAMES: u32 = 3;
/// How fast the level of the speech, and with it the known ratio, is forgotten: share a frame, about 20 s.
const FORGET: f64 = 5e-4;
/// How fast the level of the speech is learnt: share of a frame of speech, about 1 s.
const LEARN: f64 = 0.01;

/// One microphone's own view.
#[derive(Clone, Debug)]
pub struct Ear {
    smooth: f64,
    minima: [f64; WINDOWS],
    running: f64,
    window_frames: u32,
    floor: f64,
    faint_frames: u32,
    silent: bool,
    speaking: bool,
    over_floor: f64,
}

impl Default for Ear {
    fn default() -> Self {
        Self {
            smooth: 0.0,
            minima: [f64::INFINITY; WINDOWS],
            running: f64::INFINITY,
            window_frames: 0,
            floor: 0.0,
            faint_frames: 0,
            silent: false,
            speaking: false,
            over_floor: 0.0,
        }
    }
}

impl Ear {
    /// Takes the mean power of the next frame. Audio thread.
    pub fn hear(&mut self, power: f64) {
        self.silent = power < SILENCE;
        self.speaking = !self.silent && power > SPEECH_RATIO * self.floor;
        // Before a whole round of windows, the floor may still be the first words and a pause far below it.
        let is_floor_known = self.minima[0].is_finite();
        let faint = is_floor_known && power < DEAD_RATIO * self.floor;
        self.faint_frames = if faint { self.faint_frames.saturating_add(1) } else { 0 };
        self.over_floor *= 1.0 - FORGET;
        if self.is_dead() {
            return; // the floor of a dead microphone is no floor to compare with when it returns
        }
        if self.speaking {
            self.over_floor += LEARN * (power / self.floor.max(SILENCE) - self.over_floor);
        }
        self.smooth = if self.smooth == 0.0 { power } else { self.smooth + SMOOTH * (power - self.smooth) };
        self.running = self.running.min(self.smooth);
        self.window_frames += 1;
        let lowest = self.minima.iter().fold(self.running, |m, &w| m.min(w));
        self.floor = MINIMUM_TO_MEAN * lowest;
        if self.window_frames == WINDOW_FRAMES {
            self.window_frames = 0;
            self.minima.rotate_left(1);
            self.minima[WINDOWS - 1] = self.running;
            self.running = self.smooth;
        }
    }

    /// Power of the noise, 0 before anything was heard. Audio thread.
    pub fn floor(&self) -> f64 {
        self.floor
    }

    /// The last frame stands out of the noise. Audio thread.
    pub fn is_speaking(&self) -> bool {
        self.speaking
    }

    /// Nothing comes from this microphone: digital silence, or far less than its own noise. Audio thread.
    pub fn is_dead(&self) -> bool {
        self.silent || self.faint_frames >= DEAD_FRAMES
    }

    /// Power of speech over that of noise, as of the last tens of seconds; 0 where no speech was heard. Audio thread.
    pub fn speech_to_noise(&self) -> f64 {
        if self.is_dead() { 0.0 } else { self.over_floor }
    }
}
