//! See `rowtide_postgres::fuzzing::temporal`.

#![no_main]

rowtide_fuzz::target!(rowtide_postgres::fuzzing::temporal, 16, 64 << 10);
