//! Arrow values as JSON.
