//! Ardour without its windows: its Lua shell makes a session with all three plugins, saves it and loads it again; and it
//! bounces sound through each.

use driftmerge_tests::hosts::{Trial, Workshop, assert_same, succeed};

/// Runs a script in the shell; gives what it printed, and what it complained of.
fn run(workshop: &Workshop, script: &str) -> [String; 2] {
    std::fs::write(workshop.path("script.lua"), script).expect("the folder can be written");
    // The number of Ardour's version is in the program's name.
    let shell = "shell=$(ls /usr/bin/ardour*-lua | head -n 1) && exec timeout 60 $shell script.lua </dev/null";
    let output = succeed(workshop.command("sh").args(["-c", shell]));
    [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned())
}

/// Prints what it sees: the shell itself ends well whatever happens in a script.
const SCRIPT: &str = r#"
local function look(route)
  local processor = route:nth_plugin(0)
  local insert = processor:to_insert()
  local plugin = insert:plugin(0)
  local ins, outs = plugin:get_info().n_inputs:n_audio(), plugin:get_info().n_outputs:n_audio()
  local delay_ms = ARDOUR.LuaAPI.get_processor_param(processor, 1, true)
  print(plugin:name(), ins .. " in", outs .. " out", delay_ms .. " ms", insert:signal_latency() .. " frames")
end

AudioEngine:set_backend("None (Dummy)", "", "")
local session = create_session("session", "test", 48000)
for _, name in ipairs { "merge", "merge4", "align" } do
  local processor = ARDOUR.LuaAPI.new_plugin(session, "urn:driftmerge:" .. name, ARDOUR.PluginType.LV2, "")
  local ins = name == "merge4" and 4 or 2
  local last, normal = ARDOUR.PresentationInfo.max_order, ARDOUR.TrackMode.Normal
  -- The route lives in the list that is returned, for as long as something holds that.
  local routes = session:new_audio_track(ins, 2, nil, 1, name, last, normal, true)
  local route = routes:front()
  route:add_processor_by_index(processor, 0, nil, true)
  look(route)
  local before = processor:to_insert():signal_latency()
  ARDOUR.LuaAPI.set_processor_param(processor, 1, 60.0)
  for _ = 1, 200 do
    if processor:to_insert():signal_latency() ~= before then break end
    ARDOUR.LuaAPI.usleep(50000)
  end
  look(route)
end
session:save_state("")
close_session()

session = load_session("session", "test")
for route in session:get_routes():iter() do
  if not route:nth_plugin(0):isnil() then look(route) end
end
close_session()
quit()
"#;

#[test]
fn ardour_takes_all_plugins_with_their_latency_follows_its_changes_and_keeps_them_in_a_session() {
    let workshop = Workshop::new();
    let [said, complained] = run(&workshop, SCRIPT);
    let seen: Vec<&str> = said.lines().filter(|line| line.starts_with("Driftmerge")).collect();
    let wanted = [
        "Driftmerge 2 in 1 out 100.0 ms 4800 frames",
        "Driftmerge 2 in 1 out 60.0 ms 2880 frames",
        "Driftmerge Four 4 in 1 out 100.0 ms 4800 frames",
        "Driftmerge Four 4 in 1 out 60.0 ms 2880 frames",
        "Driftmerge Align 2 in 2 out 100.0 ms 4800 frames",
        "Driftmerge Align 2 in 2 out 60.0 ms 2880 frames",
        // After the session was loaded:
        "Driftmerge 2 in 1 out 60.0 ms 2880 frames",
        "Driftmerge Four 4 in 1 out 60.0 ms 2880 frames",
        "Driftmerge Align 2 in 2 out 60.0 ms 2880 frames",
    ];
    assert_eq!(seen, wanted, "{said}{complained}");
}

