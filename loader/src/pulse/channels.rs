//! One channel out of a device that has several.
//!
//! The problem: a server that is asked for mono averages the channels. Where a laptop's two microphones are wired in
//! opposite polarity nothing is left, where one of two is dead 6 dB are missing, and a microphone array averages what it
//! plays into what it hears. So all channels are recorded as they are, and one of them is used: the one that was asked
//! for, or of two the louder, or of more the first that is not dead. Loudness is a mean over a second and has to be 6 dB
//! apart, so that a talker who turns the head does not swap channels.

/// Length of a look at the levels, s.
const LOOK_S: f64 = 0.1;
/// Share of a new look in the mean power: a memory of a second.
const NEW: f64 = 0.1;
/// Of two channels the other is used where its power is larger by this factor, 6 dB.
const LOUDER: f64 = 4.0;
/// A channel that has been below this power, -90 dB of full scale, for 2 s is dead where another one has 20 dB more.
const DEAD: f64 = 1e-9;
const DEAD_LOOKS: u32 = 20;
const ALIVE: f64 = 1e-7;
/// Length of the fade from one channel to another, s.
const FADE_S: f64 = 0.005;

/// Chooses a channel and hands it on.
#[derive(Clone, Debug)]
pub struct Picker {
    channels: usize,
    chosen: usize,
    /// The choice is somebody's and stays.
    fixed: bool,
    look_frames: usize,
    fade_frames: usize,
    /// Frames and powers of the look that goes on.
    frames: usize,
    sums: Vec<f64>,
    /// Mean powers; none before the first look.
    powers: Vec<f64>,
    /// Looks in a row at which the chosen one was dead.
    dead: u32,
    /// The channel that is faded from, and frames done of that.
    fading: Option<(usize, usize)>,
}

impl Picker {
    /// For a device of `channels` at `rate_hz`; `wanted` is the channel that was asked for, counted from 0.
    pub fn new(channels: usize, wanted: Option<usize>, rate_hz: u32) -> Self {
        let frames = |seconds: f64| (seconds * f64::from(rate_hz)).max(1.0) as usize;
        Self {
            channels,
            chosen: wanted.unwrap_or(0).min(channels.saturating_sub(1)),
            fixed: wanted.is_some() || channels < 2,
            look_frames: frames(LOOK_S),
            fade_frames: frames(FADE_S),
            frames: 0,
            sums: vec![0.0; channels],
            powers: Vec::new(),
            dead: 0,
            fading: None,
        }
    }

    /// Channels of a frame.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The channel in use, counted from 0.
    pub fn chosen(&self) -> usize {
        self.chosen
    }

    /// The sample of the chosen channel in `frame`, which has one for each channel.
    pub fn pick(&mut self, frame: impl Fn(usize) -> f32) -> f32 {
        if !self.fixed {
            for (channel, sum) in self.sums.iter_mut().enumerate() {
                *sum += f64::from(frame(channel)).powi(2);
            }
            self.frames += 1;
            if self.frames == self.look_frames {
                self.look();
            }
        }
        let new = frame(self.chosen);
        let Some((from, done)) = &mut self.fading else { return new };
        *done += 1;
        let share = *done as f32 / self.fade_frames as f32;
        let mixed = frame(*from) * (1.0 - share) + new * share;
        if *done >= self.fade_frames {
            self.fading = None;
        }
        mixed
    }

    fn look(&mut self) {
        let frames = std::mem::take(&mut self.frames) as f64;
        let looks: Vec<f64> = self.sums.iter_mut().map(|sum| std::mem::take(sum) / frames).collect();
        self.dead = if looks[self.chosen] < DEAD { self.dead + 1 } else { 0 };
        if self.powers.is_empty() {
            self.powers = looks;
        } else {
            self.powers.iter_mut().zip(looks).for_each(|(mean, look)| *mean += NEW * (look - *mean));
        }
        let now = self.powers[self.chosen];
        let dead = self.dead >= DEAD_LOOKS;
        let better =
            |power: &f64| if self.channels == 2 { *power > LOUDER * now } else { dead && *power > ALIVE.max(now) };
        if let Some(better) = self.powers.iter().position(better) {
            self.fading = Some((self.chosen, 0));
            (self.chosen, self.dead) = (better, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE_HZ: u32 = 16_000;

    /// What is picked of two seconds of a tone, whose channels have these gains.
    fn picked(picker: &mut Picker, gains: &[f32]) -> Vec<f32> {
        let tone = |n: usize| (n as f32 * 0.3).sin() * 0.1;
        (0..2 * RATE_HZ as usize).map(|n| picker.pick(|channel| gains[channel] * tone(n))).collect()
    }

    fn level(sound: &[f32]) -> f32 {
        (sound.iter().map(|x| x * x).sum::<f32>() / sound.len() as f32).sqrt()
    }

    #[test]
    fn of_two_channels_the_louder_is_used_whatever_their_polarity_and_equal_ones_never_swap() {
        for (gains, wanted) in [([1.0, -1.0], 0), ([0.0, 1.0], 1), ([1.0, 0.0], 0), ([0.3, 1.0], 1), ([0.7, 1.0], 0)] {
            let mut picker = Picker::new(2, None, RATE_HZ);
            let sound = picked(&mut picker, &gains);
            assert_eq!(picker.chosen(), wanted, "{gains:?}");
            let found = level(&sound[RATE_HZ as usize..]) / (0.1 / 2.0f32.sqrt());
            assert!((found - gains[wanted].abs()).abs() < 0.01, "{gains:?}: {found}");
        }
    }

    #[test]
    fn of_an_array_the_first_channel_is_used_unless_it_is_dead_and_what_was_asked_for_stays() {
        let mut array = Picker::new(6, None, RATE_HZ);
        picked(&mut array, &[0.1, 0.1, 0.1, 0.1, 0.1, 1.0]);
        assert_eq!(array.chosen(), 0);
        for _ in 0..3 {
            picked(&mut array, &[0.0, 0.1, 0.1, 0.1, 0.1, 1.0]);
        }
        assert_ne!(array.chosen(), 0);
        let mut asked = Picker::new(2, Some(1), RATE_HZ);
        picked(&mut asked, &[1.0, 0.0]);
        assert_eq!(asked.chosen(), 1);
    }

    #[test]
    fn a_change_of_channels_does_not_click() {
        let mut picker = Picker::new(2, None, RATE_HZ);
        let mut sound = picked(&mut picker, &[1.0, 0.2]);
        sound.extend(picked(&mut picker, &[0.2, -1.0]));
        assert_eq!(picker.chosen(), 1);
        let step = sound.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max);
        // The gain changes at once in the middle, which is 0.08 at most; the tone itself steps by 0.03.
        assert!(step < 0.09, "{step}");
    }
}
