//! See `rowtide_postgres::fuzzing::assemble`.

#![no_main]

rowtide_fuzz::target!(rowtide_postgres::fuzzing::assemble, 64, 1 << 20);
