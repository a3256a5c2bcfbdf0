//! Every tuning number of the combiner in one place, each with its unit, its reason and what it was measured with.
//!
//! "Study" is the second study of the project (17 scenes of real life, a measured flat); "judges" are the two sets of
//! scenes of `docs/figures.md`. A number without a figure is a bound that does not matter within a factor of two.

/// From the aligned microphones to one sound.
#[derive(Clone, Copy, Debug)]
pub struct Combining {
    /// Length of a frame, s. Half of it is the hop. Study: 16 ms loses 0.007 STOI, 64 ms gains 0.003 and doubles the
    /// latency.
    pub frame_s: f64,
    /// See [`Dereverberation`].
    pub dereverberation: Dereverberation,
    /// See [`Mask`].
    pub mask: Mask,
    /// See [`Filter`].
    pub filter: Filter,
    /// See [`Selection`].
    pub selection: Selection,
}

/// Multichannel linear prediction of late reverberation.
#[derive(Clone, Copy, Debug)]
pub struct Dereverberation {
    /// Past frames of each microphone that predict. Study: 4, 6, 8 taps: 0.719, 0.723, 0.726 STOI.
    pub taps: usize,
    /// Share of the sums that outlives a frame: 5 s. Study: 0.99, 0.995, 0.998: 0.721, 0.723, 0.723 STOI.
    pub forgetting: f32,
    /// Least variance of the wanted sound against the mean power: pauses do not count for more than this.
    pub floor: f32,
    /// Loading of R's diagonal, relative: keeps 32-bit Cholesky factors accurate.
    pub loading: f32,
    /// Frames for which "no prediction" counts at the start.
    pub prior_frames: f32,
    /// Frames of false predictions that count at the start, and fade with the sums. In free field the first 1.25 s gain 0.7, 2.1, 2.4 dB with 20,
    /// 80, 250 (2.5 dB without the stage); judge 2 loses nothing, 0.0003, and more.
    pub doubt_frames: f32,
    /// From nothing to the whole prediction once a second microphone is heard, and back, s.
    pub ramp_s: f64,
}

/// How much of each bin is new sound: neither late reverberation nor steady noise.
#[derive(Clone, Copy, Debug)]
pub struct Mask {
    /// Memory of each microphone's mean power, s: brings them to one scale before they are added.
    pub mean_s: f64,
    /// Smoothing of the power that is judged, s.
    pub power_s: f64,
    /// Smoothing of the power whose minimum is steady noise, s.
    pub smooth_s: f64,
    /// Half of the window of the minimum, s.
    pub minimum_s: f64,
    /// Bias of the minimum, factor.
    pub minimum_bias: f32,
    /// Reverberation time assumed for the statistical model of late sound, s. Study: 1.0 s: +0.002 STOI.
    pub t60_s: f64,
    /// From the direct sound to what counts as late, s. Study: 64 ms loses 0.008 STOI.
    pub late_s: f64,
}

/// The spatial filter.
#[derive(Clone, Copy, Debug)]
pub struct Filter {
    /// Memory of the covariances, s. Study: 0.5, 1, 4 s: flat within 0.002 STOI.
    pub memory_s: f64,
    /// Loading of the noise covariance, relative. Study: 0.01 to 0.3: flat.
    pub loading: f32,
    /// Loading besides, over the frames of speech that are known: a direction from few frames is off, and the talker in V would be cancelled.
    pub young: f32,
    /// Frames for which what is known or assumed counts once microphones are aligned anew. Judge 2: 8, 20, 40: +0.021 STOI each; without: heard 0.5 s later.
    pub restart_frames: f32,
    /// Memory of each microphone's share in the filter, s: chooses the one that the output follows.
    pub share_s: f64,
}

/// Which microphone deserves trust, by contrast.
#[derive(Clone, Copy, Debug)]
pub struct Selection {
    /// Memory of the contrast, s.
    pub memory_s: f64,
    /// Contrast by which a microphone may be behind, nepers.
    pub behind: f32,
    /// Its noise counts for so much more for each neper squared beyond that.
    pub guard: f32,
}

/// The numbers in use.
pub const COMBINING: Combining = Combining {
    frame_s: 0.032,
    dereverberation: Dereverberation {
        taps: 6,
        forgetting: 0.997,
        floor: 0.01,
        loading: 1e-3,
        prior_frames: 4.0,
        doubt_frames: 80.0,
        ramp_s: 0.3,
    },
    mask: Mask {
        mean_s: 2.0,
        power_s: 0.010,
        smooth_s: 0.06,
        minimum_s: 0.8,
        minimum_bias: 1.6,
        t60_s: 0.6,
        late_s: 0.032,
    },
    filter: Filter { memory_s: 1.0, loading: 0.1, young: 3.0, restart_frames: 20.0, share_s: 0.8 },
    selection: Selection { memory_s: 2.0, behind: 0.15, guard: 50.0 },
};
