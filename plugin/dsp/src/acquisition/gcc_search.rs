//! Correlation of the two streams over every lag that is searched, a block at a time.
//!
//! Signal model: B holds at n + lag what A holds at n, with a lag of up to a second either way that moves by the
//! drift. Partitioned in the frequency domain: the newest block of B against the last blocks of A and the other way
//! round, each pair one partition of the lag axis. Spectra are whitened and weighted by how much of them is onset
//! (generalised cross-correlation: C. H. Knapp & G. C. Carter, IEEE Trans. ASSP 24(4), 1976; the weight is that of
//! [`crate::analysis::noise_psd`]). One set of sums for each drift tried: each is turned on by its drift every block, so it
//! adds up in phase where the drift is right.
//!
//! The work of a block is handed out in bounded steps: at most one transform, or one partition of all sums.

use crate::analysis::noise_psd::{Noise, Reverberation, powers};
use crate::analysis::spectrum::{Band, Transform, highest, parabola_top};
use crate::input::ring::History;
use realfft::num_complex::Complex32;

/// Frames of a block at the correlator's rate: 128 ms at 8 kHz.
pub const BLOCK: usize = 1024;
/// Blocks that hold a frame: a new one begins every half block. Neighbours share half of their noise, which makes its power in
/// the sums so many times what it is in independent blocks.
pub const OVERLAP: usize = 2;
/// Frames from one block to the next.
pub const HOP: usize = BLOCK / OVERLAP;
/// Drifts tried while searching, ppm.
pub const DRIFTS_PPM: [f64; 7] = [-300.0, -200.0, -100.0, 0.0, 100.0, 200.0, 300.0];
/// Lowest and highest frequency used, Hz.
const BAND_HZ: (f64, f64) = (120.0, 3600.0);
/// Noise memory, blocks.
const NOISE_BLOCKS: f32 = 4.0;
/// How many times over reverberation counts as noise.
const REVERBERATION_WEIGHT: f32 = 5.0;

/// What a block is correlated for.
#[derive(Clone, Copy, Debug)]
pub enum Aim {
    /// Nothing is known: all drifts.
    Search,
    /// A lag is tracked: its drift alone (ppm), to see what stands elsewhere.
    Watch {
        /// Drift, ppm.
        drift_ppm: f64,
        /// The lag tracked, us of the streams as passed.
        lag_us: f64,
    },
}

/// One peak of the correlation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Peak {
    /// Lag, us of the streams as passed.
    pub lag_us: f64,
    /// Height in standard deviations.
    pub z: f32,
    /// 1 or -1.
    pub sign: f32,
}

