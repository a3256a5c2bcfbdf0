//! Support for the tests: two-clock scenes and private servers.
