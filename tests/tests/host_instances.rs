//! Many instances in one process: they know nothing of each other, and leave nothing behind.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use driftmerge_tests::entry::{Driver, Entry, Features};
use driftmerge_tests::hosts::assert_same;
use driftmerge_tests::two_clocks::{Four, Pair};

/// The system's memory, counted: what this thread holds of it, bytes.
struct Counted;

thread_local! { static HELD_BYTES: Cell<isize> = const { Cell::new(0) } }

fn count(bytes: isize) {
    // A thread that is about to end may have no counter any more.
    let _ = HELD_BYTES.try_with(|held| held.set(held.get() + bytes));
}

// SAFETY: all memory is the system's; a counter without memory of its own is kept beside.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static MEMORY: Counted = Counted;

/// What each plugin hears: not the same, and not at the same rate.
fn trials() -> Vec<(Entry, u32, Vec<Vec<f32>>)> {
    let sounds = |(i, entry): (usize, Entry)| {
        let rate_hz = [16_000, 48_000, 22_050][i % 3];
        if entry.layout().ins.len() == 4 {
            return (entry, 16_000, Four::speech(2.0, 20.0).sounds);
        }
        let pair = Pair::speech(rate_hz, 2.0, 0.01 + 0.005 * i as f64, 20.0 * i as f64);
        (entry, rate_hz, vec![pair.a, pair.b])
    };
    Entry::ALL.into_iter().enumerate().map(sounds).collect()
}

fn slices(sounds: &[Vec<f32>]) -> Vec<&[f32]> {
    sounds.iter().map(Vec::as_slice).collect()
}

#[test]
fn instances_that_take_turns_or_run_side_by_side_give_what_each_gives_alone() {
    let trials = trials();
    let alone = |(entry, rate_hz, sounds): &(Entry, u32, Vec<Vec<f32>>)| {
        Driver::ready(*entry, *rate_hz).process_all(&slices(sounds), &[64])
    };
    let expected: Vec<Vec<Vec<f32>>> = trials.iter().map(alone).collect();
    let same = |outs: &[Vec<f32>], expected: &[Vec<f32>]| {
        for (out, expected) in outs.iter().zip(expected) {
            assert_same(out, expected);
        }
    };

    // Two of each, block by block.
    let twice = || trials.iter().zip(&expected).flat_map(|trial| [trial; 2]);
    let mut drivers: Vec<Driver> = twice().map(|((entry, rate_hz, _), _)| Driver::ready(*entry, *rate_hz)).collect();
    let mut outs: Vec<Vec<Vec<f32>>> = twice().map(|(_, expected)| vec![Vec::new(); expected.len()]).collect();
    let longest = trials.iter().map(|(_, _, sounds)| sounds[0].len()).max().expect("there are some");
    for start in (0..longest).step_by(512) {
        for (((_, _, sounds), _), (driver, outs)) in twice().zip(drivers.iter_mut().zip(&mut outs)) {
            let part = start.min(sounds[0].len())..(start + 512).min(sounds[0].len());
            let block: Vec<&[f32]> = sounds.iter().map(|sound| &sound[part.clone()]).collect();
            for (out, more) in outs.iter_mut().zip(driver.process_all(&block, &[512])) {
                out.extend(more);
            }
        }
    }
    for ((_, expected), outs) in twice().zip(&outs) {
        same(outs, expected);
    }

    // Each in a thread of its own.
    std::thread::scope(|scope| {
        for (trial, expected) in trials.iter().zip(&expected) {
            scope.spawn(move || same(&alone(trial), expected));
        }
    });
}

#[test]
fn instances_made_run_saved_restored_and_cleaned_up_leave_no_memory_held() {
    let (features, trials) = (Features::with_map(), trials());
    let state = {
        let pair = Pair::short();
        let mut driver = Driver::with_features(Entry::Lv2, pair.rate_hz, Some(&features)).expect("a good rate");
        driver.activate();
        driver.process(&pair.a, &pair.b, &[512]);
        driver.save(0).1.remove(0)
    };
    let live = || {
        for (entry, rate_hz, sounds) in &trials {
            // Some hosts make an instance only to look at it, some activate it more than once.
            drop(Driver::new(*entry, *rate_hz));
            assert!(Driver::new(*entry, 100).is_none(), "at 100 Hz there is none");
            let mut driver = Driver::with_features(*entry, *rate_hz, Some(&features)).expect("a good rate");
            driver.connect_controls();
            if matches!(entry, Entry::Lv2 | Entry::Lv2Merge4 | Entry::Lv2Align) {
                driver.restore(Some(&state));
                driver.save(0);
            }
            driver.activate();
            driver.process_all(&sounds.iter().map(|sound| &sound[..2000]).collect::<Vec<_>>(), &[512]);
            driver.deactivate();
            driver.activate();
        }
    };
    // The test's runner keeps what the plugins say: with this it has room for all of it before the count begins.
    eprintln!("{}", " ".repeat(1 << 16));
    // What is made once and kept: descriptors, tables, numbers of URIs.
    live();
    let before = HELD_BYTES.get();
    for _ in 0..20 {
        live();
    }
    assert_eq!(HELD_BYTES.get() - before, 0, "bytes are held after 20 rounds");
}
