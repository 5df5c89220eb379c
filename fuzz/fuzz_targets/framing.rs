//! See `rowtide_postgres::fuzzing::framing`.

#![no_main]

rowtide_fuzz::target!(rowtide_postgres::fuzzing::framing, 64, 4 << 20);
