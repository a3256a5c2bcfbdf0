//! What comes before the merge: tunnels to microphones of other machines, single channels of those that have several, and
//! echo cancellers ([`super::echo`]).

use super::devices::{self, Selector, Tunnel};
use super::echo::{self, Echo, NULL_SINK};
use super::graph::Graph;
use super::parts::{Element, Part};

impl Graph<'_> {
    /// What brings microphones to this server and takes echoes out of them.
    pub(super) fn before(&self) -> Vec<Element> {
        let mut elements = Vec::new();
        for (i, mic) in self.mics.iter().enumerate() {
            let Some(server) = &mic.server else { continue };
            let (name, rate) = (self.source_of(i), self.rate_hz.to_string());
            let arguments: [(&str, &str); 5] = [
                ("source_name", &name),
                ("server", server),
                ("source", &mic.source),
                ("rate", &rate),
                ("channels", "1"),
            ];
            let what = ("source_properties", "Driftmerge tunnel");
            elements.push(self.element(Part::Tunnel(i), "module-tunnel-source", what.0, what.1, &arguments));
        }
        for (i, mic) in self.mics.iter().enumerate() {
            let Some(channel) = mic.channel.as_ref().filter(|_| mic.there && self.picks(i)) else { continue };
            let (name, master) = (self.picked(i), self.source_of(i));
            let arguments: [(&str, &str); 6] = [
                ("source_name", &name),
                ("master", &master),
                ("channels", "1"),
                ("master_channel_map", &channel.position),
                ("channel_map", "mono"),
                ("remix", "no"),
            ];
            let what = ("source_properties", "Driftmerge channel");
            elements.push(self.element(Part::Pick(i), "module-remap-source", what.0, what.1, &arguments));
        }
        let Some(echo) = self.echo else { return elements };
        let rate = echo::rate_hz(self.rate_hz).to_string();
        let (heard, mut next) = self.heard(echo, &rate);
        elements.extend(heard);
        let there: Vec<usize> = (0..self.mics.len()).filter(|i| self.mics[*i].echo && self.mics[*i].there).collect();
        for i in there.iter().copied().rev() {
            let sink = if i == there[0] { self.far_sink() } else { format!("{}{i}", self.far_sink()) };
            let (source, name) = (self.picked(i), self.recorded(i));
            let arguments: [(&str, &str); 8] = [
                ("source_name", &name),
                ("source_master", &source),
                ("sink_name", &sink),
                ("sink_master", &next),
                ("rate", &rate),
                ("channels", "1"),
                ("aec_method", "webrtc"),
                ("aec_args", &echo.arguments),
            ];
            let what = ("source_properties", "Driftmerge echo canceller");
            elements.push(self.element(Part::Echo(i), "module-echo-cancel", what.0, what.1, &arguments));
            next = sink;
        }
        elements
    }

    /// Name of the sink at the end of the far end's way, if it is one of our own.
    fn far_end(&self) -> String {
        format!("{}_far_end", self.name)
    }

    /// The sink in which the far end's way ends, and what has to be loaded for it.
    fn heard(&self, echo: &Echo, rate: &str) -> (Vec<Element>, String) {
        let (end, what) = (self.far_end(), ("sink_properties", "Driftmerge far end"));
        let tunnel = |part, name: &str, sink: &str| {
            let Ok(Selector::Tunnel(Tunnel { server, source })) = devices::parse(sink) else { return None };
            let arguments = [("sink_name", name), ("server", &server), ("sink", &source), ("rate", rate)];
            Some(self.element(part, "module-tunnel-sink", what.0, what.1, &arguments))
        };
        if let [sink] = &echo.sinks[..] {
            if sink == NULL_SINK {
                let arguments = [("sink_name", end.as_str()), ("rate", rate)];
                return (vec![self.element(Part::Far, "module-null-sink", what.0, what.1, &arguments)], end);
            }
            return match tunnel(Part::Far, &end, sink) {
                Some(far) => (vec![far], end),
                None => (Vec::new(), sink.clone()),
            };
        }
        let (mut elements, mut names) = (Vec::new(), Vec::new());
        for (i, sink) in echo.sinks.iter().enumerate() {
            let name = format!("{end}{i}");
            let far = tunnel(Part::Loud(i), &name, sink);
            names.push(if far.is_some() { name } else { sink.clone() });
            elements.extend(far);
        }
        let arguments = [("sink_name", end.as_str()), ("slaves", &names.join(",")), ("rate", rate)];
        elements.push(self.element(Part::Far, "module-combine-sink", what.0, what.1, &arguments));
        (elements, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::arguments;
    use crate::plan::{Kind, Mic};

    #[test]
    fn the_far_end_passes_every_microphone_that_is_there_on_its_way_to_the_real_sink() {
        let echo = Echo { sinks: vec!["speaker".into()], arguments: "noise_suppression=0".into() };
        let mut mics: Vec<Mic> = ["a", "b", "c", "d"].map(Mic::local).into();
        for mic in &mut mics {
            mic.echo = true;
        }
        // One that is away, one that nobody asked for.
        (mics[0].there, mics[2].echo) = (false, false);
        let graph = Graph { name: "m", mics, echo: Some(&echo), rate_hz: 44_100, kind: Kind::Direct };
        let cancellers: Vec<Element> =
            graph.elements().into_iter().filter(|e| e.module == "module-echo-cancel").collect();
        let way = |key| cancellers.iter().filter_map(|e| arguments::value_of(&e.arguments, key)).collect::<Vec<_>>();
        assert_eq!(way("sink_master"), ["speaker", "m_far3"]);
        assert_eq!(way("sink_name"), ["m_far3", "m_far"]);
        assert_eq!(way("source_master"), ["d", "b"]);
        assert_eq!(way("rate"), ["48000", "48000"]);
        let recorded: Vec<String> = (0..4).map(|i| graph.recorded(i)).collect();
        assert_eq!(recorded, ["m_echo0", "m_echo1", "c", "m_echo3"]);
    }

    #[test]
    fn a_far_end_that_another_machine_plays_goes_there_by_a_tunnel() {
        let echo = Echo { sinks: vec!["tunnel:box/living room".into()], arguments: "noise_suppression=0".into() };
        let mut mics = vec![Mic::local("a"), Mic::local("b")];
        mics[0].echo = true;
        let graph = Graph { name: "m", mics, echo: Some(&echo), rate_hz: 48_000, kind: Kind::Direct };
        let elements = graph.elements();
        let of = |part: Part, key| {
            let element = elements.iter().find(|e| e.part == part).expect("it is there");
            arguments::value_of(&element.arguments, key).expect("it is given")
        };
        assert_eq!(of(Part::Far, "server"), "tcp:box");
        assert_eq!(of(Part::Far, "sink"), "living room");
        assert_eq!(of(Part::Echo(0), "sink_master"), of(Part::Far, "sink_name"));
    }

    #[test]
    fn several_sinks_are_put_together_and_a_tunnel_among_them_comes_first() {
        let sinks = vec!["speaker".into(), "tunnel:box/living room".into()];
        let echo = Echo { sinks, arguments: "noise_suppression=0".into() };
        let mut mics = vec![Mic::local("a"), Mic::local("b")];
        mics[0].echo = true;
        let graph = Graph { name: "m", mics, echo: Some(&echo), rate_hz: 48_000, kind: Kind::Direct };
        let elements = graph.elements();
        let at = |part: Part| elements.iter().position(|e| e.part == part).expect("it is there");
        assert!(at(Part::Loud(1)) < at(Part::Far) && at(Part::Far) < at(Part::Echo(0)));
        let of = |part: Part, key| arguments::value_of(&elements[at(part)].arguments, key).expect("it is given");
        assert_eq!(of(Part::Loud(1), "sink"), "living room");
        assert_eq!(of(Part::Far, "slaves"), "speaker,m_far_end1");
        assert_eq!(of(Part::Echo(0), "sink_master"), of(Part::Far, "sink_name"));
    }
}
