//! Every usual sample rate through the plugin's C functions.

use driftmerge_tests::align::quantile;
use driftmerge_tests::entry::{Driver, Entry};
use driftmerge_tests::two_clocks::Pair;

#[test]
fn at_every_rate_from_8_to_192_khz_the_lag_shown_is_within_20_us_in_19_of_20_blocks() {
    const SECONDS: f64 = 6.0;
    const LAG_S: f64 = 0.03;
    const DRIFT: f64 = 80e-6;
    for rate_hz in [8000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 88_200, 96_000, 192_000] {
        let pair = Pair::speech(rate_hz, SECONDS, LAG_S, DRIFT * 1e6);
        let mut driver = Driver::ready(Entry::Lv2, rate_hz);
        let block = rate_hz as usize / 50;
        let mut errors_s = Vec::new();
        let mut locked_s = None;
        for at in (0..pair.a.len() - block).step_by(block) {
            driver.process(&pair.a[at..at + block], &pair.b[at..at + block], &[block]);
            let now_s = (at + block) as f64 / f64::from(rate_hz);
            if driver.meter("state") >= 1.0 {
                locked_s.get_or_insert(now_s);
            }
            if now_s > 3.5 {
                let true_s = LAG_S + DRIFT * (now_s + LAG_S);
                errors_s.push((f64::from(driver.meter("lag")) * 1e-3 - true_s).abs());
            }
        }
        let p95_us = quantile(errors_s, 0.95) * 1e6;
        println!("{rate_hz} Hz: locked at {locked_s:?} s, p95 {p95_us:.1} us");
        assert!(locked_s.is_some_and(|s| s < 2.0), "{rate_hz} Hz: locked at {locked_s:?} s");
        assert!(p95_us <= 20.0, "{rate_hz} Hz: {p95_us} us");
        assert_eq!(driver.meter("latency"), (0.1 * rate_hz as f32).round());
    }
}
