package modelimportexport;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.ByteString;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.tensorflow.proto.AttrValue;
import org.tensorflow.proto.DataType;
import org.tensorflow.proto.GraphDef;
import org.tensorflow.proto.NodeDef;
import org.tensorflow.proto.TensorProto;
import org.tensorflow.proto.TensorShapeProto;

final class GraphCheckTest {
    private static final String INPUT = "inputs/x_sample";
    private static final String OUTPUT = "linear_regression/add";

    private static AttrValue type(DataType type) {
        return AttrValue.newBuilder().setType(type).build();
    }

    private static TensorShapeProto shape(long... dims) {
        var shape = TensorShapeProto.newBuilder();
        for (long dim : dims) {
            shape.addDimBuilder().setSize(dim);
        }
        return shape.build();
    }

    private static TensorProto.Builder doubles(TensorShapeProto shape, Double... values) {
        return TensorProto.newBuilder().setDtype(DataType.DT_DOUBLE).setTensorShape(shape).addAllDoubleVal(List.of(values));
    }

    private static NodeDef placeholder(String name, long... dims) {
        return NodeDef.newBuilder().setName(name).setOp("Placeholder").putAttr("dtype", type(DataType.DT_DOUBLE))
                .putAttr("shape", AttrValue.newBuilder().setShape(shape(dims)).build()).build();
    }

    private static NodeDef constant(String name, TensorProto.Builder tensor) {
        return NodeDef.newBuilder().setName(name).setOp("Const")
                .putAttr("dtype", AttrValue.newBuilder().setTypeValue(tensor.getDtypeValue()).build())
                .putAttr("value", AttrValue.newBuilder().setTensor(tensor).build()).build();
    }

    private static NodeDef node(String op, String name, String... inputs) {
        return NodeDef.newBuilder().setName(name).setOp(op).addAllInput(List.of(inputs))
                .putAttr("T", type(DataType.DT_DOUBLE)).build();
    }

    /** A frozen graph: y = 1.5x - 3, named as the contract names it. */
    private static GraphDef.Builder line() {
        var graphDef = GraphDef.newBuilder()
                .addNode(placeholder(INPUT, -1, -1))
                .addNode(constant("slope", doubles(shape(), 1.5)))
                .addNode(node("Mul", "linear_regression/mul", INPUT, "slope"))
                .addNode(constant("intercept", doubles(shape(), -3.0)))
                .addNode(node("AddV2", OUTPUT, "linear_regression/mul", "intercept"));
        graphDef.getVersionsBuilder().setProducer(24); // in older ones a placeholder's shape [] is an unknown one
        return graphDef;
    }

    private static GraphDef.Builder with(NodeDef... nodes) {
        return line().addAllNode(List.of(nodes));
    }

    private static void expect(String words, Runnable check) {
        String said = "";
        try {
            check.run();
        } catch (ModelError e) {
            said = e.getMessage();
        }
        assertEquals(words, said);
    }

    private static void checked(String words, GraphDef.Builder graphDef) {
        expect(words, () -> GraphCheck.checkGraph(graphDef.build(), GraphCheck.OPERATIONS));
    }

    private static GraphDef.Builder chain(int length) {
        var graphDef = GraphDef.newBuilder().addNode(placeholder("n1"));
        for (int i = 2; i <= length; i++) {
            graphDef.addNode(node("Identity", "n" + i, "n" + (i - 1)));
        }
        return graphDef;
    }

