package modelimportexport;

import com.google.protobuf.ByteString;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.protobuf.TextFormat;
import java.io.IOException;
import java.math.BigInteger;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.HexFormat;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Pattern;
import java.util.stream.IntStream;
import java.util.stream.LongStream;
import org.tensorflow.Graph;
import org.tensorflow.GraphOperation;
import org.tensorflow.Output;
import org.tensorflow.ndarray.Shape;
import org.tensorflow.proto.AssetFileDef;
import org.tensorflow.proto.AttrValue;
import org.tensorflow.proto.DataType;
import org.tensorflow.proto.GraphDef;
import org.tensorflow.proto.MetaGraphDef;
import org.tensorflow.proto.NodeDef;
import org.tensorflow.proto.TensorInfo;
import org.tensorflow.proto.TensorProto;
import org.tensorflow.proto.TensorShapeProto;

/**
 * The checks that a graph passes before TensorFlow runs it.
 *
 * <p>A graph is a program: one that holds {@code WriteFile} writes files, one of 660 bytes can ask for terabytes or loop
 * for ever, and some abort the process, which no {@code catch} catches. So a model's file is looked at before TensorFlow
 * imports it. {@code trust} skips what a model of one's own making does not need: the size limit, check 3 and check 6.
 *
 * <p>The order and the words are the same in every language.
 */
public final class GraphCheck {
    private static final long MAX_BYTES = 256 << 20;
    private static final long MAX_SUMS = 1 << 20; // bytes of SHA256SUMS
    private static final int MAX_NODES = 20_000;
    private static final int MAX_INPUTS = 1_000; // of one node
    private static final int MAX_EDGES = 100_000;
    private static final int MAX_CHAIN = 1_000;
    private static final int MAX_WINDOW = 1_024; // a stride, dilation, padding or side of a window
    private static final int MAX_SPLAT = 1 << 20; // elements of a constant that the file does not hold one by one
    private static final int MAX_ELEMENTS = 16 << 20; // elements of one operation's output
    private static final int MAX_TOTAL = 64 << 20; // elements of all of them
    private static final int MAX_RANK = 254; // with more dimensions TensorFlow ends the process
    private static final int MAX_BATCH = 4_096; // numbers of --stdin in one run

    /** Pure calculation: nothing here reads, writes, loops, calls, or allocates what a number in the graph says. */
    public static final Set<String> OPERATIONS = with(Set.of(), List.of("""
            Placeholder Const Identity NoOp
            Abs Acos Acosh Add AddN AddV2 Asin Asinh Atan Atan2 Atanh Ceil Cos Cosh Div DivNoNan Erf Erfc Exp Expm1 Floor
            FloorDiv FloorMod Inv IsFinite IsInf IsNan Log Log1p Maximum Minimum Mod Mul MulNoNan Neg OnesLike Pow RealDiv
            Reciprocal Rint Round Rsqrt Select SelectV2 Sign Sin Sinh Sqrt Square SquaredDifference Sub Tan TruncateDiv
            TruncateMod Xdivy Xlogy ZerosLike
            Equal Greater GreaterEqual Less LessEqual LogicalAnd LogicalNot LogicalOr NotEqual
            MatMul BiasAdd
            Elu LeakyRelu LogSoftmax Relu Relu6 Selu Sigmoid Softmax Softplus Softsign Tanh
            All Any ArgMax ArgMin Max Mean Min Prod Sum
            Cast ConcatV2 ExpandDims Pad Reshape Squeeze
            Conv2D Conv3D DepthwiseConv2dNative AvgPool AvgPool3D MaxPool MaxPool3D
            FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3
            """.split("\\s+")));

