//! The command line: what can be said, and which function does it. Values of settings stay text here; the module
//! `config` reads them, so that a flag, a variable and a file are checked by the same code.

// These comments are the help that people read, where backticks would be noise.
#![allow(clippy::doc_markdown)]

use crate::config::{self, Config, Raw, flags_layer};
use crate::exit::Failure;
use crate::{merge, supervise};
use anyhow::Context as _;
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::path::{Path, PathBuf};

/// Merge independent microphones into one virtual microphone that is better than any of them.
#[derive(Debug, Parser)]
#[command(name = "driftmerge", version, max_term_width = 110)]
#[command(after_help = "Exit codes: 0 done, 1 runtime failure, 2 wrong usage or configuration, 3 no sound server, \
                        4 a device is missing, 5 the plugin cannot be loaded.")]
pub struct Cli {
    /// Increase log verbosity
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// Append logs to this file instead of writing them to stderr (RUST_LOG sets the level)
    #[arg(long, global = true, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the microphones, as names to give to --mic
    List(ListArgs),
    /// Merge microphones into one and stay in the foreground
    Run(SettingsArgs),
    /// Load the merge into the sound server, then exit
    Load(SettingsArgs),
    /// Remove what driftmerge loaded, and nothing else
    Unload(ServerArgs),
    /// Show lag, drift, state and weights of a running service
    Status(StatusArgs),
    /// Show lag, drift, state and weights of a running service, live
    Monitor(StatusArgs),
    /// Change settings of a running service, until it ends
    Set(SetArgs),
    /// Discard the learned state of a running service and search again
    Reset(ServerArgs),
    /// Save the learned state of a running service now
    Save(ServerArgs),
    /// End a running service
    Stop(ServerArgs),
    /// Merge recorded files: one of two channels or several of one
    Merge(MergeArgs),
    /// Print the steps that run or load would take
    Plan(PlanArgs),
    /// Check this machine and explain how to fix what is wrong
    Doctor(ServerArgs),
    /// Write the manual pages and the completions for shells into a folder
    #[command(hide = true)]
    Generate {
        /// It gets man/ and completions/
        folder: PathBuf,
    },
    /// Demonstrate the merge without microphones: a private server, two drifting sources
    Demo(DemoArgs),
}

impl Command {
    /// Does what the command line says.
    ///
    /// # Errors
    /// Whatever the command failed at, with its exit code.
    pub fn execute(&self) -> Result<(), Failure> {
        match self {
            Self::List(args) => supervise::list(&args.server.config()?, args),
            Self::Run(args) => supervise::run(&args.config()?),
            Self::Load(args) => supervise::load(&args.config()?),
            Self::Unload(args) => supervise::unload(&args.config()?),
            Self::Status(args) => supervise::status(&args.server.config()?, args),
            Self::Monitor(args) => supervise::monitor(&args.server.config()?, args),
            Self::Set(args) => supervise::set(&args.server.config()?, args),
            Self::Reset(args) => supervise::reset(&args.config()?),
            Self::Save(args) => supervise::save(&args.config()?),
            Self::Stop(args) => supervise::stop(&args.config()?),
            Self::Merge(args) => merge::merge(&load(args.tracking.flags())?, args),
            Self::Plan(args) => supervise::plan(&args.settings.config()?, args),
            Self::Doctor(args) => supervise::doctor(&args.config()?),
            Self::Generate { folder } => Ok(generate(folder)?),
            Self::Demo(args) => supervise::demo(&load(args.flags())?, args),
        }
    }
}

/// Writes the manual pages and the completions for shells.
fn generate(folder: &Path) -> anyhow::Result<()> {
    let (man, completions) = (folder.join("man"), folder.join("completions"));
    for folder in [&man, &completions] {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    clap_mangen::generate_to(Cli::command(), &man).with_context(|| format!("cannot write to {}", man.display()))?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut Cli::command(), "driftmerge", &completions)
            .with_context(|| format!("cannot write to {}", completions.display()))?;
    }
    Ok(())
}

