//! Follows lag and drift once they are known.

pub mod correction;
pub mod imm_kalman;
pub mod jump_detector;
pub mod lag_sro_search;
pub mod lock;
pub mod schedule;
pub mod tracker;
