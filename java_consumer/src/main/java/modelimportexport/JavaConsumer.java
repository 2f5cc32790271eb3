package modelimportexport;

import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.tensorflow.Graph;
import org.tensorflow.Output;
import org.tensorflow.RawTensor;
import org.tensorflow.Result;
import org.tensorflow.SavedModelBundle;
import org.tensorflow.Session;
import org.tensorflow.Tensor;
import org.tensorflow.ndarray.Shape;
import org.tensorflow.ndarray.buffer.DataBuffers;
import org.tensorflow.proto.ConfigProto;
import org.tensorflow.proto.DataType;
import org.tensorflow.proto.NodeDef;
import org.tensorflow.types.TFloat32;
import org.tensorflow.types.TFloat64;
import picocli.CommandLine.Command;
import picocli.CommandLine.Help;
import picocli.CommandLine.Option;

/**
 * Loads a trained model and calculates with it: y = slope * x + intercept, or what a model of your own does.
 *
 * <pre>java -jar java_consumer/target/java_consumer.jar</pre>
 *
 * Reads a frozen graph (default: frozen_graphs/frozen_linear_regression.pb) or the folder of a SavedModel.
 */
@Command(name = "java_consumer", sortOptions = false, showDefaultValues = true, usageHelpAutoWidth = true,
        description = "Loads a trained model and calculates with it: y = slope * x + intercept, or what a model of your own does.%n")
public final class JavaConsumer {
    private static final String INPUT = "inputs/x_sample";
    private static final String OUTPUT = "linear_regression/add";

    @Option(names = "--model", paramLabel = "PATH", defaultValue = "frozen_graphs/frozen_linear_regression.pb",
            description = "a frozen graph (.pb) or a SavedModel's folder")
    private String model;

    @Option(names = "--input", paramLabel = "NAME",
            description = "operation or tensor, of a SavedModel its signature's key; else the default is " + INPUT)
    private String input;

    @Option(names = "--output", paramLabel = "NAME", description = "likewise; the default is " + OUTPUT)
    private String output;

    @Option(names = "--tag", paramLabel = "NAME", defaultValue = "serve", description = "of a SavedModel")
    private String tag;

    @Option(names = "--signature", paramLabel = "NAME", defaultValue = "serving_default", description = "of a SavedModel")
    private String signature;

    @Option(names = "--x", paramLabel = "LIST", defaultValue = "0,1,-1,2", description = "comma-separated numbers")
    private String x;

    @Option(names = "--stdin", description = "rows of numbers from standard input, a result line each")
    private boolean stdin;

    @Option(names = "--feed", paramLabel = "NAME=LIST", showDefaultValue = Help.Visibility.NEVER,
            description = "a further placeholder; repeatable")
    private List<Arguments.Pair> feeds = new ArrayList<>();

    @Option(names = "--allow-op", paramLabel = "OP", showDefaultValue = Help.Visibility.NEVER,
            description = "accept one more operation type; repeatable")
    private List<String> allowOps = new ArrayList<>();

    @Option(names = "--trust", description = "accept any graph, of a model you made yourself")
    private boolean trust;

    @Option(names = "--list", description = "print what the model has, and stop")
    private boolean list;

    @Option(names = {"-h", "--help"}, usageHelp = true, description = "show this and exit")
    private boolean help;

    /** Reads the model and checks it, before TensorFlow runs any of it. */
    private ModelFile.Model checkModel() throws IOException {
        if (ModelFile.kindOf(model) == ModelFile.Kind.SAVED_MODEL) {
            return ModelFile.readSavedModel(model, List.of(tag.split(",", -1)), signature, input, output, allowOps, trust);
        }
        String source = input == null ? INPUT : input;
        String target = output == null ? OUTPUT : output;
        return ModelFile.readFrozenGraph(model, source, target, allowOps, trust);
    }

