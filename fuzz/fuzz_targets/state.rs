//! See `rowtide_core::fuzzing::state`.

#![no_main]

rowtide_fuzz::target!(rowtide_core::fuzzing::state, 64, 64 << 10);