/// The shell has no import: a bounce of an empty track makes files of silence, which are overwritten with the sound. The
/// track is off, so that the plugin hears nothing before. Prints the latency that Ardour takes out, and the files made.
const BOUNCE: &str = r#"
local function paths(region)
  local list = {}
  for source in region:master_sources():iter() do list[#list + 1] = source:to_filesource():path() end
  return list
end

local function read(path)
  local file = assert(io.open(path, "rb"))
  local bytes = file:read("a")
  file:close()
  return bytes
end

local function overwrite(path, samples)
  local _, header = read(path):find("data....")
  local file = assert(io.open(path, "r+b"))
  file:seek("set", header)
  file:write(samples)
  file:close()
end

AudioEngine:set_backend("None (Dummy)", "", "")
local session = create_session("session", "test", RATE)
local last, normal = ARDOUR.PresentationInfo.max_order, ARDOUR.TrackMode.Normal
print("block", session:get_block_size())
for _, trial in ipairs(TRIALS) do
  local routes = session:new_audio_track(trial.ins, trial.ins, nil, 1, trial.label, last, normal, true)
  local route = routes:front()
  route:set_active(false, nil)
  local track, nothing, frames = route:to_track(), route:nth_plugin(0), trial.frames
  local region = track:bounce_range(0, frames, ARDOUR.InterThreadInfo(), nothing, false, trial.label .. "-in")
  for i, path in ipairs(paths(region)) do overwrite(path, read(trial.label .. "-" .. i)) end
  region:to_audioregion():set_fade_in_active(false)
  region:to_audioregion():set_fade_out_active(false)
  track:playlist():add_region(region, Temporal.timepos_t(0), 1, false, 0, 0, false)

  local processor = ARDOUR.LuaAPI.new_plugin(session, trial.uri, ARDOUR.PluginType.LV2, "")
  route:add_processor_by_index(processor, 0, nil, true)
  -- A bounce reads as many channels as come out at the end: as many as go in, then.
  local channels = ARDOUR.ChanCount(ARDOUR.DataType("audio"), trial.ins)
  assert(route:customize_plugin_insert(processor, 1, channels, channels))
  for index, value in pairs(trial.controls) do ARDOUR.LuaAPI.set_processor_param(processor, index, value) end
  print("latency", processor:to_insert():signal_latency())
  local out = track:bounce_range(0, frames, ARDOUR.InterThreadInfo(), processor, true, trial.label .. "-out")
  for _, path in ipairs(paths(out)) do print("file", path) end
end
close_session()
quit()
"#;

#[test]
fn what_ardour_bounces_is_what_the_engine_gives() {
    /// Ardour's gains rise from nothing at first, which takes a tenth of a second: in silence.
    const SILENCE: usize = 4000;

    let (workshop, trials) = (Workshop::new(), Trial::uris().map(|trial| trial.after_silence(SILENCE)));
    let short = |trial: &Trial| trial.name.rsplit(':').next().expect("a part");
    let table = |trial: &Trial| {
        for (i, sound) in trial.sounds.iter().enumerate() {
            let samples: Vec<u8> = sound.iter().flat_map(|x| x.to_le_bytes()).collect();
            std::fs::write(workshop.path(&format!("{}-{}", short(trial), i + 1)), samples).expect("it can be written");
        }
        let controls: Vec<_> = trial.changed().iter().map(|(_, i, value)| format!("[{i}] = {value}")).collect();
        let (uri, label, ins, frames) = (trial.name, short(trial), trial.sounds.len(), trial.sounds[0].len());
        let controls = controls.join(", ");
        format!("{{ uri = '{uri}', label = '{label}', ins = {ins}, frames = {frames}, controls = {{ {controls} }} }}")
    };
    let tables = trials.each_ref().map(table).join(",\n");
    let settings = format!("local RATE, TRIALS = {}, {{\n{tables}\n}}\n", trials[0].rate_hz);
    let [said, complained] = run(&workshop, &(settings + BOUNCE));

    let mut lines = said.lines().filter_map(|line| line.split_once(' '));
    let mut next = |what: &str| match lines.find(|(word, _)| ["block", "latency", "file"].contains(word)) {
        Some((word, value)) if word == what => value,
        other => panic!("{what}: {other:?} in:\n{said}{complained}"),
    };
    let block: usize = next("block").parse().expect("frames");
    for trial in &trials {
        let latency: usize = next("latency").parse().expect("frames");
        let hosts: Vec<_> = trial.sounds.iter().map(|_| workshop.read(next("file"), 0)).collect();
        // To learn the latency, Ardour has run the plugin on a block of silence before.
        for (host, engine) in hosts.iter().zip(trial.expected_after(block)) {
            assert_same(&host[..engine.len() - latency], &engine[latency..]);
        }
    }
}
