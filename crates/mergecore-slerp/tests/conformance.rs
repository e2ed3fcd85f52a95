//! The suite that every method runs.

use mergecore_kernel::conformance::check;
use mergecore_slerp::Slerp;

#[test]
fn slerp() {
    for t in [0.0, 0.3, 1.0, 1.7] {
        check(&Slerp { t }, 2);
    }
}