    /**
     * Turns the numbers of the command line into arrays of the placeholders' types and shapes, by the placeholders' names. The
     * input's is a row of zeros where --stdin will bring it.
     */
    private Map<String, Rows.Array> feed(ModelFile.Model model) {
        record Text(String name, String list, String flag) {}
        List<Text> texts = new ArrayList<>(List.of(new Text(model.input(), x, "--x")));
        for (Arguments.Pair pair : feeds) {
            String name = model.keys().getOrDefault(pair.name(), pair.name());
            texts.add(new Text(name, pair.value(), "--feed " + pair.name()));
        }
        Map<String, Rows.Array> arrays = new LinkedHashMap<>();
        for (Text text : texts) {
            NodeDef placeholder = GraphCheck.findPlaceholder(model.graphDef(), text.name());
            String name = placeholder.getName();
            DataType type = GraphCheck.typeOf(placeholder);
            long[] dims = GraphCheck.placeholderDims(placeholder);
            if (arrays.containsKey(name)) {
                throw new ModelError("fed twice: %s in %s", name, text.flag());
            }
            if (stdin && text.flag().equals("--x")) {
                arrays.put(name, Rows.zeros(type, Rows.rowShape(dims)));
            } else {
                Rows.Array numbers = Rows.parseNumbers(text.list(), type, " in " + text.flag());
                long[] shape = Rows.feedShape(dims, numbers.size(), name);
                arrays.put(name, new Rows.Array(type, shape, numbers.contents()));
            }
        }
        GraphCheck.checkOutput(model.graphDef(), model.output(), arrays.keySet());
        return arrays;
    }

    /** A graph in a session, and its output: the type that it has, and the tensor to fetch. */
    record Loaded(Graph graph, Session session, DataType type, Output<?> fetch) implements AutoCloseable {
        private static Loaded of(Graph graph, Session session, String output) {
            Output<?> tensor = GraphCheck.findOutput(graph, output);
            // Java has no tensors of some types: their bytes are fetched as another's of the same size.
            DataType readable = switch (tensor.dataType()) {
                case DT_INT8 -> DataType.DT_UINT8;
                case DT_INT16 -> DataType.DT_UINT16;
                case DT_UINT32 -> DataType.DT_INT32;
                case DT_UINT64 -> DataType.DT_INT64;
                default -> tensor.dataType();
            };
            if (readable == tensor.dataType()) {
                return new Loaded(graph, session, readable, tensor);
            }
            var bits = graph.opBuilder("Bitcast", "java_consumer_bits", graph.baseScope());
            Output<?> fetch = bits.addInput(tensor).setAttr("type", readable).build().output(0);
            return new Loaded(graph, session, tensor.dataType(), fetch);
        }

        @Override
        public void close() {
            session.close();
            graph.close();
        }
    }

    /** Loads the graph, and the values of its variables if it has some, into a session. */
    static Loaded loadGraph(ModelFile.Model model) {
        // All operations run in this thread: a small graph is faster so, and the same numbers give the same bits (the
        // threads of TensorFlow's pool flush subnormal numbers to zero).
        ConfigProto config = ConfigProto.newBuilder()
                .setInterOpParallelismThreads(-1)
                .setIntraOpParallelismThreads(1)
                .setAllowSoftPlacement(true)
                .build();
        if (model.kind() == ModelFile.Kind.SAVED_MODEL) {
            String[] tags = model.metaGraph().getMetaInfoDef().getTagsList().toArray(new String[0]);
            SavedModelBundle bundle;
            try {
                bundle = SavedModelBundle.loader(model.path()).withTags(tags).withConfigProto(config).load();
            } catch (RuntimeException e) { // TensorFlow's errors have no other type in common
                throw new ModelError("cannot load: %s: %s", model.path(), e.getMessage());
            }
            return Loaded.of(bundle.graph(), bundle.session(), model.output());
        }
        Graph graph = GraphCheck.importGraph(model.graphDef());
        return Loaded.of(graph, new Session(graph, config), model.output());
    }

