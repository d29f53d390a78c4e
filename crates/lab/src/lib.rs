//! The laboratory: every way to move data between processes, measured side by side.
