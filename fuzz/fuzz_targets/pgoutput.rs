//! See `rowtide_postgres::fuzzing::pgoutput`.

#![no_main]

rowtide_fuzz::target!(rowtide_postgres::fuzzing::pgoutput, 12, 1 << 20);
