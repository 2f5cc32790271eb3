package modelimportexport;

import java.util.*;
import modelimportexport.Rows.Array;
import modelimportexport.Tensors.Fetch;
import modelimportexport.Tensors.Names;
import org.tensorflow.*;
import org.tensorflow.proto.ConfigProto;

/**
 * Loads a trained model and calculates with it: y = slope * x + intercept, or whatever a model of your own does.
 *
 * <pre>java -jar java_consumer/target/java_consumer.jar</pre>
 *
 * Reads a frozen graph (default: frozen_graphs/frozen_linear_regression.pb) or a SavedModel folder.
 */
public final class JavaConsumer {
    private static final String ABOUT = "Loads a trained model and calculates with it: y = slope * x + intercept, "
            + "or whatever a model of your own does.";

    /** A model that TensorFlow may have. */
    record Model(boolean isSavedModel, String path, Names names) {}

    /** A graph in a session, and what it offers to feed and to fetch. */
    record Loaded(Graph graph, Session session, Tensors.Ends ends) {}

    /** Finds the model and makes sure that TensorFlow may have it: it is in the list, or trusted. */
    static Model findModel(Arguments flags) throws Exception {
        var names = new Names(flags.get("--input"), flags.all("--output"), flags.get("--tag"), flags.get("--signature"));
        boolean isSavedModel = ModelFile.isSavedModel(flags.get("--model"));
        ModelFile.requireChecked(flags.get("--model"), flags.has("--trust") ? null : flags.get("--checked"));
        return new Model(isSavedModel, flags.get("--model"), names);
    }

    /** Loads the graph, and the values of its variables if it has any, into a session. */
    static Loaded loadGraph(Model model) throws Exception {
        try {
            if (model.isSavedModel()) {
                String[] tags = model.names().tag().split(",", -1);
                var bundle = SavedModelBundle.loader(model.path()).withTags(tags).withConfigProto(config()).load();
                return new Loaded(bundle.graph(), bundle.session(),
                        Tensors.keysOf(bundle.graph(), bundle.metaGraphDef(), model.names().signature()));
            }
            var graphDef = ModelFile.readFrozenGraph(model.path()); // while TensorFlow's library is still loaded
            Graph graph = new Graph();
            graph.importGraphDef(graphDef);
            return new Loaded(graph, new Session(graph, config()), Tensors.endsOf(graph));
        } catch (RuntimeException e) { // the only type that TensorFlow's errors share
            throw e instanceof ModelError ? e : ModelFile.explain(e, model.path(), model.names().tag());
        }
    }

    private static ConfigProto config() {
        // All operations run in the caller's thread. A small graph runs faster that way, and equal numbers give equal bits:
        // the threads of TensorFlow's pool flush subnormal numbers to zero. A GPU that the graph names may be missing.
        return ConfigProto.newBuilder()
                .setInterOpParallelismThreads(-1).setIntraOpParallelismThreads(1).setAllowSoftPlacement(true).build();
    }

    /** Turns the values of the command line into arrays of the placeholders' types and shapes. */
    private static Map<Output<?>, Array> feed(Loaded loaded, Model model, Arguments flags) throws Exception {
        Map<Output<?>, Array> arrays = new LinkedHashMap<>();
        boolean isAsked = flags.has("--stdin") || flags.has("--x") || flags.has("--input");
        if (isAsked || !loaded.ends().inputs().isEmpty()) {
            Output<?> source = loaded.ends().findInput(model.names().input());
            arrays.put(source, flags.has("--stdin") ? null // its rows will bring the array
                    : Rows.makeFeed(Tensors.placeholderOf(source), flags.get("--x"), "--x"));
        }
        for (String feed : flags.all("--feed")) {
            String name = feed.split("=", 2)[0];
            Output<?> tensor = loaded.ends().findInput(name);
            if (arrays.containsKey(tensor)) {
                throw new ModelError("fed twice: %s in --feed %s", name, name);
            }
            arrays.put(tensor, Rows.makeFeed(Tensors.placeholderOf(tensor), feed.split("=", 2)[1], "--feed " + name));
        }
        return arrays;
    }

