//! How much processor time programs take.

use std::fs;
use std::time::{Duration, Instant};

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

/// Share of one core that a process and its children take in the next `span`.
pub fn share(process: u32, span: Duration) -> f64 {
    let (begin, before_s) = (Instant::now(), used_s(process));
    std::thread::sleep(span);
    (used_s(process) - before_s) / begin.elapsed().as_secs_f64()
}