/// What a block's correlation shows.
#[derive(Clone, Copy, Debug)]
pub enum Finding {
    /// The highest peak over all drifts, the ratio to the second highest beside it, and its drift.
    Search {
        /// The highest peak.
        best: Peak,
        /// Its height over that of the next one at least 1.5 ms away.
        ratio: f32,
        /// Place of its drift in [`DRIFTS_PPM`].
        drift: usize,
    },
    /// The height at the lag tracked, and the highest peak elsewhere.
    Watch {
        /// Height within 1 ms of the lag tracked.
        here: f32,
        /// The highest peak farther away.
        elsewhere: Peak,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    Idle,
    SpectrumA,
    SpectrumB,
    Accumulate(usize),
    Invert(usize, usize),
    Pick(usize),
}

/// The correlator.
pub struct Correlator {
    rate_hz: f64,
    band: Band,
    transform: Transform,
    noise: [Noise; 2],
    reverberation: [Reverberation; 2],
    power: Vec<f32>,
    frames: Vec<f32>,
    /// Weighted spectra of the last blocks, newest at `newest`.
    spectra: [Vec<Vec<Complex32>>; 2],
    newest: usize,
    blocks: usize,
    /// Partitions on each side of lag 0 that are in use, and that there is room for.
    side: usize,
    max_side: usize,
    /// Sums: drift, partition, bin.
    sums: Vec<Vec<Vec<Complex32>>>,
    energy: Vec<f32>,
    turns: Vec<Vec<Complex32>>,
    cross: Vec<Complex32>,
    correlation: Vec<f32>,
    limit_us: f64,
    stage: Stage,
    aim: Aim,
    keep: f32,
    /// What the next block leaves of the sums besides its own decay.
    remains: f32,
    /// What the block at work leaves of the sums' energy.
    keep_energy: f32,
    start: [i64; 2],
    best: Option<(Peak, f32, usize)>,
}

impl Correlator {
    /// For streams of `rate_hz` and lags of up to `max_lag_s`.
    pub fn new(rate_hz: f64, max_lag_s: f64) -> Self {
        let band = Band::new(rate_hz, 2 * BLOCK, BAND_HZ.0, BAND_HZ.1);
        let max_side = (max_lag_s * rate_hz / BLOCK as f64).ceil() as usize;
        let bins = BLOCK + 1;
        let hop_s = HOP as f64 / rate_hz;
        Self {
            rate_hz,
            band,
            transform: Transform::new(2 * BLOCK),
            noise: [0, 1].map(|_| Noise::new(bins, NOISE_BLOCKS * OVERLAP as f32)),
            reverberation: [0, 1].map(|_| Reverberation::new(bins, hop_s, OVERLAP)),
            power: vec![0.0; bins],
            frames: vec![0.0; 2 * BLOCK],
            spectra: [0, 1].map(|_| vec![band.zeros(); OVERLAP * max_side + 1]),
            newest: 0,
            blocks: 0,
            side: max_side,
            max_side,
            sums: vec![vec![band.zeros(); 2 * max_side]; DRIFTS_PPM.len()],
            energy: vec![0.0; 2 * max_side],
            turns: vec![band.zeros(); DRIFTS_PPM.len()],
            cross: band.zeros(),
            correlation: vec![0.0; 2 * max_side * BLOCK],
            limit_us: max_lag_s * 1e6,
            stage: Stage::Idle,
            aim: Aim::Search,
            keep: 0.0,
            remains: 1.0,
            keep_energy: 0.0,
            start: [0; 2],
            best: None,
        }
    }

    /// Steps that the block at work takes.
    pub fn steps(&self) -> usize {
        2 + 2 * self.side + self.drifts() * (2 * self.side + 1)
    }

    /// Forgets all sounds.
    pub fn clear(&mut self) {
        self.noise.iter_mut().for_each(Noise::clear);
        self.reverberation.iter_mut().for_each(Reverberation::clear);
        self.blocks = 0;
        self.forget(0.0);
    }

    /// Keeps only this share of what was summed up, from the next block on, and drops the block at work.
    pub fn forget(&mut self, keep: f32) {
        self.remains *= keep;
        self.stage = Stage::Idle;
    }

    /// Sets the largest lag searched, us.
    pub fn set_limit_us(&mut self, limit_us: f64) {
        let side = ((limit_us * 1e-6 * self.rate_hz / BLOCK as f64).ceil() as usize).clamp(1, self.max_side);
        self.limit_us = limit_us;
        if side != self.side {
            self.side = side;
            self.forget(0.0);
        }
    }

