//! DARE's random masks, as they come out of whole merges.

use mergecore::{DType, Dare, MergeOptions, stream_key};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::support::{Folder, is_rounded, round};

const DENSITIES: [f64; 4] = [0.03, 0.1, 0.53, 0.9];

fn recipe(method: &str, density: f64, dtype: &str) -> String {
    format!(
        "merge_method: {method}\nbase_model: DIR/base\ndtype: {dtype}\nmodels:\n  - {{model: DIR/a, parameters: {{weight: 1, density: {density}}}}}\n"
    )
}

fn options(seed: u64, threads: usize) -> MergeOptions {
    MergeOptions { seed, threads: Some(threads), overwrite: true, ..MergeOptions::default() }
}

#[test]
fn what_is_kept_follows_the_mask_and_is_scaled() {
    let folder = Folder::new();
    let [base, a, _] = folder.write_random(13);
    for (method, dtype) in [("dare_linear", DType::F32), ("dare_ties", DType::Bf16)] {
        for density in DENSITIES {
            let recipe = recipe(method, density, dtype.torch_name());
            folder.merge_with(&recipe, "out", &options(5, 2)).unwrap();
            for (name, merged) in folder.read("out") {
                let (base, a) = (base[&name].values(), a[&name].values());
                let stream = stream_key(5, &name);
                let dare = Dare { densities: vec![density], stream, ..Dare::default() };
                let mask = dare.mask(0, 0, base.len()).unwrap();
                for (i, got) in merged.values().into_iter().enumerate() {
                    let exact = base[i] + if mask[i] { (a[i] - base[i]) / density } else { 0.0 };
                    let magnitudes = base[i].abs() + a[i].abs();
                    assert!(is_rounded(dtype, got, exact, magnitudes), "{name}, {i} at {density}");
                    assert!(mask[i] || got == round(dtype, base[i]));
                }
            }
        }
    }
}

#[test]
fn each_model_of_a_merge_has_its_mask() {
    let folder = Folder::new();
    let [base, a, b] = folder.write_random(16);
    let merged = folder.merge("merge_method: dare_linear\nbase_model: DIR/base\ndtype: float32\nmodels: [{model: DIR/a, parameters: {weight: 0.6, density: 0.5}}, {model: DIR/b, parameters: {weight: 0.8, density: 0.2}}]");
    for (name, merged) in merged {
        let [base, a, b] = [&base, &a, &b].map(|model| model[&name].values());
        let stream = stream_key(0, &name);
        let dare = Dare { densities: vec![0.5, 0.2], stream, ..Dare::default() };
        let masks = [0, 1].map(|model| dare.mask(model, 0, base.len()).unwrap());
        for (i, got) in merged.values().into_iter().enumerate() {
            let kept = |model: usize, delta: f64| if masks[model][i] { delta } else { 0.0 };
            let change =
                0.6 * kept(0, (a[i] - base[i]) / 0.5) + 0.8 * kept(1, (b[i] - base[i]) / 0.2);
            let magnitudes = base[i].abs() + a[i].abs() + b[i].abs();
            assert!(is_rounded(DType::F32, got, base[i] + change, magnitudes), "{name}, {i}");
        }
    }
}

/// The mask is told from the output, without the library's help.
#[test]
fn the_fraction_kept_is_the_density() {
    let folder = Folder::new();
    let [base, a, _] = folder.write_random(14);
    for density in DENSITIES {
        let merged = folder.merge(&recipe("dare_linear", density, "float64"));
        let (mut kept, mut changed) = (0.0, 0.0);
        for (name, merged) in &merged {
            let (base, a) = (base[name].values(), a[name].values());
            for (i, got) in merged.values().into_iter().enumerate() {
                changed += f64::from(u8::from(a[i] != base[i]));
                kept += f64::from(u8::from(got != base[i]));
            }
        }
        let deviation = (changed * density * (1.0 - density)).sqrt();
        assert!(changed > 100_000.0);
        assert!(
            (kept - changed * density).abs() < 6.0 * deviation,
            "{kept} of {changed} at {density}"
        );
    }
}

#[test]
fn models_and_tensors_have_masks_of_their_own() {
    let kept = |seed, tensor, model| {
        let stream = stream_key(seed, tensor);
        let dare = Dare { densities: vec![0.5, 0.5], stream, ..Dare::default() };
        dare.mask(model, 0, 10_000).unwrap()
    };
    let first = kept(1, "a", 0);
    for other in [kept(1, "a", 1), kept(1, "b", 0), kept(2, "a", 0)] {
        let same = first.iter().zip(&other).filter(|(x, y)| x == y).count();
        assert!((4_700..5_300).contains(&same), "{same} of 10000 agree");
    }
}

#[test]
fn the_seed_alone_decides_the_masks() {
    let folder = Folder::new();
    folder.write_random(15);
    for method in ["dare_linear", "dare_ties"] {
        let recipe = recipe(method, 0.4, "bfloat16");
        let merge = |seed, threads| {
            folder.merge_with(&recipe, "out", &options(seed, threads)).unwrap();
            folder.read("out")
        };
        let first = merge(5, 1);
        assert!(first == merge(5, 2), "{method}: threads change the masks");
        assert!(first != merge(6, 2), "{method}: another seed changes nothing");
        assert!(merge(0, 2) == folder.merge(&recipe), "{method}: the default seed is not 0");
    }
}

/// The mask drawn without the library: 32 bits an element against the density.
#[test]
fn a_mask_is_chacha_at_the_element() {
    let key = stream_key(3, "w");
    let dare = Dare { densities: vec![0.25, 0.75], stream: key, ..Dare::default() };
    for (model, threshold) in [(0, 1 << 30), (1, 3 << 30)] {
        let mut generator = ChaCha8Rng::from_seed(key.0);
        generator.set_stream(model as u64);
        let drawn: Vec<bool> = (0..5_000).map(|_| generator.next_u32() < threshold).collect();
        assert_eq!(dare.mask(model, 0, 5_000).unwrap(), drawn);
        assert_eq!(dare.mask(model, 1_234, 10).unwrap(), drawn[1_234..1_244]);
    }
}
