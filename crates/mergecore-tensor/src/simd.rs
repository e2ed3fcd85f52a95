//! Instruction sets, chosen at run time.
//!
//! The one place with `unsafe`: calling a function compiled for instructions that
//! the compiler may not assume every CPU of the target to have.

#![allow(unsafe_code)]

use std::fmt;

/// Work that [`Simd::run`] compiles once for every instruction set.
///
/// Mark the implementation, and whatever it calls in its loops, `#[inline(always)]`:
/// only what is inlined is compiled anew. Write plain loops over slices; the compiler
/// vectorises them. No result depends on the instruction set.
pub trait Vectorize {
    /// What the work yields.
    type Output;

    /// Does the work.
    fn vectorize(self) -> Self::Output;
}

/// An instruction set that this CPU has.
///
/// ```
/// use mergecore_tensor::{Simd, Vectorize};
///
/// struct Sum<'a>(&'a [u32]);
///
/// impl Vectorize for Sum<'_> {
///     type Output = u32;
///
///     #[inline(always)]
///     fn vectorize(self) -> u32 {
///         self.0.iter().sum()
///     }
/// }
///
/// assert_eq!(Simd::detect().run(Sum(&[1, 2, 3])), 6);
/// assert_eq!(Simd::BASELINE.run(Sum(&[1, 2, 3])), 6); // slower, never different
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Simd(Level);

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Level {
    Baseline,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Simd {
    /// What every CPU of the target has: SSE2 on x86-64, NEON on AArch64.
    pub const BASELINE: Simd = Simd(Level::Baseline);

    /// The widest instruction set of this CPU.
    ///
    /// ```
    /// use mergecore_tensor::Simd;
    ///
    /// assert_eq!(Some(Simd::detect()), Simd::available().last().copied());
    /// ```
    pub fn detect() -> Simd {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
            {
                return Simd(Level::Avx512);
            }
            if is_x86_feature_detected!("avx2") {
                return Simd(Level::Avx2);
            }
        }
        Simd::BASELINE
    }

    /// Every instruction set of this CPU that there is code for, narrowest first.
    ///
    /// ```
    /// use mergecore_tensor::Simd;
    ///
    /// assert_eq!(Simd::available()[0], Simd::BASELINE);
    /// ```
    pub fn available() -> Vec<Simd> {
        let widest = Simd::detect();
        let mut all = vec![Simd::BASELINE];
        #[cfg(target_arch = "x86_64")]
        if widest == Simd(Level::Avx512) {
            all.push(Simd(Level::Avx2));
        }
        if widest != Simd::BASELINE {
            all.push(widest);
        }
        all
    }

    /// The instruction set's usual name.
    ///
    /// ```
    /// assert_eq!(mergecore_tensor::Simd::BASELINE.name(), "baseline");
    /// ```
    pub fn name(self) -> &'static str {
        match self.0 {
            Level::Baseline => "baseline",
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => "AVX2",
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => "AVX-512",
        }
    }

    /// Does the work with this instruction set.
    #[inline]
    pub fn run<W: Vectorize>(self, work: W) -> W::Output {
        match self.0 {
            Level::Baseline => work.vectorize(),
            // SAFETY: only `detect` and `available` make these levels, and only
            // where the CPU has the features that the functions are compiled for.
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => unsafe { avx2(work) },
            // SAFETY: the same.
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => unsafe { avx512(work) },
        }
    }
}

impl Default for Simd {
    fn default() -> Self {
        Simd::detect()
    }
}

impl fmt::Debug for Simd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Simd({})", self.name())
    }
}

impl fmt::Display for Simd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2<W: Vectorize>(work: W) -> W::Output {
    work.vectorize()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn avx512<W: Vectorize>(work: W) -> W::Output {
    work.vectorize()
}
