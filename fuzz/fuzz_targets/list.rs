//! See `rowtide_postgres::fuzzing::list`.

#![no_main]

rowtide_fuzz::target!(rowtide_postgres::fuzzing::list, 64, 64 << 10);
