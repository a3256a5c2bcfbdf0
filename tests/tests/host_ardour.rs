//! Ardour without its windows: its Lua shell makes a session with all three plugins, saves it and loads it again.

use driftmerge_tests::hosts::{Workshop, succeed};

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
  local route = session:new_audio_track(ins, 2, nil, 1, name, last, normal, true):front()
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
    let script = workshop.path("session.lua");
    std::fs::write(&script, SCRIPT).expect("the folder can be written");
    // The number of Ardour's version is in the program's name.
    let shell = "shell=$(ls /usr/bin/ardour*-lua | head -n 1) && exec timeout 60 $shell session.lua </dev/null";
    let output = succeed(workshop.command("sh").args(["-c", shell]));
    let said = String::from_utf8_lossy(&output.stdout);
    let seen: Vec<&str> = said.lines().filter(|line| line.starts_with("Driftmerge")).collect();
    let wanted = [
        "Driftmerge 2 in 1 out 100.0 ms 4800 frames",
        "Driftmerge 2 in 1 out 60.0 ms 2880 frames",
        "Driftmerge Four 4 in 1 out 100.0 ms 5280 frames",
        "Driftmerge Four 4 in 1 out 60.0 ms 3360 frames",
        "Driftmerge Align 2 in 2 out 100.0 ms 4800 frames",
        "Driftmerge Align 2 in 2 out 60.0 ms 2880 frames",
        // After the session was loaded:
        "Driftmerge 2 in 1 out 60.0 ms 2880 frames",
        "Driftmerge Four 4 in 1 out 60.0 ms 3360 frames",
        "Driftmerge Align 2 in 2 out 60.0 ms 2880 frames",
    ];
    assert_eq!(seen, wanted, "{said}{}", String::from_utf8_lossy(&output.stderr));
}
