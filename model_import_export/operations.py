"""The operations that the gate knows: pure calculation, a model's own variables, its tables, and what loading runs."""

# None of these reads, writes, loops, calls out, or allocates an amount that is known only at run time.
CALCULATION = frozenset(
    """
    Placeholder PlaceholderV2 PlaceholderWithDefault Const Identity IdentityN NoOp StopGradient PreventGradient Snapshot
    CheckNumerics Assert EnsureShape Switch RefSwitch Merge RefMerge If StatelessIf
    PartitionedCall StatefulPartitionedCall
    Abs Acos Acosh Add AddN AddV2 ApproximateEqual Asin Asinh Atan Atan2 Atanh BesselI0e BesselI1e BitwiseAnd BitwiseOr
    BitwiseXor Ceil ClipByValue Cos Cosh Cumprod Cumsum Digamma Div DivNoNan Erf Erfc Erfinv Exp Expm1 Floor FloorDiv
    FloorMod Igamma Igammac Inv Invert IsFinite IsInf IsNan LeftShift Lgamma Log Log1p Maximum Minimum Mod Mul MulNoNan
    Ndtri Neg NextAfter OnesLike Pow RealDiv Reciprocal RightShift Rint Round Rsqrt Select SelectV2 Sigmoid
    Sign
    Sin Sinh Sqrt Square SquaredDifference Sub Tan Tanh TruncateDiv TruncateMod Xdivy Xlog1py Xlogy ZerosLike
    Equal Greater GreaterEqual Less LessEqual LogicalAnd LogicalNot LogicalOr NotEqual
    BatchMatMul BatchMatMulV2 BatchMatMulV3 BiasAdd BiasAddV1 Cross Einsum L2Loss MatMul
    Elu LeakyRelu LogSoftmax Relu Relu6 Selu Softmax Softplus Softsign
    All Any ArgMax ArgMin EuclideanNorm Max Mean Min Prod Sum InTopK InTopKV2 TopK TopKV2
    UnsortedSegmentMax UnsortedSegmentMin UnsortedSegmentProd UnsortedSegmentSum
    BatchToSpace BatchToSpaceND BroadcastArgs BroadcastTo Bucketize Cast Concat ConcatV2 DepthToSpace Diag DiagPart
    DynamicStitch ExpandDims ExtractImagePatches Fill Gather GatherNd GatherV2 InvertPermutation LinSpace MatrixBandPart
    MatrixDiag MatrixDiagPart MatrixSetDiag MirrorPad OneHot Pack Pad PadV2 ParallelConcat Range Rank Reshape Reverse
    ReverseSequence ReverseV2 Roll ScatterNd Shape ShapeN Size Slice SpaceToBatch SpaceToBatchND SpaceToDepth Split
    SplitV
    Squeeze StridedSlice TensorScatterUpdate Tile Transpose ConjugateTranspose Unpack
    AvgPool AvgPool3D Conv2D Conv2DBackpropInput Conv3D Conv3DBackpropInputV2 DepthwiseConv2dNative Dilation2D
    FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 LRN MaxPool MaxPool3D MaxPoolV2 MaxPoolWithArgmax
    FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel
    AdjustContrastv2 AdjustSaturation HSVToRGB RGBToHSV ResizeArea ResizeBicubic ResizeBilinear
    ResizeNearestNeighbor
    RandomStandardNormal RandomUniform TruncatedNormal
    SoftmaxCrossEntropyWithLogits SparseSoftmaxCrossEntropyWithLogits
    BroadcastGradientArgs DenseToDenseSetOperation
    AsString StaticRegexFullMatch StringJoin StringLength StringLower StringStrip StringToHashBucketFast
    StringToHashBucketStrong StringToNumber StringUpper
    ParseExample ParseExampleV2 ParseSingleExample
    HashTable HashTableV2 MutableHashTable MutableHashTableV2 LookupTableFind LookupTableFindV2
    LookupTableSize LookupTableSizeV2
    """.split()
)
# A model's own variables, in memory. `sizes` makes sure that none of these changes a variable's shape.
VARIABLES = frozenset(
    """
    Variable VariableV2 VarHandleOp ReadVariableOp VarIsInitializedOp IsVariableInitialized DisableCopyOnRead
    Assign AssignAdd AssignSub AssignVariableOp AssignAddVariableOp AssignSubVariableOp
    ApplyGradientDescent ResourceApplyGradientDescent ResourceGather
    """.split()
)
# What loading a SavedModel also runs: restoring its own variables, and filling tables from its own assets.
START = frozenset(
    """
    RestoreV2 Restore RestoreSlice ShardedFilename InitializeTable InitializeTableV2 InitializeTableFromTextFile
    InitializeTableFromTextFileV2 LookupTableImport LookupTableImportV2
    """.split()
)
TABLES = frozenset("InitializeTable InitializeTableV2 LookupTableImport LookupTableImportV2".split())
CALLS = {"PartitionedCall", "StatefulPartitionedCall"}
BRANCHES = {"If", "StatelessIf"}
# Attributes that no operation declares, but that tools leave behind and the runtime tolerates. Others (such as
# `_execution_count`, `_swap_to_host`, `_forward_input`, `_scoped_allocator`) crash the process.
ATTRIBUTES = frozenset(
    """
    _output_shapes _class _user_specified_name _read_only_resource_inputs _collective_manager_ids
    _has_manual_control_dependencies _gradient_op_type _input_shapes _construction_context _num_original_outputs
    _grappler_do_not_remove _lower_using_switch_merge _disable_call_shape_inference _stateful_parallelism
    _tf_keras_history _original_op _source_node _keras_api_names
    """.split()
)
# The same for functions. Not `api_implements`: an uncalled function replaces another that has the same value of it.
OF_FUNCTIONS = frozenset("forward_function_name backward_function_name _implements _noinline".split())
# The dtypes that a constant may have, and the field of a TensorProto that holds its elements if they are not in
# `tensor_content`.
ELEMENTS = {
    "float32": "float_val", "float64": "double_val", "float16": "half_val", "bfloat16": "half_val",
    "int8": "int_val", "int16": "int_val", "int32": "int_val", "int64": "int64_val",
    "uint8": "int_val", "uint16": "int_val", "uint32": "uint32_val", "uint64": "uint64_val",
    "bool": "bool_val", "string": "string_val",
}  # fmt: skip
