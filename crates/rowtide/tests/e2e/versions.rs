//! The same job on every supported major version.

use rowtide_sandbox::{Major, ServerOptions};
use rowtide_testkit::Workload;

use crate::case::{Case, DB};

fn works_on(major: Major) {
    let options = ServerOptions::for_major(major);
    let Some(case) = Case::start_on(&options, Workload::SCHEMA) else { return };
    let workload = Workload::start(&case.server.url(DB), 7, 2).unwrap();
    let mut rowtide = case.run(&[]).spawn().unwrap();
    case.wait_until_streaming(&mut rowtide);
    case.wait_until_copied(&mut rowtide, Workload::TABLES.len());
    workload.stop().unwrap();
    case.wait_until_caught_up(&mut rowtide);
    case.stop(rowtide);
    case.compare(&Workload::TABLES);
}

#[test]
fn works_on_postgresql_14() {
    works_on(Major::V14);
}

#[test]
fn works_on_postgresql_15() {
    works_on(Major::V15);
}

#[test]
fn works_on_postgresql_16() {
    works_on(Major::V16);
}

#[test]
fn works_on_postgresql_17() {
    works_on(Major::V17);
}

#[test]
fn works_on_postgresql_18() {
    works_on(Major::V18);
}