    @Test
    void graphs() {
        checked("", line());
        checked("operation not allowed: WriteFile in node bad (--allow-op WriteFile accepts it, --trust accepts all)",
                with(node("WriteFile", "bad")));
        checked("refused graph: it has 0 nodes (1 to 20000 are accepted)", GraphDef.newBuilder());
        checked("refused graph: it has 20001 nodes (1 to 20000 are accepted)",
                GraphDef.newBuilder().addAllNode(Collections.nCopies(20_001, NodeDef.getDefaultInstance())));
        var library = line();
        library.getLibraryBuilder().addFunctionBuilder().getSignatureBuilder().setName("f");
        checked("refused graph: it has a function library, as all that tf.saved_model.save writes have "
                + "(--trust accepts it, for a model you made yourself)", library);
        checked("", chain(1000));
        checked("refused graph: a chain of more than 1000 nodes leads to node n1001", chain(1001));
        var itself = line();
        itself.getNodeBuilder(2).setInput(1, OUTPUT);
        checked("refused graph: node linear_regression/mul depends on a cycle", itself);
        checked("refused graph: node sum has more than 1000 inputs",
                with(node("AddN", "sum", Collections.nCopies(1001, "slope").toArray(new String[0]))));
        checked("refused graph: its nodes have more than 100000 inputs together",
                with(node("NoOp", "init", Collections.nCopies(100_001, "^slope").toArray(new String[0]))));
        checked("refused graph: two nodes are named slope", with(node("NoOp", "slope")));
        checked("refused graph: the input elsewhere:1 of node n is not in it", with(node("Neg", "n", "elsewhere:1")));
        checked("refused graph: node r takes a shape or an axis from node inputs/x_sample, no Const",
                with(node("Reshape", "r", "slope", INPUT)));
        checked("", with(node("ConcatV2", "r", INPUT, "slope", "slope")));
        checked("refused graph: node r takes a shape or an axis from node inputs/x_sample, no Const",
                with(node("ConcatV2", "r", "slope", "slope", INPUT, "^slope")));
        for (long size : new long[] {-1, 1024, 1025}) {
            var window = node("Conv2D", "w").toBuilder();
            window.putAttr("dilations", AttrValue.newBuilder()
                    .setList(AttrValue.ListValue.newBuilder().addI(1).addI(size)).build());
            checked(size == 1024 ? "" : "refused graph: dilations of node w are not all from 0 to 1024", with(window.build()));
        }
    }

    private static void constantIs(String words, TensorProto.Builder tensor) {
        checked(words.isEmpty() ? "" : "refused graph: Const c " + words, with(constant("c", tensor)));
    }

    @Test
    void constants() {
        var mistyped = constant("c", doubles(shape(), 1.0)).toBuilder().putAttr("dtype", type(DataType.DT_FLOAT)).build();
        checked("refused graph: Const c holds float64, its dtype is float32", with(mistyped));
        checked("refused graph: Const c is of type the unknown type 0", with(node("Const", "c")));
        constantIs("is of type resource", TensorProto.newBuilder().setDtype(DataType.DT_RESOURCE));
        constantIs("is of type float32_ref", TensorProto.newBuilder().setDtypeValue(101));
        constantIs("is of type the unknown type 999", TensorProto.newBuilder().setDtypeValue(999));
        constantIs("has no definite shape",
                doubles(TensorShapeProto.newBuilder().setUnknownRank(true).build(), 1.0));
        constantIs("has no definite shape", doubles(shape(-1), 1.0));
        checked("refused graph: Const 100%d has no definite shape", with(constant("100%d", doubles(shape(-1), 1.0))));
        long[] deep = new long[255];
        Arrays.fill(deep, 1);
        constantIs("has 255 dimensions (at most 254)", doubles(shape(deep), 1.0));
        constantIs("", doubles(shape(1024, 1024), 1.0));
        constantIs("holds 1 of 1049600 elements", doubles(shape(1024, 1025), 1.0));
        constantIs("holds 0 of 21267647932558653966460912964485513216 elements", doubles(shape(1L << 62, 1L << 62)));
        constantIs("holds 2 of 1 elements", doubles(shape(1), 1.0, 2.0));
        constantIs("", doubles(shape(2)).setTensorContent(ByteString.copyFrom(new byte[16])));
        constantIs("holds 12 bytes for 2 elements", doubles(shape(2)).setTensorContent(ByteString.copyFrom(new byte[12])));
        constantIs("holds 1 of 2 elements", TensorProto.newBuilder().setDtype(DataType.DT_STRING).setTensorShape(shape(2))
                .addStringVal(ByteString.EMPTY));
        String notFinite = "holds a value that is not finite";
        constantIs(notFinite, doubles(shape(1), Double.NaN));
        constantIs(notFinite, doubles(shape(1), Double.NEGATIVE_INFINITY));
        constantIs(notFinite, TensorProto.newBuilder().setDtype(DataType.DT_FLOAT).setTensorShape(shape(1))
                .setTensorContent(ByteString.copyFrom(new byte[] {0, 0, (byte) 0x80, 0x7f})));
        constantIs(notFinite, TensorProto.newBuilder().setDtype(DataType.DT_HALF).setTensorShape(shape(1)).addHalfVal(0x7c00));
        constantIs(notFinite, TensorProto.newBuilder().setDtype(DataType.DT_BFLOAT16).setTensorShape(shape(1))
                .setTensorContent(ByteString.copyFrom(new byte[] {(byte) 0xc0, 0x7f})));
    }

