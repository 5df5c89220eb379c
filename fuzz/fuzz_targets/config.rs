//! See `rowtide_engine::fuzzing::config`.

#![no_main]

rowtide_fuzz::target!(rowtide_engine::fuzzing::config, 512, 1 << 20);