    /// Starts the work on the block of A from frame `start_a` and of B from frame `start_b`; the lag axis has moved by
    /// `moved_frames` since the last one. `memory_s`: how long sums last.
    pub fn begin(&mut self, aim: Aim, start_a: i64, start_b: i64, moved_frames: i64, memory_s: f64) {
        self.start = [start_a, start_b];
        match (&self.aim, &aim) {
            // Goes on with the sums of the nearest drift alone.
            (Aim::Search, Aim::Watch { drift_ppm, .. }) => {
                let off = |i: &usize| (DRIFTS_PPM[*i] - drift_ppm).abs();
                let nearest = (0..DRIFTS_PPM.len()).min_by(|i, j| off(i).total_cmp(&off(j)));
                self.sums.swap(0, nearest.unwrap_or(0));
            }
            // The sums of the other drifts are old.
            (Aim::Watch { .. }, Aim::Search) => self.remains = 0.0,
            _ => {}
        }
        self.aim = aim;
        let decay = (-(HOP as f64) / self.rate_hz / memory_s).exp() as f32;
        self.keep = decay * self.remains;
        self.keep_energy = decay * self.remains * self.remains;
        self.remains = 1.0;
        let moved_us = moved_frames as f64 / self.rate_hz * 1e6;
        let hop_s = HOP as f64 / self.rate_hz;
        let drifts: &[f64] = match &aim {
            Aim::Search => &DRIFTS_PPM,
            Aim::Watch { drift_ppm, .. } => std::slice::from_ref(drift_ppm),
        };
        for (turn, drift) in self.turns.iter_mut().zip(drifts) {
            self.band.phasors(moved_us - drift * hop_s, |k, p| turn[k] = p * self.keep);
        }
        self.newest = (self.newest + 1) % self.spectra[0].len();
        self.best = None;
        self.stage = Stage::SpectrumA;
    }

    fn drifts(&self) -> usize {
        if matches!(self.aim, Aim::Search) { DRIFTS_PPM.len() } else { 1 }
    }

    /// Does the next bounded piece of work. Gives the finding when the block is done.
    pub fn step(&mut self, a: &History, b: &History) -> Option<Finding> {
        match self.stage {
            Stage::Idle => {}
            Stage::SpectrumA => {
                self.frames[..BLOCK].copy_from_slice(a.window(self.start[0], BLOCK));
                self.frames[BLOCK..].fill(0.0);
                self.weigh(0);
                self.stage = Stage::SpectrumB;
            }
            Stage::SpectrumB => {
                self.frames.copy_from_slice(b.window(self.start[1] - BLOCK as i64, 2 * BLOCK));
                self.weigh(1);
                self.blocks += 1;
                self.stage = Stage::Accumulate(0);
            }
            Stage::Accumulate(part) => {
                self.accumulate(part);
                self.stage = if part + 1 < 2 * self.side { Stage::Accumulate(part + 1) } else { Stage::Invert(0, 0) };
            }
            Stage::Invert(drift, part) => {
                let range = part * BLOCK..(part + 1) * BLOCK;
                self.transform.inverse(self.band.first, &self.sums[drift][part], &mut self.frames);
                let scale = 1.0 / (2.0 * OVERLAP as f32 * self.energy[part] + 1e-9).sqrt();
                for (r, f) in self.correlation[range].iter_mut().zip(&self.frames) {
                    *r = f * scale;
                }
                let next = part + 1;
                self.stage = if next < 2 * self.side { Stage::Invert(drift, next) } else { Stage::Pick(drift) };
            }
            Stage::Pick(drift) => {
                let finding = self.pick(drift);
                self.stage = if finding.is_some() { Stage::Idle } else { Stage::Invert(drift + 1, 0) };
                return finding;
            }
        }
        None
    }

    /// True while a block is being worked on.
    pub fn is_busy(&self) -> bool {
        self.stage != Stage::Idle
    }

    fn weigh(&mut self, microphone: usize) {
        let bins = self.transform.forward(&mut self.frames);
        powers(bins, &mut self.power);
        self.noise[microphone].step(&self.power);
        let (late, decay) = self.reverberation[microphone].late();
        let noise = self.noise[microphone].power();
        let band = self.band.first..self.band.first + self.band.len;
        let known = self.power[band.clone()].iter().zip(&noise[band.clone()]).zip(&late[band.clone()]);
        let out = &mut self.spectra[microphone][self.newest];
        for ((z, bin), ((power, noise), late)) in out.iter_mut().zip(&bins[band]).zip(known) {
            let floor = noise + REVERBERATION_WEIGHT * late * decay;
            let xi = power / (floor + 1e-30) - 1.0;
            let xi = if xi > 0.0 { xi } else { 0.0 };
            *z = bin * ((xi / (1.0 + xi)).sqrt() / (power + 1e-30).sqrt());
        }
        self.reverberation[microphone].step(&self.power);
    }