    /** Feeds the placeholders and fetches the outputs. */
    static List<Array> run(Loaded loaded, List<Fetch> outputs, Map<Output<?>, Array> arrays) {
        // TensorFlow fetches no output twice and none that is fed, which is its own result.
        List<Output<?>> fetches = new ArrayList<>();
        for (Fetch output : outputs) {
            if (!arrays.containsKey(output.tensor()) && !fetches.contains(output.tensor())) {
                fetches.add(output.tensor());
            }
        }
        Session.Runner runner = loaded.session().runner();
        fetches.forEach(runner::fetch);
        List<Tensor> feeds = new ArrayList<>();
        try {
            for (var fed : arrays.entrySet()) {
                feeds.add(Tensors.toTensor(fed.getValue()));
                runner.feed(fed.getKey(), feeds.get(feeds.size() - 1));
            }
            List<Array> results = new ArrayList<>();
            // A Result's tensors are gone once it is closed, so the values are copied first.
            try (Result result = fetches.isEmpty() ? null : runner.run()) {
                for (Fetch output : outputs) {
                    int place = fetches.indexOf(output.tensor());
                    results.add(place < 0 ? arrays.get(output.tensor())
                            : Tensors.toArray(result.get(place), output.type()));
                }
            }
            return results;
        } catch (RuntimeException e) { // the only type that TensorFlow's errors share
            throw Tensors.explain(e, outputs);
        } finally {
            feeds.forEach(Tensor::close);
        }
    }

    /** Prints the results of --x, or saves them. */
    private static void printResults(Loaded loaded, Model model, Map<Output<?>, Array> arrays, Arguments flags)
            throws Exception {
        List<String> names = model.names().wanted();
        List<Array> results = run(loaded, names.stream().map(loaded.ends()::findOutput).toList(), arrays);
        if (flags.has("--save")) {
            Npy.save(flags.get("--save"), results.get(0));
            return;
        }
        for (int i = 0; i < results.size(); i++) {
            Rows.writeResults(Terminal.standardOutput(), results.get(i), names.size() > 1 ? names.get(i) : "");
        }
    }

    /** Reads the rows of standard input and prints the results of each on a line. */
    private static void streamResults(Loaded loaded, Model model, Map<Output<?>, Array> arrays, Arguments flags)
            throws Throwable {
        Output<?> source = loaded.ends().findInput(model.names().input());
        Fetch output = loaded.ends().findOutput(model.names().wanted().get(0));
        Rows.Placeholder row = Tensors.placeholderOf(source);
        Integer asked = flags.has("--batch") ? Integer.valueOf(flags.get("--batch")) : null;
        int batch = Rows.batchRows(row, output.shape(), asked, Terminal::isInteractive);
        new RowStream(row, batch, values -> {
            Map<Output<?>, Array> fed = new LinkedHashMap<>(arrays);
            fed.put(source, values);
            return run(loaded, List.of(output), fed).get(0);
        }, Terminal.standardOutput()).answer(Terminal.standardInput());
    }

    private static Arguments describeArguments() {
        return new Arguments("java_consumer", ABOUT, "java_consumer --x 0.5,10",
                "java_consumer --model cnn.pb --x images.npy --save classes.npy", "seq 10 | java_consumer --stdin")
                .add("--model", "PATH", "load the frozen graph or SavedModel PATH", ModelFile.FROZEN)
                .add("--input", "NAME", "feed NAME: an operation, tensor or signature key (default: the only input)", null)
                .add("--output", "NAME", "fetch NAME (default: the only one); repeatable", null)
                .add("--tag", "NAME", "load the graph of a SavedModel that has the tag NAME", "serve")
                .add("--signature", "NAME", "use the signature NAME of a SavedModel", "serving_default")
                .add("--x", "VALUES", "feed comma-separated VALUES, or a file NAME.npy", "0,1,-1,2")
                .add("--feed", "NAME=VALUES", "feed a further input; repeatable", null)
                .add("--stdin", "read rows from standard input and print one result per row")
                .add("--batch", "N", "run N rows of --stdin at once (default: 4096 numbers)", null)
                .add("--save", "FILE.npy", "write the result with its shape to FILE.npy, print nothing", null)
                .add("--checked", "FILE", "look up the model's digests in FILE", ModelFile.CHECKED)
                .add("--trust", "load a model that is not in the list: one you made yourself");
    }

    private static void consume(String[] words) throws Throwable {
        Arguments flags = describeArguments();
        if (!flags.parse(words)) {
            return;
        }
        Model model = findModel(flags);
        Loaded loaded = loadGraph(model);
        Map<Output<?>, Array> arrays = feed(loaded, model, flags);
        if (flags.has("--stdin")) {
            streamResults(loaded, model, arrays, flags);
        } else {
            printResults(loaded, model, arrays, flags);
        }
    }

    /** Runs the program. */
    public static void main(String[] words) {
        Terminal.run("java_consumer", () -> consume(words));
    }
}
