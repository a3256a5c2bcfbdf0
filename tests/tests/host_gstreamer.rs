//! GStreamer: the elements that it makes of the LADSPA file.

use driftmerge_tests::hosts::{Trial, Workshop, succeed};

#[test]
fn the_ladspa_elements_give_what_the_engine_gives() {
    for trial in Trial::labels() {
        let workshop = Workshop::new();
        let input = trial.write(&workshop, "in.wav");
        let mut command = workshop.command("gst-launch-1.0");
        // A registry of its own: the user's may know an older plugin, and is not to know this one.
        command.env("GST_REGISTRY", workshop.path("registry"));
        command.args(["-q", "filesrc", &format!("location={}", input.display()), "!", "wavparse", "!"]);
        command.arg(format!("ladspa-driftmerge-so-{}", trial.name.replace('_', "-")));
        for (symbol, _, value) in trial.changed() {
            command.arg(format!("{symbol}={value}"));
        }
        succeed(command.args(["!", "wavenc", "!", "filesink", "location=out.wav"]));
        trial.assert_written(&workshop, "out.wav");
    }
}