    private static void checkFeed(GraphDef graphDef, String input, String output) {
        var placeholder = GraphCheck.findPlaceholder(graphDef, input);
        long[] shape = Rows.feedShape(GraphCheck.placeholderDims(placeholder), 4, placeholder.getName());
        GraphCheck.checkOutput(graphDef, output, Set.of(placeholder.getName()));
        GraphCheck.checkShapes(graphDef, Map.of(placeholder.getName(), shape), output, false);
    }

    private static void fed(String words, GraphDef.Builder graphDef, String input, String output) {
        expect(words, () -> checkFeed(graphDef.build(), input, output));
    }

    @Test
    void names() {
        fed("", line(), INPUT, OUTPUT);
        fed("", line(), INPUT + ":0", OUTPUT + ":0");
        fed("no such input: x (the model has: inputs/x_sample)", line(), "x", OUTPUT);
        fed("no such input: inputs/x_sample:1 (the model has: inputs/x_sample)", line(), INPUT + ":1", OUTPUT);
        fed("no such input: x (the model has: none)", GraphDef.newBuilder().addNode(line().getNode(1)), "x", OUTPUT);
        var integer = line();
        integer.getNodeBuilder(0).putAttr("dtype", type(DataType.DT_INT32));
        fed("refused graph: the placeholder inputs/x_sample is of type int32, not float64 or float32", integer, INPUT, OUTPUT);
        fed("no such output: linear_regresion/add (the nearest: linear_regression/add, linear_regression/mul, inputs/x_sample)",
                line(), INPUT, "linear_regresion/add");
        fed("no such output: slope:1 (slope has 1)", line(), INPUT, "slope:1");
        fed("no such output: slope:x (slope has 1)", line(), INPUT, "slope:x");
        var other = with(placeholder("keep_prob"));
        other.getNodeBuilder(4).setInput(1, "keep_prob");
        fed("no value for the placeholder: keep_prob (give --feed keep_prob=...)", other, INPUT, OUTPUT);
        fed("refused graph: node save would write a file when the model is used",
                with(node("SaveV2", "save")), INPUT, "save");
    }

    @Test
    void shapes() {
        var splats = with(constant("column", doubles(shape(16384, 1), 1.0)), constant("row", doubles(shape(1, 16385), 1.0)),
                node("Mul", "broadcast", "column", "row"));
        fed("refused graph: the output of node broadcast has 268451840 elements (at most 16777216)", splats, INPUT, OUTPUT);
        GraphCheck.checkShapes(splats.build(), Map.of(INPUT, new long[] {1, 1}), OUTPUT, true);
        List<NodeDef> many = new ArrayList<>();
        for (int i = 0; i < 65; i++) {
            many.add(constant("c" + i, doubles(shape(1024, 1024), (double) i)));
        }
        String[] names = many.stream().map(NodeDef::getName).toArray(String[]::new);
        many.add(node("AddN", "sum", names).toBuilder().putAttr("N", AttrValue.newBuilder().setI(65).build()).build());
        var sum = line().addAllNode(many);
        fed("refused graph: its outputs have 69206016 elements together (at most 67108864)", sum, INPUT, "sum");
        fed("", sum, INPUT, OUTPUT); // not used
        var text = constant("text", TensorProto.newBuilder().setDtype(DataType.DT_STRING).addStringVal(ByteString.EMPTY));
        fed("refused graph: the output text is of type string, not of numbers or bool", with(text), INPUT, "text");
    }

