//! See `rowtide_engine::fuzzing::quantity`.

#![no_main]

rowtide_fuzz::target!(rowtide_engine::fuzzing::quantity, 16, 16 << 10);
