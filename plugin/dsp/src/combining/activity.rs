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
/// Smoothing of the power before its minimum is taken, s.
const SMOOTH_S: f64 = 0.1;
/// Length of a window of the minimum, s.
const WINDOW_S: f64 = 0.62;
/// Windows over which the minimum is kept: 5 s and the one under way. Sentences are shorter than that.
const WINDOWS: usize = 8;
/// The minimum of a smoothed power lies below its mean by about this.
const MINIMUM_TO_MEAN: f64 = 1.25;
/// Power over the floor from which a frame counts as speech: 5 dB.
const SPEECH_RATIO: f64 = 3.0;
/// Power under the floor from which a frame counts as dead: 20 dB, far below what noise does by itself.
const DEAD_RATIO: f64 = 0.01;
/// Power over what is left of a dead microphone that only speech can have: 10 dB.
const LIFE_RATIO: f64 = 10.0;
/// Frames in a row that make a microphone dead, or alive again.
const ODD_FRAMES: u32 = 3;
/// Speech over the floor beyond which nothing is better: 30 dB.
const LOUDEST: f64 = 1000.0;
/// How fast the level of the speech, and with it the known ratio, is forgotten: share a frame, about 20 s.
const FORGET: f64 = 5e-4;
/// How fast the level of the speech is learnt: share of a frame of speech, about 1 s.
const LEARN: f64 = 0.01;

/// The noise floor of a power: its smoothed minimum over the last seconds.
#[derive(Clone, Debug)]
pub struct Floor {
    share: f64,
    window_frames: u32,
    smooth: f64,
    minima: [f64; WINDOWS],
    running: f64,
    frames: u32,
    value: f64,
}

impl Floor {
    /// A floor of powers that come every `frame_s` seconds.
    pub fn new(frame_s: f64) -> Self {
        Self {
            share: frame_s / SMOOTH_S,
            window_frames: (WINDOW_S / frame_s).round() as u32,
            smooth: 0.0,
            minima: [f64::INFINITY; WINDOWS],
            running: f64::INFINITY,
            frames: 0,
            value: 0.0,
        }
    }

    /// Takes the next power. Audio thread.
    pub fn learn(&mut self, power: f64) {
        self.smooth = if self.smooth == 0.0 { power } else { self.smooth + self.share * (power - self.smooth) };
        self.running = self.running.min(self.smooth);
        self.value = MINIMUM_TO_MEAN * self.minima.iter().fold(self.running, |m, &w| m.min(w));
        self.frames += 1;
        if self.frames == self.window_frames {
            self.frames = 0;
            self.minima.rotate_left(1);
            self.minima[WINDOWS - 1] = self.running;
            self.running = self.smooth;
        }
    }

    /// All windows have been filled: short of that the floor may be speech. Audio thread.
    pub fn is_settled(&self) -> bool {
        self.minima[0].is_finite()
    }

    /// The floor now, 0 before anything was learnt. Audio thread.
    pub fn get(&self) -> f64 {
        self.value
    }
}

/// Frames after digital silence that are not heard: half-filled ones and fades would be taken for the noise floor.
const WAKING_FRAMES: u32 = 4;

/// One microphone's own view.
#[derive(Clone, Debug)]
pub struct Ear {
    floor: Floor,
    /// Of a microphone that has died without falling silent: the floor of what is left.
    left: Option<Floor>,
    odd_frames: u32,
    waking_frames: u32,
    silent: bool,
    speaking: bool,
    over_floor: f64,
}

impl Default for Ear {
    fn default() -> Self {
        let floor = Floor::new(FRAME_S);
        Self { floor, left: None, odd_frames: 0, waking_frames: 0, silent: false, speaking: false, over_floor: 0.0 }
    }
}

impl Ear {
    /// Takes the mean power of the next frame. Audio thread.
    pub fn hear(&mut self, power: f64) {
        self.silent = power < SILENCE;
        self.speaking = false;
        self.over_floor *= 1.0 - FORGET;
        if self.silent {
            self.waking_frames = WAKING_FRAMES;
            return;
        }
        if self.waking_frames > 0 {
            self.waking_frames -= 1;
            return;
        }
        self.look_for_life(power);
        if self.left.is_some() {
            return; // the floor of a dead microphone is no floor to compare with when it returns
        }
        let floor = self.floor();
        self.speaking = floor > 0.0 && power > SPEECH_RATIO * floor;
        if self.speaking {
            self.over_floor += LEARN * ((power / floor).min(LOUDEST) - self.over_floor);
        }
        self.floor.learn(power);
    }

    fn look_for_life(&mut self, power: f64) {
        let faint = power < DEAD_RATIO * self.floor();
        let odd = match &mut self.left {
            None => faint && self.floor.is_settled(),
            Some(_) if !faint => {
                self.left = None;
                false
            }
            Some(left) => {
                left.learn(power);
                power > LIFE_RATIO * left.get()
            }
        };
        self.odd_frames = if odd { self.odd_frames + 1 } else { 0 };
        if self.odd_frames == ODD_FRAMES {
            self.odd_frames = 0;
            match self.left.take() {
                None => self.left = Some(Floor::new(FRAME_S)),
                Some(left) => self.floor = left, // alive, only less loud than it was
            }
        }
    }

    /// Power of the noise, 0 before anything was heard. Audio thread.
    pub fn floor(&self) -> f64 {
        self.floor.get()
    }

    /// The last frame stands out of the noise. Audio thread.
    pub fn is_speaking(&self) -> bool {
        self.speaking
    }

    /// Nothing comes from this microphone: digital silence, or far less than its own noise. Audio thread.
    pub fn is_dead(&self) -> bool {
        self.silent || self.waking_frames > 0 || self.left.is_some()
    }

    /// Power of speech over that of noise, as of the last tens of seconds; 0 where no speech was heard. Audio thread.
    pub fn speech_to_noise(&self) -> f64 {
        if self.is_dead() { 0.0 } else { self.over_floor }
    }
}
