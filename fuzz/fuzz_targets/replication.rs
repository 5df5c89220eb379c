//! See `rowtide_postgres::fuzzing::replication`.

#![no_main]

rowtide_fuzz::target!(rowtide_postgres::fuzzing::replication, 16, 64 << 10);
