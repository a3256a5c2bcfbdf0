//! The band in which onsets are looked for: 80 to 1500 Hz, where voices set in, of both microphones at once.

/// Lower edge, Hz: below are rumble and hum, and reverberation that is alike in both microphones.
const LOW_HZ: f64 = 80.0;
/// Upper edge, Hz: below the reach of small errors of the lag.
const HIGH_HZ: f64 = 1500.0;

/// One section of a filter (direct form II, transposed), for A and B side by side.
#[derive(Clone, Debug)]
struct Section {
    b: [f64; 3],
    a: [f64; 2],
    state: [[f64; 2]; 2],
}

impl Section {
    /// A Butterworth section, high-pass or low-pass (bilinear transform, after R. Bristow-Johnson's cookbook).
    fn new(edge_hz: f64, rate_hz: f64, is_high_pass: bool) -> Self {
        let w = std::f64::consts::TAU * edge_hz / rate_hz;
        let alpha = w.sin() * std::f64::consts::FRAC_1_SQRT_2;
        let scale = 1.0 / (1.0 + alpha);
        let outer = 0.5 * scale * if is_high_pass { 1.0 + w.cos() } else { 1.0 - w.cos() };
        let inner = if is_high_pass { -2.0 * outer } else { 2.0 * outer };
        Self { b: [outer, inner, outer], a: [-2.0 * w.cos() * scale, (1.0 - alpha) * scale], state: [[0.0; 2]; 2] }
    }

    fn pass(&mut self, x: [f64; 2]) -> [f64; 2] {
        let [s, t] = &mut self.state;
        let mut y = [0.0; 2];
        for i in 0..2 {
            y[i] = self.b[0] * x[i] + s[i];
            s[i] = self.b[1] * x[i] - self.a[0] * y[i] + t[i];
            t[i] = self.b[2] * x[i] - self.a[1] * y[i];
        }
        y
    }
}

/// Passes the band of both microphones.
#[derive(Clone, Debug)]
pub struct VoiceBand {
    high_pass: Section,
    low_pass: Section,
}

impl VoiceBand {
    /// The band at `rate_hz`.
    pub fn new(rate_hz: f64) -> Self {
        Self { high_pass: Section::new(LOW_HZ, rate_hz, true), low_pass: Section::new(HIGH_HZ, rate_hz, false) }
    }

    /// Ends what is far below hearing, lest silence be computed with denormal numbers. Audio thread.
    pub fn settle(&mut self) {
        for s in self.high_pass.state.iter_mut().chain(&mut self.low_pass.state).flatten() {
            if s.abs() < 1e-30 {
                *s = 0.0;
            }
        }
    }

    /// Takes a sample of A and one of B. Audio thread.
    pub fn pass(&mut self, x: [f64; 2]) -> [f64; 2] {
        self.low_pass.pass(self.high_pass.pass(x))
    }
}
