//! The thread in which the plugin runs: what it is called, and what happens when it ends or hangs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use driftmerge_tests::hosts::{bundle, succeed};
use driftmerge_tests::pulse::{MICS, Recorder, Rig, Running, wait_until};
use rustix::process::Signal;

const RATE_HZ: u32 = 16_000;
const LOCK_LIMIT: Duration = Duration::from_secs(20);

/// The real plugin, whose `run` ends its thread, or never returns, once a file tells it to.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>
#include <sys/syscall.h>
typedef struct { const char *uri; void *(*instantiate)(const void *, double, const char *, const void *);
    void (*connect_port)(void *, uint32_t, void *); void (*activate)(void *); void (*run)(void *, uint32_t);
    void (*deactivate)(void *); void (*cleanup)(void *); const void *(*extension_data)(const char *); } Descriptor;
static const Descriptor *(*real)(uint32_t);
static void (*real_run)(void *, uint32_t);
static void run(void *instance, uint32_t frames) {
    if (unlink(getenv("SHIM_END")) == 0) syscall(SYS_exit, 0);
    if (unlink(getenv("SHIM_HANG")) == 0) for (;;) pause();
    real_run(instance, frames);
}
const Descriptor *lv2_descriptor(uint32_t index) {
    static Descriptor copies[16];
    if (!real) real = (const Descriptor *(*)(uint32_t)) dlsym(dlopen(getenv("SHIM_REAL"), RTLD_NOW | RTLD_LOCAL), "lv2_descriptor");
    const Descriptor *found = index < 16 ? real(index) : NULL;
    if (!found || strcmp(found->uri, "urn:driftmerge:merge")) return found;
    copies[index] = *found;
    real_run = found->run;
    copies[index].run = run;
    return &copies[index];
}
"#;

/// Makes the bundle with the shim in `folder`.
fn shim(folder: &Path) -> PathBuf {
    let bad = folder.join("driftmerge.lv2");
    fs::create_dir(&bad).expect("made");
    // Its folder of pictures is for other hosts.
    let files = fs::read_dir(bundle().folder()).expect("the bundle").flatten();
    for file in files.filter(|file| file.path().is_file()) {
        let name = file.file_name();
        if name.to_string_lossy().ends_with(".so") {
            fs::copy(file.path(), folder.join("real.so")).expect("copied");
            let source = folder.join("shim.c");
            fs::write(&source, SHIM).expect("written");
            succeed(Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(bad.join(&name)).arg(&source));
        } else {
            fs::copy(file.path(), bad.join(&name)).expect("copied");
        }
    }
    bad
}

#[test]
fn when_the_thread_that_merges_ends_or_hangs_it_is_started_again_within_a_second_from_what_it_knew() {
    let rig = Rig::start(RATE_HZ, 100.0, 0.012);
    let folder = tempfile::tempdir().expect("a folder");
    let (end, hang) = (folder.path().join("end"), folder.path().join("hang"));
    let mut command = rig.driftmerge(&["run", "--mic", MICS[0], "--mic", MICS[1], "--rate", "16000"]);
    command.env("DRIFTMERGE_BUNDLE", shim(folder.path())).env("SHIM_REAL", folder.path().join("real.so"));
    command.env("SHIM_END", &end).env("SHIM_HANG", &hang);
    let mut running = Running::start(command);
    running.wait_for("locked", LOCK_LIMIT);
    let mut recorder = Recorder::start(&rig, "driftmerge", RATE_HZ);
    // What is known is asked for every 5 s.
    recorder.take(8.0);
    for (number, file) in [(1, &end), (2, &hang)] {
        fs::write(file, "").expect("written");
        wait_until("the plugin heeds it", Duration::from_secs(1), || !file.exists());
        let restarts = || running.said().matches("starting it again").count() == number;
        wait_until("it is started again", Duration::from_secs(1), restarts);
        let heard = |recorder: &mut Recorder| recorder.take(0.25).iter().any(|x| x.abs() > 1e-3);
        wait_until("the merge is heard again", Duration::from_secs(3), || heard(&mut recorder));
        wait_until("it is locked again", LOCK_LIMIT, || running.said().matches("locked: lag").count() == number + 1);
        recorder.take(6.0);
    }
    let modules = rig.modules().values().filter(|line| line.contains("driftmerge.graph=")).count();
    assert_eq!(modules, 2, "the graph is as it was");
    assert!(running.stop(Signal::TERM).success(), "{}", running.said());
}

#[test]
fn the_thread_has_a_name_and_where_it_may_real_time_priority() {
    let rig = Rig::start(RATE_HZ, 100.0, 0.012);
    let mut running = rig.start_driftmerge(&["run", "--mic", MICS[0], "--mic", MICS[1], "--rate", "16000"]);
    running.wait_for("merging", Duration::from_secs(5));
    let tasks = fs::read_dir(format!("/proc/{}/task", running.id())).expect("it runs").flatten();
    let of = |task: &Path, file: &str| fs::read_to_string(task.join(file)).unwrap_or_default();
    let tasks: Vec<PathBuf> = tasks.map(|task| task.path()).collect();
    let merging = tasks.iter().find(|task| of(task, "comm").trim() == "driftmerge-mix").expect("it has a name");
    // The policy is field 41 of `stat`, counted behind the name: 1 is SCHED_FIFO.
    let stat = of(merging, "stat");
    let policy = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(38)).expect("a policy").to_owned();
    let doctor = rig.run_to_end(&["doctor"]);
    let allowed = String::from_utf8_lossy(&doctor.stdout).contains("will have real-time priority");
    assert_eq!(policy, if allowed { "1" } else { "0" }, "{stat}");
    assert!(running.stop(Signal::TERM).success());
}
