//! See `rowtide_postgres::fuzzing::url`.

#![no_main]

rowtide_fuzz::target!(rowtide_postgres::fuzzing::url, 32, 64 << 10);