    /** What a SavedModel needs besides: variables, saving and restoring them, parsing tf.Example, lookup tables. */
    public static final Set<String> SAVED_MODEL_OPERATIONS = with(OPERATIONS, List.of("""
            Assign AssignVariableOp ReadVariableOp VarHandleOp VarIsInitializedOp Variable VariableV2
            MergeV2Checkpoints Pack PlaceholderWithDefault RestoreV2 SaveV2 ShardedFilename StaticRegexFullMatch StringJoin
            ParseExample ParseExampleV2
            HashTable HashTableV2 InitializeTable InitializeTableFromTextFile InitializeTableFromTextFileV2 InitializeTableV2
            LookupTableFind LookupTableFindV2 LookupTableSize LookupTableSizeV2
            """.split("\\s+")));

    // The operations with an input that says a shape or an axis: it must be a constant, so that sizes are known before
    // anything runs. It is input 1, of ConcatV2 the last.
    private static final Set<String> SHAPE_INPUT = Set.of(
            "All", "Any", "ArgMax", "ArgMin", "ExpandDims", "Max", "Mean", "Min", "Pad", "Prod", "Reshape", "Sum", "ConcatV2");

    private static final Pattern DIGEST_LINE = Pattern.compile("([0-9a-fA-F]{64}) [ *](.+)");

    // The names of TensorFlow's types by their numbers, as Python spells them, from 1.
    private static final List<String> TYPE_NAMES = List.of("""
            float32 float64 int32 uint8 int16 int8 string complex64 int64 bool qint8 quint8 qint32 bfloat16 qint16 quint16
            uint16 complex128 float16 resource variant uint32 uint64 float8_e5m2 float8_e4m3fn float8_e4m3fnuz
            float8_e4m3b11fnuz float8_e5m2fnuz int4 uint4 int2 uint2 float4_e2m1fn
            """.split("\\s+"));

    private GraphCheck() {}

    /** Returns a set that has these operation types, too. */
    public static Set<String> with(Set<String> operations, Collection<String> more) {
        Set<String> all = new HashSet<>(operations);
        all.addAll(more);
        return all;
    }

    /**
     * Reads a model's file: checks 1 (regular, not empty, not too large) and 2 (its digest, where one is kept).
     *
     * @throws ModelError the file is refused
     * @throws IOException it cannot be read
     */
    public static byte[] readFile(String path, boolean trust) throws IOException {
        byte[] data = readRegular(path, trust ? Long.MAX_VALUE : MAX_BYTES, " (--trust lifts the limit)");
        if (data.length == 0) {
            throw new ModelError("not a usable model file: %s is empty", path);
        }
        String listed = listedDigest(path);
        if (listed != null && !listed.equals(sha256(data))) {
            throw new ModelError("digest mismatch: %s is not the file that SHA256SUMS lists (freeze it again)", path);
        }
        return data;
    }

    /** Reads a regular file of at most {@code limit} bytes: a FIFO would wait for ever. */
    private static byte[] readRegular(String path, long limit, String hint) throws IOException {
        Path file = Path.of(path);
        if (Files.exists(file) && !Files.isRegularFile(file)) {
            throw new ModelError("not a usable model file: %s is not a regular file", path);
        }
        if (Files.size(file) > limit) {
            throw new ModelError("not a usable model file: %s is larger than %d MiB%s", path, limit >> 20, hint);
        }
        return Files.readAllBytes(file);
    }

    /** The SHA-256 digest that the SHA256SUMS beside a file lists for it; null where it lists none. */
    private static String listedDigest(String path) throws IOException {
        Path file = Path.of(path);
        Path sums = file.resolveSibling("SHA256SUMS");
        if (!Files.exists(sums)) {
            return null;
        }
        for (String line : new String(readRegular(sums.toString(), MAX_SUMS, ""), StandardCharsets.UTF_8).split("\n")) {
            var match = DIGEST_LINE.matcher(line);
            if (match.matches() && match.group(2).equals(file.getFileName().toString())) {
                return match.group(1).toLowerCase();
            }
        }
        return null;
    }

