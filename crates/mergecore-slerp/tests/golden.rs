//! Against the reference definition; see mergecore-kernel/tests/golden/make_golden.py.

use mergecore_slerp::Slerp;

#[path = "../../mergecore-kernel/tests/support/mod.rs"]
mod support;

#[test]
fn every_element_is_correctly_rounded() {
    let cases = support::cases(include_str!("golden/slerp.json"));
    assert_eq!(cases.len(), 42);
    for case in cases {
        case.check(&Slerp { t: case.number("t").expect("every case has t") });
    }
}