    /** Feeds the placeholders and fetches the output. */
    static Rows.Array run(Loaded loaded, ModelFile.Model model, Map<String, Rows.Array> arrays) {
        Session.Runner runner = loaded.session().runner().fetch(loaded.fetch());
        List<Tensor> feeds = new ArrayList<>();
        try {
            arrays.forEach((name, array) -> {
                feeds.add(tensor(array));
                runner.feed(loaded.graph().operation(name).output(0), feeds.get(feeds.size() - 1));
            });
            // What a Result held is gone once it is closed: the numbers are copied out before.
            try (Result result = runner.run()) {
                RawTensor tensor = result.get(0).asRawTensor();
                byte[] contents = new byte[Math.toIntExact(tensor.numBytes())];
                tensor.data().read(contents);
                return new Rows.Array(loaded.type(), tensor.shape().asArray(), contents);
            }
        } catch (RuntimeException e) {
            throw new ModelError("cannot calculate: %s: %s",
                    model.output().contains(":") ? model.output() : model.output() + ":0", e.getMessage());
        } finally {
            feeds.forEach(Tensor::close);
        }
    }

    private static Tensor tensor(Rows.Array array) {
        var type = array.type() == DataType.DT_FLOAT ? TFloat32.class : TFloat64.class;
        return Tensor.of(type, Shape.of(array.shape()), DataBuffers.of(array.contents(), true, false));
    }

    /** Prints the results of --x. */
    private static void printResults(
            OutputStream standardOutput, Loaded loaded, ModelFile.Model model, Map<String, Rows.Array> arrays)
            throws IOException {
        Rows.writeResults(standardOutput, run(loaded, model, arrays));
    }

    /** Reads the rows of standard input and prints the results of each on a line. */
    private static void streamResults(
            OutputStream standardOutput, Loaded loaded, ModelFile.Model model, Map<String, Rows.Array> arrays, int batch)
            throws IOException {
        String name = GraphCheck.operationName(model.input());
        Rows.Array row = arrays.get(name);
        Rows.Run runRows = (contents, n) -> {
            long[] shape = row.shape().clone();
            if (batch > 1) {
                shape[0] = n;
            }
            Map<String, Rows.Array> fed = new HashMap<>(arrays);
            fed.put(name, new Rows.Array(row.type(), shape, contents));
            Rows.Array results = run(loaded, model, fed);
            if (batch > 1 && (results.shape().length == 0 || results.shape()[0] != n)) {
                throw new ModelError("not a result a row: %s has the shape %s for %d rows",
                        model.output(), Rows.shapeText(results.shape()), n);
            }
            return results;
        };
        Rows.stream(Terminal.standardInput(), standardOutput, runRows, row, name, batch);
    }

    private void consume() throws IOException {
        OutputStream standardOutput = Terminal.standardOutput();

        // The checks come first: importing some graphs is enough to end the process.
        ModelFile.Model model = checkModel();
        if (list) {
            String lines = String.join("\n", ModelFile.describe(model)) + "\n";
            standardOutput.write(lines.getBytes(StandardCharsets.UTF_8));
            return;
        }
        Map<String, Rows.Array> arrays = feed(model);
        Map<String, long[]> shapes = new HashMap<>();
        arrays.forEach((name, array) -> shapes.put(name, array.shape()));
        String name = GraphCheck.operationName(model.input());
        int batch = 1;
        if (stdin) {
            batch = GraphCheck.rowsARun(model.graphDef(), name, shapes, model.output(), trust);
        } else {
            GraphCheck.checkShapes(model.graphDef(), shapes, model.output(), trust);
        }

        try (Loaded loaded = loadGraph(model)) {
            if (stdin) {
                streamResults(standardOutput, loaded, model, arrays, batch);
            } else {
                printResults(standardOutput, loaded, model, arrays);
            }
        }
    }

    /** Runs the program: status 0 when it is done or its reader went away, 1 after an error, 2 for a wrong command line. */
    public static void main(String[] words) {
        Terminal.hideLog();
        int status = 0;
        try {
            var program = new JavaConsumer();
            if (Arguments.parse(program, words)) {
                program.consume();
            }
        } catch (Arguments.Wrong e) {
            Terminal.warn(e);
            status = 2;
        } catch (Throwable e) {
            if (!"Broken pipe".equals(e.getMessage())) {
                Terminal.warn(e);
                status = 1;
            }
        }
        Terminal.exit(status);
    }
}
