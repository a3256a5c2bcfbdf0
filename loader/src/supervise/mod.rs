//! The commands that need a sound server. Each reads the settings, asks `plan` what is to be done, and has `pulse` and
//! `host` do it; [`service`] is `run`, [`control`] its socket, [`remote`] the commands that use that, [`mod@demo`] shows it
//! on a private server.

mod child;
pub mod control;
mod defaults;
pub mod demo;
mod desk;
pub mod ending;
mod far_end;
mod front;
mod guard;
mod native;
pub mod remote;
mod runtime_folder;
mod seen;
pub mod service;
mod session;
mod watch;

pub use demo::demo;
pub use remote::{monitor, reset, save, set, status, stop};
pub use service::run;

use crate::cli::{ListArgs, PlanArgs, PlanFormat, Planned};
use crate::config::{Config, Route};
use crate::exit::Failure;
use crate::host;
use crate::plan::devices::Selector;
use crate::plan::{self, Blocked, Echo, Graph, Kind, Mic, Present, Source, devices, echo, graph};
use crate::pulse::{self, Connection, PulseError};
use crate::say::{self, plain};
use std::path::{Path, PathBuf};

impl From<PulseError> for Failure {
    fn from(error: PulseError) -> Self {
        match error {
            PulseError::Unreachable { .. } => Self::Server(error.to_string()),
            PulseError::Far { .. } => Self::Device(error.to_string()),
            PulseError::Lost(_) | PulseError::Stopped | PulseError::Refused { .. } => Self::Runtime(error.into()),
        }
    }
}

impl From<devices::NotFound> for Failure {
    fn from(error: devices::NotFound) -> Self {
        match error {
            devices::NotFound::Unclear { .. } => Self::Usage(error.to_string()),
            _ => Self::Device(error.to_string()),
        }
    }
}

impl From<Blocked> for Failure {
    fn from(error: Blocked) -> Self {
        Self::Runtime(error.into())
    }
}

impl From<host::Missing> for Failure {
    fn from(error: host::Missing) -> Self {
        Self::Plugin(error.to_string())
    }
}

impl From<host::HostError> for Failure {
    fn from(error: host::HostError) -> Self {
        Self::Plugin(error.to_string())
    }
}

/// Prints the sources of the server as names for `--mic`.
///
/// # Errors
/// There is no server.
pub fn list(config: &Config, args: &ListArgs) -> Result<(), Failure> {
    let present = pulse::survey(&mut Connection::open(config.server.as_deref())?)?;
    say::lines(devices::microphones(&present, args.monitors).map(|source| {
        let Source { name, description, rate_hz, state, .. } = source;
        let address = devices::address(source);
        format!("{}\t{}\t{rate_hz} Hz\t{state}\t{}", plain(name), plain(description), plain(&address))
    }))
}

/// Loads the merge into the server and returns.
///
/// # Errors
/// No plugin, no server, no such microphone, or something is in the way.
pub fn load(config: &Config) -> Result<(), Failure> {
    let library = library(config)?;
    check_name(config)?;
    let _claim = control::claim(&config.play_device)?;
    let mut connection = Connection::open(config.server.as_deref())?;
    let present = pulse::survey(&mut connection)?;
    let (mics, echo) = (find_mics(config, &present)?, wanted_echo(config, &present)?);
    let steps = plan::steps(&wanted(config, &mics, echo.as_ref(), Planned::Load, &library)?, &present)?;
    pulse::apply(&mut connection, &steps)?;
    defaults::take(&mut connection, &present, config, false)?;
    let already = if steps.is_empty() { " already" } else { "" };
    say::line(format_args!("`{}` is loaded{already}; `driftmerge unload` removes it", config.play_device))
}

