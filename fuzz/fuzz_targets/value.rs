//! See `rowtide_postgres::fuzzing::value`.

#![no_main]

rowtide_fuzz::target!(rowtide_postgres::fuzzing::value, 64, 4 << 20);
