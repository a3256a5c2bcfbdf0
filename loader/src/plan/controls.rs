//! The plugin's control inputs, as a server takes them.

use driftmerge_dsp::Controls;
use driftmerge_dsp::params::CONTROLS;

/// The values of the control inputs, in port order.
pub fn control_values(controls: &Controls) -> [f32; CONTROLS.len()] {
    CONTROLS.map(|port| match port.symbol {
        "enabled" => f32::from(u8::from(controls.enabled)),
        "delay" => controls.delay_ms,
        "lag_limit" => controls.lag_limit_ms,
        "threshold" => controls.threshold,
        "half_life" => controls.half_life_s,
        "mode" => f32::from(controls.mode as u8),
        "hold" => f32::from(u8::from(controls.hold)),
        "reset" => f32::from(u8::from(controls.reset)),
        "lag_trim" => controls.lag_trim_frames[0] as f32,
        "post_filter" => f32::from(u8::from(controls.post_filter)),
        _ => port.default,
    })
}

/// All control inputs by position, as `module-ladspa-sink` wants them.
pub fn control_list(controls: &Controls) -> String {
    control_values(controls).map(|v| v.to_string()).join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_by_position_are_read_back_as_they_were() {
        let wanted = Controls { delay_ms: 250.0, mode: driftmerge_dsp::Mode::OnlyB, ..Controls::default() };
        let list = control_list(&wanted);
        let values: Vec<f32> = list.split(',').map(|v| v.parse().expect("a number")).collect();
        assert_eq!(Controls::from_values(&values.try_into().expect("one for each port")), wanted);
    }
}