    fn accumulate(&mut self, part: usize) {
        let lag_blocks = part as i64 - self.side as i64;
        // Lag m >= 0: the newest block of B against the block of A that is m + 1 older (B's window starts a block
        // early); lag m < 0: the newest block of A against an older one of B.
        let (age_a, age_b) = if lag_blocks >= 0 { (lag_blocks + 1, 0) } else { (0, -lag_blocks - 1) };
        let [age_a, age_b] = [age_a, age_b].map(|blocks| blocks as usize * OVERLAP);
        let known = age_a.max(age_b) < self.blocks;
        let mut energy = 0.0;
        if known {
            let slots = self.spectra[0].len();
            let slot = |age: usize| (self.newest + slots - age) % slots;
            let (fa, fb) = (&self.spectra[0][slot(age_a)], &self.spectra[1][slot(age_b)]);
            for (x, (a, b)) in self.cross.iter_mut().zip(fa.iter().zip(fb)) {
                *x = a.conj() * b;
                energy += x.norm_sqr();
            }
        } else {
            self.cross.fill(Complex32::default());
        }
        self.energy[part] = self.energy[part] * self.keep_energy + energy;
        for drift in 0..self.drifts() {
            for (s, (t, x)) in self.sums[drift][part].iter_mut().zip(self.turns[drift].iter().zip(&self.cross)) {
                *s = *s * t + x;
            }
        }
    }

    fn lag_us(&self, place: f64) -> f64 {
        (place - (self.side * BLOCK) as f64) / self.rate_hz * 1e6
    }

    fn place(&self, lag_us: f64) -> i64 {
        (lag_us * 1e-6 * self.rate_hz).round() as i64 + (self.side * BLOCK) as i64
    }

    /// The highest value outside of `left_out`, as a peak.
    fn highest(&self, left_out: std::ops::Range<i64>) -> (usize, Peak) {
        let len = 2 * self.side * BLOCK;
        let low = self.place(-self.limit_us).clamp(0, len as i64) as usize;
        let high = (self.place(self.limit_us) + 1).clamp(0, len as i64) as usize;
        let gap = |i: i64| i.clamp(low as i64, high as i64) as usize;
        let (mut at, mut top) = (low, -1.0);
        for range in [low..gap(left_out.start), gap(left_out.end)..high] {
            if let Some((i, z)) = highest(&self.correlation[range.clone()], f32::abs)
                && z > top
            {
                (at, top) = (range.start + i, z);
            }
        }
        let c = |i: usize| self.correlation[i.min(len - 1)].abs();
        let off = if at > 0 { parabola_top(c(at - 1), c(at), c(at + 1)) } else { 0.0 };
        (at, Peak { lag_us: self.lag_us(at as f64 + off), z: top.max(0.0), sign: self.correlation[at].signum() })
    }

    fn pick(&mut self, drift: usize) -> Option<Finding> {
        match self.aim {
            Aim::Search => {
                let (at, best) = self.highest(0..0);
                if self.best.is_none_or(|(b, ..)| best.z > b.z) {
                    let apart = (0.0015 * self.rate_hz) as i64;
                    let (_, second) = self.highest(at as i64 - apart..at as i64 + apart + 1);
                    self.best = Some((best, best.z / (second.z + 1e-9), drift));
                }
                if drift + 1 < DRIFTS_PPM.len() {
                    return None;
                }
                self.best.map(|(best, ratio, drift)| Finding::Search { best, ratio, drift })
            }
            Aim::Watch { lag_us, .. } => {
                let apart = (0.001 * self.rate_hz) as i64;
                let at = self.place(lag_us);
                let len = (2 * self.side * BLOCK) as i64;
                let near = (at - apart).clamp(0, len) as usize..(at + apart + 1).clamp(0, len) as usize;
                let here = self.correlation[near].iter().fold(0.0f32, |m, r| m.max(r.abs()));
                let (_, elsewhere) = self.highest(at - apart..at + apart + 1);
                Some(Finding::Watch { here, elsewhere })
            }
        }
    }
}