/// A setting's key and the value its flag was given.
type Flag = (&'static str, Option<Raw>);

fn load(flags: impl IntoIterator<Item = Flag>) -> Result<Config, Failure> {
    Ok(config::load(flags_layer(flags))?)
}

fn text(key: &'static str, given: Option<&String>) -> Flag {
    (key, given.cloned().map(Raw::Text))
}

/// How the merge works: the settings that files and microphones have in common.
#[derive(Args, Clone, Debug, Default)]
pub struct TrackingArgs {
    /// Delay of microphone A in ms, or `auto`: the lag of the first lock and 44 ms
    #[arg(long, value_name = "MS|auto")]
    pub latency: Option<String>,
    /// Largest lag searched, either way, in ms
    #[arg(long, value_name = "MS")]
    pub lag_limit: Option<String>,
    /// Correlation (0 to 1) below which a lag measurement is not used
    #[arg(long, value_name = "0..1")]
    pub threshold: Option<String>,
    /// Memory of the correlation, in s
    #[arg(long, value_name = "S")]
    pub half_life: Option<String>,
    /// How microphones are combined: average, merge, dereverberate, only-a or only-b
    #[arg(long)]
    pub mode: Option<String>,
    /// Lower the steady noise that remains after the merge, for 32 ms more latency (yes, no)
    #[arg(long, value_name = "yes|no", num_args = 0..=1, default_missing_value = "yes", require_equals = true)]
    pub post_filter: Option<String>,
}

impl TrackingArgs {
    fn flags(&self) -> Vec<Flag> {
        vec![
            text("latency", self.latency.as_ref()),
            text("lag_limit", self.lag_limit.as_ref()),
            text("threshold", self.threshold.as_ref()),
            text("half_life", self.half_life.as_ref()),
            text("mode", self.mode.as_ref()),
            text("post_filter", self.post_filter.as_ref()),
        ]
    }
}

/// Which sound server to talk to.
#[derive(Args, Clone, Debug, Default)]
pub struct ServerArgs {
    /// The sound server, as in PULSE_SERVER
    #[arg(long, value_name = "ADDRESS")]
    pub server: Option<String>,
    /// Where learned lags are kept
    #[arg(long, value_name = "FOLDER")]
    pub state_dir: Option<String>,
}

impl ServerArgs {
    fn flags(&self) -> Vec<Flag> {
        vec![text("server", self.server.as_ref()), text("state_dir", self.state_dir.as_ref())]
    }

    fn config(&self) -> Result<Config, Failure> {
        load(self.flags())
    }
}

/// All settings of the commands that merge microphones.
#[derive(Args, Clone, Debug, Default)]
pub struct SettingsArgs {
    /// The microphones, in place of --mic
    #[arg(value_name = "MIC", conflicts_with = "mics")]
    pub names: Vec<String>,
    /// A microphone; repeat it: the first is the reference (see `driftmerge list`); NAME:left, NAME:2 is one channel of it
    #[arg(long = "mic", value_name = "NAME")]
    pub mics: Vec<String>,
    /// How microphones reach the plugin: direct, loopback or pipewire
    #[arg(long)]
    pub route: Option<String>,
    /// Name of the source that applications see
    #[arg(long, value_name = "NAME")]
    pub play_device: Option<String>,
    /// Sample rate, Hz
    #[arg(long, value_name = "HZ")]
    pub rate: Option<String>,
    /// Frames recorded at a time
    #[arg(long, value_name = "FRAMES")]
    pub chunk: Option<String>,
    /// Checked for compatibility only: at least twice the lag limit and twice the chunk
    #[arg(long, value_name = "FRAMES")]
    pub max_size: Option<String>,
    /// Frames buffered for playback
    #[arg(long, value_name = "FRAMES")]
    pub play_buffer: Option<String>,
    /// Cancel from the microphones what is played into NAME_far, and play it on these sinks (`null`: on none)
    #[arg(long, value_name = "SINKS|null")]
    pub echo_sink: Option<String>,
    /// Cancel echoes from these microphones only, counted from 1: 1,3
    #[arg(long, value_name = "NUMBERS")]
    pub echo_mics: Option<String>,
    /// Arguments of the echo canceller, instead of those that suit the server
    #[arg(long, value_name = "ARGUMENTS")]
    pub echo_args: Option<String>,
    /// Play RTP (L16, 48 kHz, stereo) received on this UDP port into NAME_far
    #[arg(long, value_name = "PORT")]
    pub echo_rtp: Option<String>,
    /// Make the merged source the server's default while it exists (yes, no)
    #[arg(long, value_name = "yes|no", num_args = 0..=1, default_missing_value = "yes")]
    pub default_source: Option<String>,
    /// Make NAME_far the server's default sink while it exists (yes, no)
    #[arg(long, value_name = "yes|no", num_args = 0..=1, default_missing_value = "yes")]
    pub default_sink: Option<String>,
    /// The LV2 bundle to host
    #[arg(long, value_name = "FOLDER")]
    pub bundle: Option<String>,
    /// The server and the state folder.
    #[command(flatten)]
    pub server: ServerArgs,
    /// How the merge works.
    #[command(flatten)]
    pub tracking: TrackingArgs,
}

impl SettingsArgs {
    fn config(&self) -> Result<Config, Failure> {
        let mics = [&self.mics, &self.names].into_iter().find(|names| !names.is_empty());
        let mics = mics.map(|names| Raw::List(names.clone()));
        let own = [
            ("microphones", mics),
            text("route", self.route.as_ref()),
            text("play_device", self.play_device.as_ref()),
            text("rate", self.rate.as_ref()),
            text("chunk", self.chunk.as_ref()),
            text("max_size", self.max_size.as_ref()),
            text("echo_sink", self.echo_sink.as_ref()),
            text("echo_mics", self.echo_mics.as_ref()),
            text("echo_args", self.echo_args.as_ref()),
            text("echo_rtp", self.echo_rtp.as_ref()),
            text("default_source", self.default_source.as_ref()),
            text("default_sink", self.default_sink.as_ref()),
            text("play_buffer", self.play_buffer.as_ref()),
            text("bundle", self.bundle.as_ref()),
        ];
        let config = load(own.into_iter().chain(self.server.flags()).chain(self.tracking.flags()))?;
        config.check()?;
        Ok(config)
    }
}

/// What to list.
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    /// List monitors of sinks as well
    #[arg(long)]
    pub monitors: bool,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// How to show the status.
#[derive(Args, Clone, Debug)]
pub struct StatusArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// What to change.
#[derive(Args, Clone, Debug)]
pub struct SetArgs {
    /// latency, lag_limit, threshold, half_life, mode or post_filter, as in config.toml: threshold=0.02
    #[arg(required = true, value_name = "KEY=VALUE", value_parser = assignment)]
    pub changes: Vec<(String, String)>,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE, for example threshold=0.02")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

/// Whose steps to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Planned {
    /// Those of `run`
    Run,
    /// Those of `load`
    Load,
}

/// In which words to print the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PlanFormat {
    /// Lines for `pactl`
    Pactl,
    /// A file for `pipewire -c`, as route pipewire uses it
    Pipewire,
}

