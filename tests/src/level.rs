//! How loud a sound that is known is in a recording of more than that.

use realfft::RealFftPlanner;

/// Level of `far` in `recording`, both at `rate_hz`, dB against its own, wherever it is in there: the energy of the way by which it got there,
/// as correlation tells it, around its strongest path.
pub fn level_db(recording: &[f32], far: &[f32], rate_hz: f64) -> f64 {
    /// Length of the windows in which it is looked for, s.
    const WINDOW_S: f64 = 0.5;
    /// Longest way that counts as one with the strongest path, s.
    const PATHS_S: f64 = 0.01;

    let (window, paths) = ((WINDOW_S * rate_hz) as usize, (PATHS_S * rate_hz) as usize);
    let length = (far.len() + window).next_power_of_two();
    let mut planner = RealFftPlanner::<f32>::new();
    let (forward, inverse) = (planner.plan_fft_forward(length), planner.plan_fft_inverse(length));
    let spectrum = |sound: &[f32]| {
        let mut padded = sound.to_vec();
        padded.resize(length, 0.0);
        let mut spectrum = forward.make_output_vec();
        forward.process(&mut padded, &mut spectrum).expect("lengths fit");
        spectrum
    };
    let far_spectrum = spectrum(far);
    let far_energy = far.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / far.len() as f64 * window as f64;
    let energies: Vec<f64> = recording
        .chunks_exact(window)
        .map(|sound| {
            let mut product: Vec<_> = spectrum(sound).iter().zip(&far_spectrum).map(|(x, f)| f * x.conj()).collect();
            product[0].im = 0.0;
            product.last_mut().expect("not empty").im = 0.0;
            let mut correlation = inverse.make_output_vec();
            inverse.process(&mut product, &mut correlation).expect("lengths fit");
            let squares: Vec<f64> =
                correlation[..far.len()].iter().map(|x| (f64::from(*x) / length as f64 / far_energy).powi(2)).collect();
            let best = (0..squares.len()).max_by(|i, j| squares[*i].total_cmp(&squares[*j])).expect("not empty");
            let around = best.saturating_sub(paths / 2)..(best + paths / 2).min(squares.len());
            let floor = squares.iter().sum::<f64>() / squares.len() as f64;
            (squares[around.clone()].iter().sum::<f64>() - floor * around.len() as f64).max(0.0)
        })
        .collect();
    10.0 * (energies.iter().sum::<f64>() / energies.len() as f64).max(1e-9).log10()
}
