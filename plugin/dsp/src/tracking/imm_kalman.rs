//! Lag and drift from noisy measurements of the lag: three Kalman filters of (lag, drift), mixed.
//!
//! Signal model: the drift is a random walk, the lag its integral. How restless the drift is differs: a crystal, a
//! warming crystal, a server that steps the rate. So three filters run side by side, mixed by how well each explains
//! the measurements (interacting multiple models: Blom & Bar-Shalom, IEEE Trans. Automatic Control 33(8), 1988).

/// Drift noise of the three models, ppm per square root of a second: a settled crystal, a warming one, a loopback
/// that steps its rate.
const DRIFT_NOISE: [f64; 3] = [0.03, 0.5, 15.0];
/// Probability that the model of one measurement is that of the next. (0.97 was two to three times worse.)
const STAY: f64 = 0.997;
/// Probability of the models at the start.
const START: [f64; 3] = [0.4, 0.4, 0.2];
const MODELS: usize = DRIFT_NOISE.len();

/// One filter: mean and covariance of (lag us, drift ppm).
#[derive(Clone, Copy, Debug)]
struct Model {
    x: [f64; 2],
    /// Variance of lag, covariance, variance of drift.
    p: [f64; 3],
}

/// What a measurement did to the filter.
#[derive(Clone, Copy, Debug)]
pub struct Update {
    /// Measured minus predicted lag, us.
    pub innovation_us: f64,
    /// Whether it passed the gate and was used.
    pub used: bool,
}

/// The mixed filter.
#[derive(Clone, Copy, Debug)]
pub struct LagFilter {
    models: [Model; MODELS],
    share: [f64; MODELS],
    time_s: f64,
}

impl LagFilter {
    /// Starts from a lag and a drift with their standard deviations, at `time_s` on B's clock.
    pub fn new(time_s: f64, lag_us: f64, lag_sd_us: f64, drift_ppm: f64, drift_sd_ppm: f64) -> Self {
        let model = Model { x: [lag_us, drift_ppm], p: [lag_sd_us * lag_sd_us, 0.0, drift_sd_ppm * drift_sd_ppm] };
        Self { models: [model; MODELS], share: START, time_s }
    }

    fn mean(&self) -> [f64; 2] {
        let mut x = [0.0; 2];
        for (m, s) in self.models.iter().zip(self.share) {
            x[0] += s * m.x[0];
            x[1] += s * m.x[1];
        }
        x
    }

    /// Time of the last step, s.
    pub fn time_s(&self) -> f64 {
        self.time_s
    }

    /// Drift, ppm.
    pub fn drift_ppm(&self) -> f64 {
        self.mean()[1]
    }

    /// Lag at `time_s` on B's clock, us.
    pub fn lag_us(&self, time_s: f64) -> f64 {
        let [lag, drift] = self.mean();
        lag + drift * (time_s - self.time_s)
    }

    /// Standard deviations of lag (us) and drift (ppm).
    pub fn sd(&self) -> [f64; 2] {
        let p = spread(&self.models, &self.share, self.mean());
        [p[0].max(0.0).sqrt(), p[2].max(0.0).sqrt()]
    }

    /// Runs on to `time_s` by the drift.
    pub fn advance(&mut self, time_s: f64) {
        let dt = time_s - self.time_s;
        if dt <= 0.0 {
            return;
        }
        for (m, q) in self.models.iter_mut().zip(DRIFT_NOISE) {
            let [a, b, c] = m.p;
            let q = q * q;
            m.x[0] += dt * m.x[1];
            m.p = [a + dt * (2.0 * b + dt * c) + q * dt.powi(3) / 3.0, b + dt * c + q * dt * dt / 2.0, c + q * dt];
        }
        self.time_s = time_s;
    }

