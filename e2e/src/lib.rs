//! End-to-end tests: real processes, black box.
