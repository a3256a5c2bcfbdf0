//! Makes one sound of the aligned microphones.

pub mod combiner;
pub mod condition;
pub mod dereverberation;
pub mod mask;
pub mod selection;
pub mod spatial_filter;