    private static int rowsARun(GraphDef.Builder graphDef, long[] dims, long[] row, String output) {
        graphDef.setNode(0, placeholder(INPUT, dims));
        return GraphCheck.rowsARun(graphDef.build(), INPUT, Map.of(INPUT, row), output, false);
    }

    @Test
    void rowsInOneRun() {
        assertEquals(4096, rowsARun(line(), new long[] {-1, -1}, new long[] {1, 1}, OUTPUT));
        assertEquals(409, rowsARun(line(), new long[] {-1, 10}, new long[] {1, 10}, OUTPUT));
        assertEquals(1, rowsARun(line(), new long[] {-1, 5000}, new long[] {1, 5000}, OUTPUT));
        assertEquals(1, rowsARun(line(), new long[] {}, new long[] {}, OUTPUT));
        assertEquals(1, rowsARun(line(), new long[] {1, -1}, new long[] {1, 1}, OUTPUT));
        var axes = TensorProto.newBuilder().setDtype(DataType.DT_INT32).setTensorShape(shape(2)).addIntVal(0).addIntVal(1);
        var total = with(node("Sum", "total", INPUT, "axes"), constant("axes", axes));
        assertEquals(1, rowsARun(total, new long[] {-1, -1}, new long[] {1, 1}, "total"), "a result for the batch is none a row");
    }

    private static String said(Path path) {
        try {
            ModelFile.readFrozenGraph(path.toString(), INPUT, OUTPUT, List.of(), false);
            return "";
        } catch (ModelError | IOException e) {
            return Terminal.oneLine(e).replace(path.getParent().toString(), "DIR");
        }
    }

    @Test
    void files(@TempDir Path folder) throws Exception {
        Path path = folder.resolve("model.pb");
        Path sums = folder.resolve("SHA256SUMS");
        byte[] data = line().build().toByteArray();
        Files.write(path, data);
        assertEquals("", said(path));
        var digest = HexFormat.of().withUpperCase()
                .formatHex(MessageDigest.getInstance("SHA-256").digest(data));
        Files.writeString(sums, "0".repeat(64) + "  other.pb\n" + digest + " *model.pb\n");
        assertEquals("", said(path));
        for (int i = 0; i < data.length; i += 7) {
            byte[] changed = data.clone();
            changed[i] ^= 4;
            Files.write(path, changed);
            assertEquals("digest mismatch: DIR/model.pb is not the file that SHA256SUMS lists (freeze it again)", said(path));
        }
        Files.delete(sums);
        Files.write(path, Arrays.copyOf(data, data.length / 2));
        assertTrue(said(path).startsWith("not a GraphDef: DIR/model.pb: "), said(path));
        Files.write(path, new byte[0]);
        assertEquals("not a usable model file: DIR/model.pb is empty", said(path));
        try (var file = new RandomAccessFile(path.toFile(), "rw")) {
            file.setLength(3L << 30); // sparse
        }
        assertEquals("not a usable model file: DIR/model.pb is larger than 256 MiB (--trust lifts the limit)", said(path));
        Files.delete(path);
        assertEquals("No such file or directory: DIR/model.pb", said(path));
    }

    /** A cut or changed file is refused or parsed; nothing else comes out of the checks than an error with words. */
    @Test
    void everyLengthAndEveryByte() {
        byte[] data = line().build().toByteArray();
        List<byte[]> changed = new ArrayList<>();
        for (int i = 0; i < data.length; i++) {
            changed.add(Arrays.copyOf(data, i));
            for (int mask : new int[] {1, 2, 16, 128, 255}) {
                byte[] flipped = data.clone();
                flipped[i] ^= (byte) mask;
                changed.add(flipped);
            }
        }
        int accepted = 0;
        for (byte[] candidate : changed) {
            try {
                GraphDef graphDef = GraphCheck.parse(GraphDef.newBuilder(), candidate, "model.pb").build();
                GraphCheck.checkGraph(graphDef, GraphCheck.OPERATIONS);
                checkFeed(graphDef, INPUT, OUTPUT);
                accepted++;
            } catch (ModelError e) {
                assertTrue(e.getMessage().length() > 0);
            }
        }
        assertTrue(accepted > 0 && accepted < changed.size() / 2, "most changes are seen; a digest sees them all");
    }
}
