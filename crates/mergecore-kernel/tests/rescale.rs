//! What recipes' `rescale` and `rescale_norm` mean together.

use mergecore_kernel::{Argument, Arguments, Rescale};

fn asked(rescale: Option<bool>, norm: Option<&str>, on_by_default: bool) -> Option<Rescale> {
    let mut arguments = Arguments::default();
    if let Some(on) = rescale {
        arguments.insert("rescale", Argument::Flag(on));
    }
    if let Some(norm) = norm {
        arguments.insert("rescale_norm", Argument::Text(norm.to_owned()));
    }
    let usual = if on_by_default { Rescale::Density } else { Rescale::L1 };
    Rescale::from_arguments(&arguments, on_by_default, usual)
}

#[test]
fn nothing_said_is_the_methods_default() {
    assert_eq!(asked(None, None, false), None);
    assert_eq!(asked(None, None, true), Some(Rescale::Density));
}

#[test]
fn a_norm_alone_switches_rescaling_on() {
    assert_eq!(asked(None, Some("l2"), false), Some(Rescale::L2));
    assert_eq!(asked(None, Some("linf"), true), Some(Rescale::Linf));
}

#[test]
fn the_flag_has_the_last_word() {
    assert_eq!(asked(Some(true), None, false), Some(Rescale::L1));
    assert_eq!(asked(Some(true), Some("density"), false), Some(Rescale::Density));
    assert_eq!(asked(Some(false), Some("l1"), true), None);
}

#[test]
fn every_name_has_its_variant() {
    let variants: Vec<_> = Rescale::NAMES.iter().map(|name| Rescale::from_name(name)).collect();
    let expected = [Rescale::Density, Rescale::L1, Rescale::L2, Rescale::Linf];
    assert_eq!(variants, expected.map(Some));
    assert_eq!(Rescale::from_name("l3"), None);
}
