//! GStreamer: the element that it makes of the LADSPA file.

use driftmerge_tests::hosts::{CHANGED, Settings, Workshop, assert_same, succeed};
use driftmerge_tests::two_clocks::Pair;

#[test]
fn the_ladspa_element_gives_what_the_engine_gives() {
    let (workshop, pair, settings) = (Workshop::new(), Pair::short(), Settings::default());
    let input = workshop.write_pair("in.wav", &pair);
    let mut command = workshop.command("gst-launch-1.0");
    // A registry of its own: the user's may know an older plugin, and is not to know this one.
    command.env("GST_REGISTRY", workshop.path("registry"));
    command.args(["-q", "filesrc", &format!("location={}", input.display()), "!", "wavparse", "!"]);
    command.arg("ladspa-driftmerge-so-driftmerge");
    for (symbol, _, value) in CHANGED {
        command.arg(format!("{symbol}={value}"));
    }
    succeed(command.args(["!", "wavenc", "!", "filesink", "location=out.wav"]));
    assert_same(&workshop.read("out.wav", 0), &settings.merged(&pair));
}
