//! Whatever the crates below the facade hand to programs can cross threads. What the facade itself
//! exports, the parameters of all methods among it, is looked at in its own tests; the methods
//! must, by what `Method` says.

use mergecore_tests::project_root;

fn cross_threads<T: Send + Sync + ?Sized>() {}

/// That a crate's types can cross threads, and that there are no others, but for traits whose
/// implementors' business it is.
macro_rules! all_cross_threads {
    ($crate_name:literal: $($name:ident => $type:ty),* ; $($other:ident),*) => {
        {
            $(cross_threads::<$type>();)*
            exports_are($crate_name, &[$(stringify!($name),)* $(stringify!($other)),*]);
        }
    };
}

/// Names of types and traits; constants are in capitals.
fn exports_are(crate_name: &str, known: &[&str]) {
    let path = project_root().join("crates").join(crate_name).join("src/lib.rs");
    let text = std::fs::read_to_string(path).unwrap();
    let exports = text.split("pub use ").skip(1).filter_map(|rest| rest.split(';').next());
    let names =
        exports.flat_map(|export| export.split(|c: char| !(c.is_alphanumeric() || c == '_')));
    let is_type =
        |name: &&str| name.starts_with(char::is_uppercase) && name.contains(char::is_lowercase);
    let types: Vec<&str> = names.filter(is_type).collect();
    for name in &types {
        assert!(known.contains(name), "`{name}` of {crate_name} is not in this list");
    }
    for name in known {
        assert!(types.contains(name), "{crate_name} has no `{name}`");
    }
}

#[test]
fn of_tensors() {
    use mergecore_tensor::*;
    all_cross_threads!("mergecore-tensor":
        DType => DType,
        Element => f32,
        Elements => Elements<'_>,
        ElementsMut => ElementsMut<'_>,
        Found => Found,
        Losses => Losses,
        ParseDTypeError => ParseDTypeError,
        Simd => Simd;
        Vectorize
    );
}

#[test]
fn of_kernels() {
    use mergecore_kernel::*;
    all_cross_threads!("mergecore-kernel":
        Apply => dyn Apply,
        Argument => Argument,
        Arguments => Arguments,
        Base => Base,
        Binding => Binding,
        Combination => Combination,
        Concatenation => Concatenation,
        Consensus => Consensus,
        Cutoff => Cutoff,
        DType => DType,
        DefaultValue => DefaultValue,
        Elect => Elect,
        Election => Election,
        Element => f64,
        ElementWise => ElementWise<fn()>,
        Elements => Elements<'_>,
        ElementsMut => ElementsMut<'_>,
        ErasedPartial => ErasedPartial,
        ErasedScan => dyn ErasedScan,
        Extent => Extent,
        Found => Found,
        Gram => Gram,
        GramScan => GramScan<()>,
        Inputs => Inputs,
        KeepAll => KeepAll,
        Kernel => dyn Kernel,
        KernelError => KernelError,
        Keys => dyn Keys,
        Losses => Losses,
        Method => dyn Method,
        Order => Order,
        Parameter => Parameter,
        ParameterKind => ParameterKind,
        Prune => KeepAll,
        RandomMask => RandomMask,
        Rescale => Rescale,
        Scan => GramScan<()>,
        Scope => Scope,
        Simd => Simd,
        Step => Step,
        StreamKey => StreamKey,
        Survey => Survey,
        SurveyRun => SurveyRun,
        TaskVectors => TaskVectors,
        TensorSlices => TensorSlices<'_, f32, f32>,
        Tile => Tile<'_>,
        Whole => dyn Whole,
        Worker => Worker
        ; // What a driver lends to a kernel, and work for one call.
        ReadInputs, StoredWork, TypedApply, Vectorize
    );
}

#[test]
fn of_files() {
    use mergecore_io::*;
    all_cross_threads!("mergecore-io":
        Checkpoint => Checkpoint,
        CheckpointWriter => CheckpointWriter,
        Companion => Companion,
        CompanionKind => CompanionKind,
        Header => Header,
        HeaderEntry => HeaderEntry,
        HeaderError => HeaderError,
        Index => Index,
        IndexError => IndexError,
        IoError => IoError,
        Journal => Journal,
        Layout => Layout,
        MappedCheckpoint => MappedCheckpoint,
        Placement => Placement,
        Quantisation => Quantisation,
        Rows => Rows,
        Shard => Shard,
        SourceFile => SourceFile,
        StagedDir => StagedDir,
        Stamp => Stamp,
        Storage => Storage,
        StorageCall => StorageCall<'_>,
        StorageHook => dyn StorageHook,
        StoredTensor => StoredTensor,
        TensorSource => dyn TensorSource,
        TensorSpec => TensorSpec;
    );
}

#[test]
fn of_recipes() {
    use mergecore_config::*;
    all_cross_threads!("mergecore-config":
        Conditional => Conditional,
        ConfigError => ConfigError,
        FloatType => FloatType,
        InputModel => InputModel,
        Level => Level<'_>,
        Limit => Limit,
        MergeConfig => MergeConfig,
        MergeInput => MergeInput,
        ModelLocation => ModelLocation,
        ModelRef => ModelRef,
        ModelRefError => ModelRefError,
        Module => Module,
        ModuleInput => ModuleInput,
        Note => Note,
        OutputSlice => OutputSlice,
        Parameters => Parameters,
        Place => Place,
        RecipePath => RecipePath,
        Resolved => Resolved,
        Scalar => Scalar,
        Segment => Segment,
        Setting => Setting,
        Site => Site,
        SliceSource => SliceSource,
        TokenConfig => TokenConfig,
        TokenSelector => TokenSelector,
        TokenSource => TokenSource,
        TokenizerConfig => TokenizerConfig,
        TokenizerSource => TokenizerSource,
        Value => Value;
    );
}

#[test]
fn of_tokenizers() {
    use mergecore_tokenizer::*;
    all_cross_threads!("mergecore-tokenizer":
        Disagreement => Disagreement,
        TokenizerError => TokenizerError,
        Vocabulary => Vocabulary;
    );
}

#[test]
fn of_caches_of_models() {
    use mergecore_hub::*;
    all_cross_threads!("mergecore-hub": HubCache => HubCache, HubError => HubError;);
}

#[test]
fn of_merges() {
    use mergecore_engine::*;
    all_cross_threads!("mergecore-engine":
        Architecture => Architecture,
        CancelFlag => CancelFlag,
        CardError => CardError,
        EngineError => EngineError,
        Fault => Fault,
        ManifestError => ManifestError,
        MergeOptions => MergeOptions,
        MergePlan => MergePlan,
        MergeReport => MergeReport,
        Model => Model,
        ModelCardOptions => ModelCardOptions,
        ModelCardTemplate => ModelCardTemplate,
        ModelLocator => ModelLocator,
        ModelNotFound => ModelNotFound,
        OpenError => OpenError,
        Operation => Operation,
        PlannedTensor => PlannedTensor,
        Problems => Problems,
        Progress => Progress,
        ProgressCallback => ProgressCallback,
        Registry => Registry,
        Reproduction => Reproduction,
        Role => Role<'_>,
        Stack => Stack,
        Tally => Tally,
        TensorInput => TensorInput,
        Verification => Verification,
        VocabularyMismatch => VocabularyMismatch;
    );
}
