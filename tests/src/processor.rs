//! How much processor time programs take, and how often they wake.

use std::fs;

/// Processor time taken so far by a process and its children, s.
pub fn used_s(process: u32) -> f64 {
    let read = |of: &str| fs::read_to_string(format!("/proc/{process}/{of}")).unwrap_or_default();
    let stat = read("stat");
    // After the name, which may hold anything: fields from the third on; user and system time are the 14th and 15th.
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks: f64 = fields.iter().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    let children = read(&format!("task/{process}/children"));
    let children = children.split_whitespace().filter_map(|id| id.parse().ok());
    ticks / rustix::param::clock_ticks_per_second() as f64 + children.map(used_s).sum::<f64>()
}

/// How often the threads of a process have gone to sleep so far, and were woken again.
pub fn wakes(process: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("it runs");
    let count = |thread: fs::DirEntry| {
        let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:").map(str::trim));
        line.and_then(|count| count.parse().ok()).unwrap_or(0u64)
    };
    threads.flatten().map(count).sum()
}
