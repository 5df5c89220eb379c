//! See `rowtide_postgres::fuzzing::scalar`.

#![no_main]

rowtide_fuzz::target!(rowtide_postgres::fuzzing::scalar, 16, 64 << 10);