    /// Takes a lag measured at the filter's time, with its variance. With a `gate` (in standard deviations), one
    /// farther off is not used.
    pub fn update(&mut self, lag_us: f64, variance: f64, gate: Option<f64>) -> Update {
        let mean = self.mean();
        let innovation_us = lag_us - mean[0];
        let expected = spread(&self.models, &self.share, mean)[0] + variance;
        if gate.is_some_and(|g| innovation_us * innovation_us > g * g * expected) {
            return Update { innovation_us, used: false };
        }
        self.mix();
        let mut score = [0.0; MODELS];
        for (m, score) in self.models.iter_mut().zip(&mut score) {
            let [a, b, c] = m.p;
            let s = a + variance;
            let v = lag_us - m.x[0];
            let k = [a / s, b / s];
            m.x[0] += k[0] * v;
            m.x[1] += k[1] * v;
            // Joseph form: stays positive whatever the rounding.
            let i = 1.0 - k[0];
            m.p = [
                i * i * a + k[0] * k[0] * variance,
                i * (b - k[1] * a) + k[0] * k[1] * variance,
                c - 2.0 * k[1] * b + k[1] * k[1] * s,
            ];
            *score = -0.5 * (v * v / s + s.ln());
        }
        let best = score.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut sum = 0.0;
        for (share, score) in self.share.iter_mut().zip(score) {
            *share = (*share * (score - best).exp()).max(1e-4);
            sum += *share;
        }
        self.share.iter_mut().for_each(|s| *s /= sum);
        Update { innovation_us, used: true }
    }

    /// Moves lag and drift, and adds to their standard deviations.
    pub fn shift(&mut self, lag_us: f64, lag_sd_us: f64, drift_ppm: f64, drift_sd_ppm: f64) {
        for m in &mut self.models {
            m.x[0] += lag_us;
            m.x[1] += drift_ppm;
            m.p[0] += lag_sd_us * lag_sd_us;
            m.p[2] += drift_sd_ppm * drift_sd_ppm;
        }
    }

    fn mix(&mut self) {
        let leave = (1.0 - STAY) / (MODELS - 1) as f64;
        let step = |from: usize, to: usize| if from == to { STAY } else { leave };
        let next: [f64; MODELS] = std::array::from_fn(|to| (0..MODELS).map(|i| self.share[i] * step(i, to)).sum());
        let old = self.models;
        for (to, model) in self.models.iter_mut().enumerate() {
            let weight: [f64; MODELS] = std::array::from_fn(|i| self.share[i] * step(i, to) / next[to]);
            let mut x = [0.0; 2];
            for (m, w) in old.iter().zip(weight) {
                x[0] += w * m.x[0];
                x[1] += w * m.x[1];
            }
            *model = Model { x, p: spread(&old, &weight, x) };
        }
        self.share = next;
    }
}

/// Covariance of a mixture about `mean`.
fn spread(models: &[Model; MODELS], share: &[f64; MODELS], mean: [f64; 2]) -> [f64; 3] {
    let mut p = [0.0; 3];
    for (m, s) in models.iter().zip(share) {
        let d = [m.x[0] - mean[0], m.x[1] - mean[1]];
        p[0] += s * (m.p[0] + d[0] * d[0]);
        p[1] += s * (m.p[1] + d[0] * d[1]);
        p[2] += s * (m.p[2] + d[1] * d[1]);
    }
    p
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ramp_of_100_ppm_is_found_to_1_ppm_from_measurements_good_to_3_us() {
        let mut f = LagFilter::new(0.0, 0.0, 100.0, 0.0, 300.0);
        let mut noise = 1u32;
        for k in 1..120 {
            let t = f64::from(k) * 0.256;
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let n = (f64::from(noise >> 8) / f64::from(1u32 << 24) - 0.5) * 3.0 * 12f64.sqrt();
            f.advance(t);
            f.update(100.0 * t + n, 9.0, Some(5.0));
        }
        assert!((f.drift_ppm() - 100.0).abs() < 1.0, "{} ppm", f.drift_ppm());
        assert!((f.lag_us(30.5) - 3050.0).abs() < 3.0, "{} us", f.lag_us(30.5));
    }

    #[test]
    fn a_measurement_beyond_the_gate_changes_nothing() {
        let mut f = LagFilter::new(0.0, 0.0, 1.0, 0.0, 0.1);
        f.advance(1.0);
        let before = f.lag_us(2.0);
        assert!(!f.update(500.0, 1.0, Some(5.0)).used);
        assert_eq!(before, f.lag_us(2.0));
    }
}
