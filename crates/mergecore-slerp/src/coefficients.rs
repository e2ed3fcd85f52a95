//! The two coefficients of a spherical interpolation.

/// Beyond this |cosine| the vectors count as parallel and are interpolated
/// linearly.
pub(crate) const PARALLEL: f64 = 0.9995;

/// Coefficients `(s0, s1)` of `v0` and `v1` at `t`, given the cosine of the angle
/// between them.
///
/// `s0 = sin((1 - t) theta) / sin(theta)`, `s1 = sin(t theta) / sin(theta)`
/// (Shoemake, [*Animating rotation with quaternion curves*][paper], 1985); nearly
/// parallel or antiparallel vectors (|cosine| above 0.9995) are interpolated
/// linearly. At `t` = 0 and 1 the coefficients are exactly (1, 0) and (0, 1). `theta`
/// is in radians, from 0 to pi; a NaN in gives NaN out.
///
/// [paper]: https://doi.org/10.1145/325334.325242
///
/// ```
/// let (s0, s1) = mergecore_slerp::slerp_coefficients(0.5, 0.0);
/// assert!((s0 - 0.5f64.sqrt()).abs() < 1e-15 && s0 == s1);
/// ```
pub fn slerp_coefficients(t: f64, cosine: f64) -> (f64, f64) {
    if cosine.abs() > PARALLEL {
        return (1.0 - t, t);
    }
    // libm, not the platform: one result on every machine.
    let theta = libm::acos(cosine.clamp(-1.0, 1.0));
    let sine = libm::sin(theta);
    (libm::sin((1.0 - t) * theta) / sine, libm::sin(t * theta) / sine)
}
