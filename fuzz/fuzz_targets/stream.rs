//! See `rowtide_postgres::fuzzing::stream`.

#![no_main]

rowtide_fuzz::target!(rowtide_postgres::fuzzing::stream, 256, 1 << 20);