    private static String sha256(byte[] data) {
        try {
            return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(data));
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException(e); // every Java has it
        }
    }

    /**
     * Parses {@code data} into a GraphDef, MetaGraphDef or SavedModel, binary or {@code .pbtxt}.
     *
     * @throws ModelError it is not one
     */
    public static <B extends Message.Builder> B parse(B message, byte[] data, String path) {
        try {
            if (path.endsWith(".pbtxt")) {
                TextFormat.merge(new String(data, StandardCharsets.UTF_8), message);
            } else {
                message.mergeFrom(data);
            }
        } catch (InvalidProtocolBufferException | TextFormat.ParseException e) {
            throw new ModelError("not a %s: %s: %s", message.getDescriptorForType().getName(), path, e.getMessage());
        }
        return message;
    }

    /**
     * Check 3: a GraphDef of a sane size that holds nothing but {@code operations}, without loops, with sound constants.
     *
     * @throws ModelError it names the operation or the node at fault
     */
    public static void checkGraph(GraphDef graphDef, Set<String> operations) {
        List<NodeDef> nodes = graphDef.getNodeList();
        if (nodes.isEmpty() || nodes.size() > MAX_NODES) {
            throw new ModelError("refused graph: it has %d nodes (1 to %d are accepted)", nodes.size(), MAX_NODES);
        }
        if (graphDef.getLibrary().getSerializedSize() > 0) {
            throw new ModelError("refused graph: it has a function library, as all that tf.saved_model.save writes have "
                    + "(--trust accepts it, for a model you made yourself)");
        }
        int edges = 0;
        for (NodeDef node : nodes) {
            if (!operations.contains(node.getOp())) {
                throw new ModelError("operation not allowed: %1$s in node %2$s (--allow-op %1$s accepts it, "
                        + "--trust accepts all)", node.getOp(), node.getName());
            }
            if (OPERATIONS.contains(node.getOp()) && dataInputs(node).size() > MAX_INPUTS) {
                throw new ModelError("refused graph: node %s has more than %d inputs", node.getName(), MAX_INPUTS);
            }
            for (String name : List.of("strides", "dilations", "ksize", "explicit_paddings")) {
                for (long size : attribute(node, name).getList().getIList()) {
                    if (size < 0 || size > MAX_WINDOW) {
                        throw new ModelError("refused graph: %s of node %s are not all from 0 to %d",
                                name, node.getName(), MAX_WINDOW);
                    }
                }
            }
            if (node.getOp().equals("Const")) {
                checkConstant(node);
            }
            edges += node.getInputCount();
        }
        if (edges > MAX_EDGES) {
            throw new ModelError("refused graph: its nodes have more than %d inputs together", MAX_EDGES);
        }
        checkEdges(nodes);
    }

    private static AttrValue attribute(NodeDef node, String name) {
        return node.getAttrOrDefault(name, AttrValue.getDefaultInstance());
    }

    private static List<String> dataInputs(NodeDef node) {
        return node.getInputList().stream().filter(name -> !name.startsWith("^")).toList();
    }

    /**
     * Check 3 for what loading runs: it writes nothing, restores from the model's own files, reads its own assets.
     *
     * @param folder of the SavedModel; its assets stand there
     * @throws ModelError it names the node or the file at fault
     */
    public static void checkLoading(MetaGraphDef metaGraph, String folder) throws IOException {
        var saver = metaGraph.getSaverDef();
        List<String> roots = new ArrayList<>(List.of(saver.getRestoreOpName()));
        for (String name : List.of("saved_model_main_op", "legacy_init_op")) {
            if (metaGraph.containsCollectionDef(name)) {
                roots.addAll(metaGraph.getCollectionDefOrThrow(name).getNodeList().getValueList());
            }
        }
        if (metaGraph.containsSignatureDef("__saved_model_init_op")) {
            var signature = metaGraph.getSignatureDefOrThrow("__saved_model_init_op");
            signature.getOutputsMap().values().stream().map(TensorInfo::getName).forEach(roots::add);
        }
        upstream(metaGraph.getGraphDef(), roots, Set.of()).forEach(GraphCheck::refuseWriting);
        Map<String, String> assets = assetFiles(metaGraph);
        for (NodeDef node : metaGraph.getGraphDef().getNodeList()) {
            boolean restores = node.getOp().equals("RestoreV2");
            String source = node.getInputCount() > 1 ? operationName(node.getInput(restores ? 0 : 1)) : "";
            if (restores && !source.equals(operationName(saver.getFilenameTensorName()))) {
                throw new ModelError("refused graph: node %s restores from a file that is not the model's", node.getName());
            }
            if (node.getOp().startsWith("InitializeTableFromTextFile")) {
                String file = assets.get(source);
                if (file == null || file.contains("/")) {
                    throw new ModelError(
                            "refused graph: node %s reads a file that is not an asset of the model", node.getName());
                }
                readRegular(Path.of(folder, "assets", file).toString(), MAX_BYTES, "");
            }
        }
    }

    /** From the operations that hold the names of assets to those, which TensorFlow 1.x's builder writes into a collection. */
    private static Map<String, String> assetFiles(MetaGraphDef metaGraph) throws IOException {
        List<AssetFileDef> assets = new ArrayList<>(metaGraph.getAssetFileDefList());
        if (metaGraph.containsCollectionDef("saved_model_assets")) {
            for (var packed : metaGraph.getCollectionDefOrThrow("saved_model_assets").getAnyList().getValueList()) {
                if (packed.is(AssetFileDef.class)) {
                    assets.add(packed.unpack(AssetFileDef.class));
                }
            }
        }
        Map<String, String> files = new HashMap<>();
        assets.forEach(asset -> files.put(operationName(asset.getTensorInfo().getName()), asset.getFilename()));
        return files;
    }

    private static void refuseWriting(NodeDef node) {
        if (node.getOp().equals("SaveV2") || node.getOp().equals("MergeV2Checkpoints")) {
            throw new ModelError("refused graph: node %s would write a file when the model is used", node.getName());
        }
    }

    /** The nodes that these operations or tensors depend on, themselves included, up to those that are fed. */
    private static List<NodeDef> upstream(GraphDef graphDef, Collection<String> names, Set<String> fed) {
        Map<String, NodeDef> nodes = new HashMap<>();
        graphDef.getNodeList().forEach(node -> nodes.put(node.getName(), node));
        Set<String> seen = new HashSet<>(fed);
        List<NodeDef> found = new ArrayList<>();
        var todo = new ArrayDeque<>(names);
        while (!todo.isEmpty()) {
            NodeDef node = nodes.get(operationName(todo.removeLast()));
            if (node != null && seen.add(node.getName())) {
                todo.addAll(node.getInputList());
                found.add(node);
            }
        }
        return found;
    }

    private static void checkConstant(NodeDef node) {
        TensorProto tensor = attribute(node, "value").getTensor();
        List<TensorShapeProto.Dim> dims = tensor.getTensorShape().getDimList();
        int declaredType = attribute(node, "dtype").getTypeValue();
        String refused = "refused graph: Const " + node.getName();
        if (tensor.getDtypeValue() != declaredType) { // aborts the process
            throw refusal(refused, "holds %s, its dtype is %s",
                    typeName(tensor.getDtypeValue()), typeName(declaredType));
        }
        int held = elements(tensor);
        if (held < 0) {
            throw refusal(refused, "is of type %s", typeName(declaredType));
        }
        if (tensor.getTensorShape().getUnknownRank() || dims.stream().anyMatch(dim -> dim.getSize() < 0)) {
            throw refusal(refused, "has no definite shape");
        }
        if (dims.size() > MAX_RANK) {
            throw refusal(refused, "has %d dimensions (at most %d)", dims.size(), MAX_RANK);
        }
        BigInteger declared = product(dims.stream().mapToLong(TensorShapeProto.Dim::getSize).toArray());
        int bytes = tensor.getTensorContent().size();
        boolean text = tensor.getDtype() == DataType.DT_STRING;
        BigInteger asked = declared.multiply(BigInteger.valueOf(typeSize(declaredType)));
        if (bytes > 0 && (text || !asked.equals(BigInteger.valueOf(bytes)))) {
            throw refusal(refused, "holds %d bytes for %d elements", bytes, declared);
        }
        // Where a file holds fewer elements than the shape asks for, TensorFlow repeats the last.
        int missing = declared.compareTo(BigInteger.valueOf(held));
        boolean tooMany = declared.compareTo(BigInteger.valueOf(text ? held : MAX_SPLAT)) > 0;
        if (bytes == 0 && (missing < 0 || missing > 0 && tooMany)) {
            throw refusal(refused, "holds %d of %d elements", held, declared);
        }
        if (!finite(tensor)) {
            throw refusal(refused, "holds a value that is not finite");
        }
    }

    private static ModelError refusal(String what, String format, Object... values) {
        return new ModelError("%s %s", what, String.format(format, values));
    }

    /** How many elements a TensorProto holds one by one; -1 where a constant may not have its type. */
    private static int elements(TensorProto tensor) {
        return switch (tensor.getDtype()) {
            case DT_FLOAT -> tensor.getFloatValCount();
            case DT_DOUBLE -> tensor.getDoubleValCount();
            case DT_HALF, DT_BFLOAT16 -> tensor.getHalfValCount();
            case DT_INT8, DT_INT16, DT_INT32, DT_UINT8, DT_UINT16 -> tensor.getIntValCount();
            case DT_INT64 -> tensor.getInt64ValCount();
            case DT_UINT32 -> tensor.getUint32ValCount();
            case DT_UINT64 -> tensor.getUint64ValCount();
            case DT_BOOL -> tensor.getBoolValCount();
            case DT_STRING -> tensor.getStringValCount();
            default -> -1;
        };
    }

    private static boolean finite(TensorProto tensor) {
        ByteString content = tensor.getTensorContent();
        var bytes = content.asReadOnlyByteBuffer().order(ByteOrder.LITTLE_ENDIAN);
        int exponent = tensor.getDtype() == DataType.DT_HALF ? 0x7c00 : 0x7f80;
        return switch (tensor.getDtype()) {
            case DT_FLOAT -> content.isEmpty()
                    ? tensor.getFloatValList().stream().allMatch(Float::isFinite)
                    : IntStream.range(0, content.size() / 4).allMatch(i -> Float.isFinite(bytes.getFloat(4 * i)));
            case DT_DOUBLE -> content.isEmpty()
                    ? tensor.getDoubleValList().stream().allMatch(Double::isFinite)
                    : IntStream.range(0, content.size() / 8).allMatch(i -> Double.isFinite(bytes.getDouble(8 * i)));
            case DT_HALF, DT_BFLOAT16 -> content.isEmpty()
                    ? tensor.getHalfValList().stream().allMatch(bits -> (bits & exponent) != exponent)
                    : IntStream.range(0, content.size() / 2).allMatch(i -> (bytes.getShort(2 * i) & exponent) != exponent);
            default -> true;
        };
    }

    /** The name of a type, as Python spells it. */
    public static String typeName(int number) {
        if (number >= 1 && number <= TYPE_NAMES.size()) {
            return TYPE_NAMES.get(number - 1);
        }
        if (number >= 101 && number <= 100 + TYPE_NAMES.size()) {
            return TYPE_NAMES.get(number - 101) + "_ref";
        }
        return "the unknown type " + number;
    }

    /** The bytes of an element of a type that a constant may have; 0 for a string. */
    private static long typeSize(int number) {
        String name = typeName(number);
        return name.endsWith("64") ? 8 : name.endsWith("32") ? 4 : name.endsWith("16") ? 2 : name.equals("string") ? 0 : 1;
    }

    private static BigInteger product(long[] sizes) {
        return LongStream.of(sizes).mapToObj(BigInteger::valueOf).reduce(BigInteger.ONE, BigInteger::multiply);
    }

    /** Inputs that are there, shapes from constants, no cycle, no chain: TensorFlow walks some paths by recursion. */
    private static void checkEdges(List<NodeDef> nodes) {
        Map<String, Integer> position = new HashMap<>();
        for (int i = 0; i < nodes.size(); i++) {
            if (position.put(nodes.get(i).getName(), i) != null) {
                throw new ModelError("refused graph: two nodes are named %s", nodes.get(i).getName());
            }
        }
        List<List<Integer>> users = new ArrayList<>();
        nodes.forEach(node -> users.add(new ArrayList<>()));
        for (int i = 0; i < nodes.size(); i++) {
            NodeDef node = nodes.get(i);
            for (String name : node.getInputList()) {
                Integer source = position.get(operationName(name));
                if (source == null) {
                    throw new ModelError("refused graph: the input %s of node %s is not in it", name, node.getName());
                }
                users.get(source).add(i);
            }
            List<String> data = dataInputs(node);
            if (SHAPE_INPUT.contains(node.getOp()) && data.size() > 1) {
                String shape = data.get(node.getOp().equals("ConcatV2") ? data.size() - 1 : 1);
                NodeDef source = nodes.get(position.get(operationName(shape)));
                if (SAVED_MODEL_OPERATIONS.contains(source.getOp()) && !source.getOp().equals("Const")) {
                    throw new ModelError("refused graph: node %s takes a shape or an axis from node %s, no Const",
                            node.getName(), source.getName());
                }
            }
        }
        int[] waiting = nodes.stream().mapToInt(NodeDef::getInputCount).toArray();
        int[] length = new int[nodes.size()];
        Arrays.fill(length, 1);
        var ready = new ArrayDeque<Integer>();
        IntStream.range(0, waiting.length).filter(i -> waiting[i] == 0).forEach(ready::add);
        while (!ready.isEmpty()) { // grows as nodes come free: a topological order
            int i = ready.remove();
            if (length[i] > MAX_CHAIN) {
                throw new ModelError("refused graph: a chain of more than %d nodes leads to node %s",
                        MAX_CHAIN, nodes.get(i).getName());
            }
            for (int user : users.get(i)) {
                length[user] = Math.max(length[user], length[i] + 1);
                if (--waiting[user] == 0) {
                    ready.add(user);
                }
            }
        }
        for (int i = 0; i < waiting.length; i++) {
            if (waiting[i] > 0) {
                throw new ModelError("refused graph: node %s depends on a cycle", nodes.get(i).getName());
            }
        }
    }

    /** The operation's name in that of a tensor ({@code x:0}), of an operation ({@code x}) or of a control input. */
    public static String operationName(String tensor) {
        String name = tensor.startsWith("^") ? tensor.substring(1) : tensor;
        int colon = name.indexOf(':');
        return colon < 0 ? name : name.substring(0, colon);
    }

    /**
     * Check 4, the input: the placeholder of that operation or tensor name, float64 or float32.
     *
     * @throws ModelError there is none; it lists those there are
     */
    public static NodeDef findPlaceholder(GraphDef graphDef, String name) {
        String wanted = name.endsWith(":0") ? name.substring(0, name.length() - 2) : name;
        List<NodeDef> placeholders =
                graphDef.getNodeList().stream().filter(node -> node.getOp().equals("Placeholder")).toList();
        NodeDef found = placeholders.stream()
                .filter(node -> node.getName().equals(wanted))
                .findFirst()
                .orElseThrow(() -> new ModelError("no such input: %s (the model has: %s)",
                        name, orNone(placeholders.stream().map(NodeDef::getName).toList())));
        DataType dtype = attribute(found, "dtype").getType();
        if (dtype != DataType.DT_DOUBLE && dtype != DataType.DT_FLOAT) {
            throw new ModelError("refused graph: the placeholder %s is of type %s, not float64 or float32",
                    found.getName(), typeName(attribute(found, "dtype").getTypeValue()));
        }
        return found;
    }

    /** Lists names, or says that there are none. */
    public static String orNone(Collection<String> names) {
        return names.isEmpty() ? "none" : String.join(", ", names);
    }

    /**
     * Check 4, the output: an operation of that name is there, and all that it depends on is fed, and saves nothing.
     *
     * @param fed the names of the placeholders that are fed
     * @throws ModelError it names the nearest operations, or the placeholder that lacks a value
     */
    public static void checkOutput(GraphDef graphDef, String name, Set<String> fed) {
        List<String> names = graphDef.getNodeList().stream().map(NodeDef::getName).toList();
        String wanted = operationName(name);
        if (!names.contains(wanted)) {
            // The nearest have the longest beginning and end in common with what was asked for.
            var nearest = names.stream().sorted(Comparator.comparing(other -> -common(wanted, other))).limit(3).toList();
            throw new ModelError("no such output: %s (the nearest: %s)", name, String.join(", ", nearest));
        }
        for (NodeDef node : upstream(graphDef, List.of(name), fed)) {
            refuseWriting(node);
            if (node.getOp().equals("Placeholder")) {
                throw new ModelError("no value for the placeholder: %1$s (give --feed %1$s=...)", node.getName());
            }
        }
    }

    private static int common(String a, String b) {
        int[] one = a.codePoints().toArray();
        int[] other = b.codePoints().toArray();
        int most = Math.min(one.length, other.length);
        int beginning = 0;
        while (beginning < most && one[beginning] == other[beginning]) {
            beginning++;
        }
        int end = 0;
        while (end < most && one[one.length - 1 - end] == other[other.length - 1 - end]) {
            end++;
        }
        return beginning + end;
    }

    /** A placeholder's type. */
    public static DataType typeOf(NodeDef placeholder) {
        return attribute(placeholder, "dtype").getType();
    }

    /** A placeholder's static shape, -1 where a dimension is open; null where the rank is. */
    public static long[] placeholderDims(NodeDef placeholder) {
        TensorShapeProto shape = attribute(placeholder, "shape").getShape();
        if (!placeholder.containsAttr("shape") || shape.getUnknownRank()) {
            return null;
        }
        return shape.getDimList().stream().mapToLong(dim -> Math.max(-1, dim.getSize())).toArray();
    }

    /**
     * Check 6: with these shapes in the placeholders, no output has more than 16 Mi elements, nor all 64 Mi together.
     *
     * <p>TensorFlow's own shape inference says so, in a graph that nothing runs. With the feed's shape in the placeholder
     * it sees also what depends on the feed, which an open dimension would hide.
     *
     * @param shapes from the names of the placeholders that are fed to the shapes of their feeds
     * @param output the operation or tensor that will be fetched
     * @return its shape
     * @throws ModelError an output is too large, the fetched one is no number, or TensorFlow does not take the graph
     */
    public static Shape checkShapes(GraphDef graphDef, Map<String, long[]> shapes, String output, boolean trust) {
        GraphDef.Builder probe = graphDef.toBuilder();
        for (NodeDef.Builder node : probe.getNodeBuilderList()) {
            if (shapes.containsKey(node.getName())) {
                var definite = TensorShapeProto.newBuilder();
                LongStream.of(shapes.get(node.getName())).forEach(size -> definite.addDimBuilder().setSize(size));
                node.putAttr("shape", AttrValue.newBuilder().setShape(definite).build());
            }
        }
        try (Graph graph = importGraph(probe.build())) {
            if (!trust) {
                Set<String> used = new HashSet<>();
                upstream(graphDef, List.of(output), Set.of()).forEach(node -> used.add(node.getName()));
                checkSizes(graph, used);
            }
            Output<?> tensor = findOutput(graph, output);
            String type = typeName(tensor.dataType().getNumber());
            if (!type.matches("float64|float32|bool|u?int\\d+")) {
                throw new ModelError("refused graph: the output %s is of type %s, not of numbers or bool", output, type);
            }
            return tensor.shape();
        }
    }

    private static void checkSizes(Graph graph, Set<String> used) {
        BigInteger total = BigInteger.ZERO;
        for (Iterator<GraphOperation> operations = graph.operations(); operations.hasNext();) {
            GraphOperation operation = operations.next();
            String refused = "refused graph: the output of node " + operation.name();
            for (int i = 0; i < operation.numOutputs(); i++) {
                Shape shape = operation.output(i).shape();
                boolean definite = !shape.isUnknown() && !shape.hasUnknownDimension();
                BigInteger elements = definite ? product(shape.asArray()) : BigInteger.ZERO;
                if (!definite && used.contains(operation.name())) {
                    throw refusal(refused, "has no definite shape");
                }
                if (elements.compareTo(BigInteger.valueOf(MAX_ELEMENTS)) > 0) {
                    throw refusal(refused, "has %d elements (at most %d)", elements, MAX_ELEMENTS);
                }
                if (!shape.isUnknown() && shape.numDimensions() > MAX_RANK) {
                    throw refusal(refused, "has %d dimensions (at most %d)", shape.numDimensions(), MAX_RANK);
                }
                if (used.contains(operation.name())) {
                    total = total.add(elements);
                }
            }
        }
        if (total.compareTo(BigInteger.valueOf(MAX_TOTAL)) > 0) {
            throw new ModelError("refused graph: its outputs have %d elements together (at most %d)", total, MAX_TOTAL);
        }
    }

    /**
     * The tensor of that operation or tensor name.
     *
     * @throws ModelError there is none; it says how many outputs the operation has
     */
    public static Output<?> findOutput(Graph graph, String name) {
        GraphOperation operation = graph.operation(operationName(name));
        if (operation == null) {
            throw new ModelError("no such output: %s", name);
        }
        int colon = name.indexOf(':');
        int index = 0;
        for (int i = colon + 1; colon >= 0 && i < name.length(); i++) {
            int digit = name.charAt(i) - '0';
            index = digit < 0 || digit > 9 || index > 100_000_000 ? Integer.MAX_VALUE : 10 * index + digit;
        }
        if (index >= operation.numOutputs()) {
            throw new ModelError("no such output: %s (%s has %d)", name, operation.name(), operation.numOutputs());
        }
        return operation.output(index);
    }

    /**
     * Check 6 for {@code --stdin}.
     *
     * @return how many rows go into one run, 4,096 numbers together at most: one, where the first dimension of the
     *     placeholder or of the output does not count rows
     */
    public static int rowsARun(GraphDef graphDef, String name, Map<String, long[]> shapes, String output, boolean trust) {
        Shape one = checkShapes(graphDef, shapes, output, trust);
        long[] dims = placeholderDims(findPlaceholder(graphDef, name));
        int batch = (int) (MAX_BATCH / LongStream.of(shapes.get(name)).reduce(1, (a, b) -> a * b));
        if (batch < 2 || dims != null && (dims.length == 0 || dims[0] != -1)) {
            return 1;
        }
        Map<String, long[]> wider = new HashMap<>(shapes);
        wider.put(name, shapes.get(name).clone());
        wider.get(name)[0] = batch;
        Shape many = checkShapes(graphDef, wider, output, trust);
        if (one.isUnknown() || many.isUnknown()) {
            return batch;
        }
        if (one.numDimensions() == 0 || many.numDimensions() == 0) {
            return 1;
        }
        return one.get(0) == 1 && many.get(0) == batch || one.get(0) < 0 && many.get(0) < 0 ? batch : 1;
    }

    /**
     * Imports a GraphDef into a graph of its own.
     *
     * @throws ModelError TensorFlow does not take it
     */
    public static Graph importGraph(GraphDef graphDef) {
        Graph graph = new Graph();
        try {
            graph.importGraphDef(graphDef);
            return graph;
        } catch (RuntimeException e) {
            graph.close();
            throw new ModelError("refused graph: %s", e.getMessage());
        }
    }

    /** The keys of a map, sorted. */
    public static Collection<String> sorted(Map<String, ?> map) {
        return new TreeSet<>(map.keySet());
    }
}