/// Removes what `load`, or a `run` that was killed, left in the server. What belongs to a run at work stays.
///
/// # Errors
/// No server, or all that there is belongs to runs at work.
pub fn unload(config: &Config) -> Result<(), Failure> {
    let mut connection = Connection::open(config.server.as_deref())?;
    let present = pulse::survey(&mut connection)?;
    let graphs: std::collections::BTreeSet<String> =
        plan::ours(&present, None).into_iter().filter_map(plan::steps::mark).map(|(graph, _)| graph).collect();
    let at_work = |graph: &String| present.holders.iter().find(|holder| holder.graph == *graph);
    let (busy, free): (Vec<_>, Vec<_>) = graphs.into_iter().partition(|graph| at_work(graph).is_some());
    let mut count = 0;
    let mut failed = Ok(());
    for graph in &free {
        count += plan::ours(&present, Some(graph)).len();
        failed = failed.and(session::take_away(&mut connection, graph));
    }
    failed?;
    match (busy.iter().find_map(at_work), free.is_empty()) {
        (Some(holder), true) => {
            Err(Blocked::Running { graph: holder.graph.clone(), process: holder.process.clone() }.into())
        }
        (Some(holder), false) => say::line(format_args!(
            "{count} modules removed; `{}` is at work (process {}) and stays",
            plain(&holder.graph),
            plain(&holder.process)
        )),
        (None, _) => say::line(format_args!("{count} modules removed")),
    }
}

/// Prints the steps that `run` or `load` would take.
///
/// # Errors
/// As the command itself.
pub fn plan(config: &Config, args: &PlanArgs) -> Result<(), Failure> {
    if args.format == PlanFormat::Pipewire || config.route == Route::Pipewire {
        return native::plan(config);
    }
    let library = if args.planned == Planned::Load { library(config)? } else { PathBuf::new() };
    let present = pulse::survey(&mut Connection::open(config.server.as_deref())?)?;
    let (mics, echo) = (find_mics(config, &present)?, wanted_echo(config, &present)?);
    let graph = wanted(config, &mics, echo.as_ref(), args.planned, &library)?;
    let steps = plan::steps(&graph, &present)?;
    if args.diff {
        let lines = plan::steps::diff(&graph, &present, &steps);
        return say::lines(lines.iter().map(|line| plain(line)));
    }
    say::lines(steps.iter().map(plan::Step::pactl))
}

/// Says what is wrong on this machine and how to mend it.
///
/// # Errors
/// Something that keeps `run` from working, with the exit code that `run` would have.
pub fn doctor(config: &Config) -> Result<(), Failure> {
    let mut worst = Ok(());
    let mut tell = |what: &str, result: Result<String, Failure>| {
        let said = match &result {
            Ok(found) => say::line(format_args!("good  {what}: {}", plain(found))),
            Err(failure) => say::line(format_args!("BAD   {what}: {}", plain(&failure.to_string()))),
        };
        if worst.is_ok() {
            worst = result.map(drop).and(said);
        }
    };
    let bundle = host::find_bundle(config.bundle.as_deref()).map_err(Failure::from).and_then(|bundle| {
        host::Hosted::load(&bundle, f64::from(config.rate_hz))?;
        Ok(bundle.display().to_string())
    });
    tell("plugin", bundle);
    let connected = Connection::open(config.server.as_deref()).and_then(|mut c| pulse::survey(&mut c));
    let present = match connected {
        Ok(present) => {
            let (sources, modules) = (present.sources.len(), present.modules.len());
            tell("sound server", Ok(format!("it answers, with {sources} sources and {modules} modules")));
            present
        }
        Err(error) => {
            tell("sound server", Err(error.into()));
            return worst;
        }
    };
    let names: Vec<&str> = devices::microphones(&present, false).map(|s| s.name.as_str()).collect();
    let enough = match names.len() {
        0 | 1 => Err(Failure::Device(format!("{} found, two are needed; plug in another one", names.len()))),
        _ => Ok(names.join(", ")),
    };
    tell("microphones", enough);
    for name in &config.microphones {
        tell("setting", find_mic(&present, name).map(|mic| format!("`{name}` is {}", mic.source)));
    }
    let (left, running) = (plan::ours(&present, None).len(), present.holders.len());
    let said = match (left, running) {
        (0, _) => "nothing of ours is loaded".to_owned(),
        (_, 0) => format!("{left} modules of ours, without a run: of `load`, or left by a run that was killed"),
        _ => format!("{left} modules of ours, {running} at work"),
    };
    tell("graph", Ok(said));
    let priority = match host::priority::available() {
        Ok(()) => "the merge will have real-time priority".to_owned(),
        Err(why) => format!(
            "the merge will run without real-time priority ({why}); where it stutters under load, allow it by \
             `LimitRTPRIO=` of the unit or in /etc/security/limits.d"
        ),
    };
    tell("priority", Ok(priority));
    worst
}

/// The plugin's library for the server to load.
fn library(config: &Config) -> Result<PathBuf, Failure> {
    Ok(host::library_of(&host::find_bundle(config.bundle.as_deref())?))
}

