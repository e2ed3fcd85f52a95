//! One test for the one error that there is, named for it.

use mergecore_tensor::{DType, ParseDTypeError};

#[test]
fn parse_d_type_error() {
    for name in ["bf17", "half", "bf16", ""] {
        let error = name.parse::<DType>().unwrap_err();
        assert_eq!(error, ParseDTypeError { name: name.to_owned() });
        let known = "known are bfloat16, float16, float32, float64";
        assert_eq!(error.to_string(), format!("unknown dtype `{name}`; {known}"));
    }
}
