//! See `rowtide_core::fuzzing::pattern`.

#![no_main]

rowtide_fuzz::target!(rowtide_core::fuzzing::pattern, 32, 16 << 10);
