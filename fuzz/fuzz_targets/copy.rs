//! See `rowtide_postgres::fuzzing::copy`.

#![no_main]

rowtide_fuzz::target!(rowtide_postgres::fuzzing::copy, 64, 256 << 10);
