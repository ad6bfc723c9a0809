//! A recorded connection, which `tidegate replay --as-test` made a test of.

#[test]
fn a_session() {
    let trace = include_bytes!("a_session.trace");
    if let Err(differences) = tidegate_testkit::trace::agrees(trace) {
        panic!("{differences}");
    }
}
