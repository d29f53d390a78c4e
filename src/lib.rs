//! Shared memory for processes.