/// What to plan.
#[derive(Args, Clone, Debug)]
pub struct PlanArgs {
    /// The command whose steps are printed
    #[arg(long = "for", value_enum, default_value = "load")]
    pub planned: Planned,
    /// Print what would change: lines that begin with - go, with + come, with a blank stay
    #[arg(long, conflicts_with = "format")]
    pub diff: bool,
    /// How they are printed
    #[arg(long, value_enum, default_value = "pactl")]
    pub format: PlanFormat,
    /// All settings.
    #[command(flatten)]
    pub settings: SettingsArgs,
}

/// How long to show what.
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// How long to record, in s
    #[arg(long, default_value_t = 30)]
    pub seconds: u32,
    /// How microphones reach the plugin: direct or loopback
    #[arg(long)]
    pub route: Option<String>,
    /// The LV2 bundle to host
    #[arg(long, value_name = "FOLDER")]
    pub bundle: Option<String>,
    /// How the merge works.
    #[command(flatten)]
    pub tracking: TrackingArgs,
}

impl DemoArgs {
    fn flags(&self) -> Vec<Flag> {
        let mut flags = self.tracking.flags();
        flags.extend([text("route", self.route.as_ref()), text("bundle", self.bundle.as_ref())]);
        flags
    }
}

/// What to merge, and into what.
#[derive(Args, Clone, Debug)]
pub struct MergeArgs {
    /// One WAV file of two channels, or 2 to 8 of one channel; the first is the reference
    #[arg(required = true, value_name = "IN.wav")]
    pub inputs: Vec<PathBuf>,
    /// The merged file (mono, as long as the reference and in time with it), a pipe, or `-` for standard output
    #[arg(short, long, value_name = "OUT.wav")]
    pub output: PathBuf,
    /// Do not look ahead: give what the plugin gives
    #[arg(long)]
    pub live: bool,
    /// Write estimates over time: seconds,lag_s,drift_ppm,confidence,weight,state,latency_s
    #[arg(long, value_name = "T.csv")]
    pub trace: Option<PathBuf>,
    /// Sample format of the output
    #[arg(long, value_enum, default_value = "float")]
    pub format: SampleFormat,
    /// How the merge works.
    #[command(flatten)]
    pub tracking: TrackingArgs,
}

/// Sample format of a written file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SampleFormat {
    /// 32-bit float
    Float,
    /// 16-bit integer
    #[value(name = "16")]
    Int16,
    /// 24-bit integer
    #[value(name = "24")]
    Int24,
}
