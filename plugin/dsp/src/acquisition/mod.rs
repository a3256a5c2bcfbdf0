//! Finds the lag while nothing is known: GCC over every lag and several drifts, and votes.

pub mod gcc_search;
pub mod lag_vote;