/// The microphones that the settings name.
fn find_mics(config: &Config, present: &Present) -> Result<Vec<Mic>, Failure> {
    let mut mics = Vec::new();
    for (i, name) in config.microphones.iter().enumerate() {
        let mut mic = find_mic(present, name)?;
        if let Some(twin) = mics.iter().position(|other: &Mic| other.is(&mic)) {
            let (first, source) = (&config.microphones[twin], &mic.source);
            return Err(Failure::Usage(format!(
                "`{first}` and `{name}` are the same microphone, {source}; they must differ"
            )));
        }
        let chosen = config.echo_mics.is_empty() || config.echo_mics.contains(&(i + 1));
        mic.echo = !config.echo_sinks.is_empty() && chosen;
        if let Some(source) = present.sources.iter().find(|s| mic.echo && mic.server.is_none() && s.name == mic.source)
            && let Some(sink) = config.echo_sinks.iter().find(|sink| echo::hears(present, source, sink))
        {
            return Err(Failure::Usage(format!(
                "`{name}` hears the sink `{sink}` inside the server, which would hang with an echo canceller between \
                 them; name another sink by --echo-sink, or other microphones by --echo-mics"
            )));
        }
        if mic.echo {
            // Cancellers have delays of their own.
            mic.label = format!("echo:{}", mic.label);
        }
        mics.push(mic);
    }
    Ok(mics)
}

/// The microphone that `name` means.
fn find_mic(present: &Present, name: &str) -> Result<Mic, Failure> {
    if let Selector::Tunnel(tunnel) = devices::parse(name)? {
        return Ok(Mic::remote(name, tunnel));
    }
    let (source, channel) = plan::channel::find_channel(present, name)?;
    Ok(Mic { channel, ..Mic::local(&source.name) }.labelled())
}

/// The echo cancellation that the settings ask for.
fn wanted_echo(config: &Config, present: &Present) -> Result<Option<Echo>, Failure> {
    let sinks = config.echo_sinks.clone();
    if sinks.is_empty() {
        return Ok(None);
    }
    for sink in &sinks {
        let far = matches!(devices::parse(sink)?, Selector::Tunnel(_));
        if sink != echo::NULL_SINK && !far && !present.sinks.contains(sink) {
            return Err(Failure::Device(format!(
                "there is no sink `{sink}` (--echo-sink, DRIFTMERGE_ECHO_SINK); there are {}, `tunnel:HOST/SINK` for one of \
                 another machine, and `null` where the far end is heard elsewhere",
                present.sinks.join(", ")
            )));
        }
    }
    let arguments = config.echo_args.clone().unwrap_or_else(|| echo::arguments(&present.server));
    Ok(Some(Echo { sinks, arguments }))
}

/// Whether the merged source can have its name.
fn check_name(config: &Config) -> Result<(), Failure> {
    let name = config.play_device.as_str();
    if graph::valid_name(name) {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "`{}` cannot be the name of a source: use up to 100 letters, digits, dots, dashes and underscores (--play-device, \
         PLAY_DEVICE_NAME)",
        plain(name)
    )))
}

/// The graph that the settings ask for.
fn wanted<'a>(
    config: &'a Config,
    mics: &[Mic],
    echo: Option<&'a Echo>,
    planned: Planned,
    library: &'a Path,
) -> Result<Graph<'a>, Failure> {
    check_name(config)?;
    let name = config.play_device.as_str();
    let kind = match (planned, config.route) {
        (Planned::Load, Route::Pipewire) => {
            return Err(Failure::Usage(
                "`load` leaves the merge in the server that runs already; route pipewire needs `driftmerge run`, or the \
                 file that `driftmerge plan --route pipewire` prints"
                    .into(),
            ));
        }
        (Planned::Load, _) => Kind::InServer { ladspa: library, controls: config.controls() },
        (Planned::Run, Route::Direct) => Kind::Direct,
        (Planned::Run, Route::Loopback) => Kind::Loopback,
        (Planned::Run, Route::Pipewire) => Kind::Beside,
    };
    if !matches!(kind, Kind::Direct | Kind::Beside) && mics.len() != 2 {
        return Err(Failure::Usage(format!(
            "{} microphones were given; more than 2 are merged by `driftmerge run` alone, with --route direct or pipewire",
            mics.len()
        )));
    }
    Ok(Graph { name, mics: mics.to_vec(), echo, rate_hz: config.rate_hz, kind })
}
