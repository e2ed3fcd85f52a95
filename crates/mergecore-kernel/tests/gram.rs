//! The Gram matrix against plain dot products.

use std::sync::{Arc, Mutex};

use mergecore_kernel::{
    BLOCK, Combination, Extent, Gram, GramScan, Kernel, KernelError, Step, dot,
};
use support::{Random, merged};

mod support;

#[derive(Debug)]
struct Keep(usize, Arc<Mutex<Option<Gram>>>);

impl Kernel for Keep {
    fn first(&self, _: Extent) -> Result<Step, KernelError> {
        let (inputs, found) = (self.0, Arc::clone(&self.1));
        Ok(Step::scan(GramScan::new(inputs, move |gram| {
            *found.lock().expect("not poisoned") = Some(gram.clone());
            Ok(Step::apply(Combination::select(0, inputs)))
        })))
    }
}

#[test]
fn every_pair_of_inputs_has_its_exact_dot_product() {
    let mut random = Random(1);
    for count in 1..=6 {
        // Whole numbers, so that sums are exact in any order.
        let mut input = || (0..2 * BLOCK + 77).map(|_| random.below(201) as f64 - 100.0).collect();
        let inputs: Vec<Vec<f64>> = (0..count).map(|_| input()).collect();
        let found = Arc::default();
        let _: Vec<f64> = merged(&Keep(count, Arc::clone(&found)), &inputs, &[inputs[0].len()]);
        let gram = found.lock().expect("not poisoned").clone().expect("the scan ran");
        for i in 0..count {
            for j in 0..count {
                let expected: f64 = inputs[i].iter().zip(&inputs[j]).map(|(a, b)| a * b).sum();
                assert_eq!(gram.dot(i, j), expected, "{i} {j} of {count}");
                assert_eq!(dot(&inputs[i], &inputs[j]), expected);
            }
            assert_eq!(gram.norm(i), gram.dot(i, i).sqrt());
        }
    }
}
