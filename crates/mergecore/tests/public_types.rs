//! Whatever programs hold can cross threads.

use mergecore::*;

fn cross_threads<T: Send + Sync + ?Sized>() {}

macro_rules! all_cross_threads {
    ($($name:ident => $type:ty),* $(,)?) => {
        {
            $(cross_threads::<$type>();)*
            [$(stringify!($name)),*]
        }
    };
}

/// Every name of a type or of a trait that lib.rs exports, and one such type.
#[test]
fn every_public_type_is_send_and_sync() {
    let known = all_cross_threads! {
        ArceeFusion => ArceeFusion,
        Architecture => Architecture,
        Breadcrumbs => Breadcrumbs,
        CancelFlag => CancelFlag,
        CardError => CardError,
        Checkpoint => Checkpoint,
        Companion => Companion,
        CompanionKind => CompanionKind,
        Conditional => Conditional,
        ConfigError => ConfigError,
        Consensus => Consensus,
        ConsensusTa => ConsensusTa,
        Dare => Dare,
        Della => Della,
        DType => DType,
        Elect => Elect,
        Election => Election,
        Element => f32,
        ElementWise => ElementWise<fn()>,
        EngineError => EngineError,
        Error => Error,
        Fault => Fault,
        FloatType => FloatType,
        InputModel => InputModel,
        IoError => IoError,
        IsoC => IsoC,
        Karcher => Karcher,
        KernelError => KernelError,
        Layout => Layout,
        Linear => Linear,
        MagMax => MagMax,
        ManifestError => ManifestError,
        MergeConfig => MergeConfig,
        MergeInput => MergeInput,
        MergeOptions => MergeOptions,
        MergePlan => MergePlan,
        MergeReport => MergeReport,
        Method => dyn Method,
        Model => Model,
        ModelCardOptions => ModelCardOptions,
        ModelCardTemplate => ModelCardTemplate,
        ModelLocation => ModelLocation,
        ModelLocator => ModelLocator,
        ModelNotFound => ModelNotFound,
        ModelRef => ModelRef,
        ModelStock => ModelStock,
        Module => Module,
        ModuleInput => ModuleInput,
        MultiSlerp => MultiSlerp,
        NearSwap => NearSwap,
        NuSlerp => NuSlerp,
        OpenError => OpenError,
        Operation => Operation,
        OutputSlice => OutputSlice,
        Parameters => Parameters,
        Place => Place,
        PlannedTensor => PlannedTensor,
        Problems => Problems,
        Progress => Progress,
        ProgressCallback => ProgressCallback,
        Ram => Ram,
        RamPlus => RamPlus,
        RecipePath => RecipePath,
        Registry => Registry,
        Reproduction => Reproduction,
        Rescale => Rescale,
        Result => Result<()>,
        Role => Role<'_>,
        Scalar => Scalar,
        Sce => Sce,
        Setting => Setting,
        Simd => Simd,
        Slerp => Slerp,
        SliceSource => SliceSource,
        Stack => Stack,
        Storage => Storage,
        StorageCall => StorageCall<'_>,
        StorageHook => dyn StorageHook,
        StoredTensor => StoredTensor,
        StreamKey => StreamKey,
        Tally => Tally,
        TaskArithmetic => TaskArithmetic,
        TensorInput => TensorInput,
        TensorSource => dyn TensorSource,
        Ties => Ties,
        TrimScope => TrimScope,
        Tsv => Tsv,
        Value => Value,
        Verification => Verification,
        bf16 => bf16,
        f16 => f16,
    };
    #[cfg(feature = "hub")]
    let of_hub = all_cross_threads! { HubCache => HubCache, HubError => HubError };
    #[cfg(not(feature = "hub"))]
    let of_hub = ["HubCache", "HubError"];
    let exports = include_str!("../src/lib.rs").split("pub use ").skip(1);
    let exports = exports.filter_map(|rest| rest.split(';').next());
    let names =
        exports.flat_map(|export| export.split(|c: char| !(c.is_alphanumeric() || c == '_')));
    let types: Vec<&str> = names
        .filter(|name| name.starts_with(char::is_uppercase) || name.ends_with("f16"))
        .collect();
    assert!(types.len() > 60, "{types:?}");
    for name in types {
        assert!(known.contains(&name) || of_hub.contains(&name), "`{name}` is not in this list");
    }
}
