//! scratch
fn main(){rowtide_duckdb::scratch::main()}
