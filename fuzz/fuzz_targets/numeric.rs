//! See `rowtide_postgres::fuzzing::numeric`.

#![no_main]

rowtide_fuzz::target!(rowtide_postgres::fuzzing::numeric, 64, 64 << 10);
