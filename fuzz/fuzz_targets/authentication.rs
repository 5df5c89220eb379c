//! See `rowtide_postgres::fuzzing::authentication`.

#![no_main]

rowtide_fuzz::target!(rowtide_postgres::fuzzing::authentication, 16, 64 << 10);
