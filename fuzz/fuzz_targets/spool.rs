//! See `rowtide_engine::fuzzing::spool`.

#![no_main]

rowtide_fuzz::target!(rowtide_engine::fuzzing::spool, 64, 64 << 10);
