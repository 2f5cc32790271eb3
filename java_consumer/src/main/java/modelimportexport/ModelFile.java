package modelimportexport;

import java.io.IOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.regex.Pattern;
import org.tensorflow.Graph;
import org.tensorflow.GraphOperation;
import org.tensorflow.Output;
import org.tensorflow.TensorFlow;
import org.tensorflow.ndarray.Shape;
import org.tensorflow.proto.GraphDef;
import org.tensorflow.proto.MetaGraphDef;
import org.tensorflow.proto.SavedModel;
import org.tensorflow.proto.SignatureDef;
import org.tensorflow.proto.TensorInfo;

/**
 * Reads a model's files: a frozen graph or a SavedModel. What is read has passed checks 1 to 3 of {@link GraphCheck}, so
 * that TensorFlow may have it.
 */
public final class ModelFile {
    /** The kinds of model that this program reads. */
    public enum Kind { FROZEN_GRAPH, SAVED_MODEL }

    /**
     * A model whose files were read and checked.
     *
     * @param path the frozen graph or the SavedModel's folder
     * @param metaGraph of a SavedModel, else null
     * @param input the tensor or operation to feed
     * @param output the tensor or operation to fetch
     * @param keys of a SavedModel, the signature's input keys and their tensor names
     */
    public record Model(
            Kind kind, String path, GraphDef graphDef, MetaGraphDef metaGraph, String input, String output,
            Map<String, String> keys) {}

    // The names under which a folder can hold a SavedModel, in the order in which the loader looks for them.
    private static final List<String> SAVED_MODEL_FILES = List.of("saved_model.cpb", "saved_model.pb", "saved_model.pbtxt");

    private static final Pattern FILE_OF_CHECKPOINT = Pattern.compile("(.+)\\.(?:meta|index|data-\\d{5}-of-\\d{5})");

    private ModelFile() {}

    /**
     * Tells of which kind the model at a path is.
     *
     * @throws ModelError there is nothing, or a checkpoint
     */
    public static Kind kindOf(String path) throws IOException {
        if (savedModelFile(path) != null) {
            return Kind.SAVED_MODEL;
        }
        if (holdsCheckpoint(path) || FILE_OF_CHECKPOINT.matcher(path).matches() && Files.exists(Path.of(path))) {
            throw new ModelError("not a frozen graph or SavedModel: %s (it holds Saver checkpoints; freeze one with "
                    + "./freeze_graph_linear_regression.sh)", path);
        }
        if (!Files.exists(Path.of(path))) {
            throw new ModelError(
                    "no model: %s (run ./freeze_graph_linear_regression.sh first, or give --model)", path);
        }
        if (Files.isDirectory(Path.of(path))) {
            throw new ModelError("not a usable model file: %s is not a regular file", path);
        }
        return Kind.FROZEN_GRAPH;
    }

    private static String savedModelFile(String folder) {
        return SAVED_MODEL_FILES.stream()
                .map(name -> Path.of(folder, name))
                .filter(Files::exists)
                .findFirst()
                .map(Path::toString)
                .orElse(null);
    }

    private static boolean holdsCheckpoint(String path) throws IOException {
        if (Files.exists(Path.of(path + ".index")) || Files.exists(Path.of(path + ".meta"))
                || Files.exists(Path.of(path, "checkpoint"))) {
            return true;
        }
        if (!Files.isDirectory(Path.of(path))) {
            return false;
        }
        try (DirectoryStream<Path> indexes = Files.newDirectoryStream(Path.of(path), "*.index")) {
            return indexes.iterator().hasNext();
        }
    }

    /**
     * Reads a frozen graph.
     *
     * @throws ModelError it is refused
     * @throws IOException it cannot be read
     */
    public static Model readFrozenGraph(String path, String input, String output, List<String> allow, boolean trust)
            throws IOException {
        Path name = Path.of(path).getFileName();
        if (name != null && SAVED_MODEL_FILES.contains(name.toString())) {
            throw new ModelError("not a GraphDef: %s: it is a SavedModel (give its folder)", path);
        }
        GraphDef graphDef = GraphCheck.parse(GraphDef.newBuilder(), GraphCheck.readFile(path, trust), path).build();
        if (!trust) {
            GraphCheck.checkGraph(graphDef, GraphCheck.with(GraphCheck.OPERATIONS, allow));
        }
        return new Model(Kind.FROZEN_GRAPH, path, graphDef, null, input, output, Map.of());
    }

    /**
     * Reads from a SavedModel's folder the MetaGraphDef that the loader would load for just these tags.
     *
     * @param input key of the signature's; null takes the only one
     * @param output likewise
     * @throws ModelError it is refused; or it has no such tags, signature or key, and then those that it has are listed
     * @throws IOException a file cannot be read
     */
    public static Model readSavedModel(
            String folder, List<String> tags, String signature, String input, String output, List<String> allow,
            boolean trust) throws IOException {
        String path = savedModelFile(folder);
        if (path.endsWith(".cpb")) {
            throw new ModelError("not a usable model file: %s is a SavedModel in chunks, which nothing here checks", path);
        }
        SavedModel savedModel =
                GraphCheck.parse(SavedModel.newBuilder(), GraphCheck.readFile(path, trust), path).build();
        MetaGraphDef metaGraph = findTags(savedModel, tags);
        if (!trust) {
            GraphCheck.checkGraph(metaGraph.getGraphDef(), GraphCheck.with(GraphCheck.SAVED_MODEL_OPERATIONS, allow));
            GraphCheck.checkLoading(metaGraph, folder);
        }
        if (!metaGraph.containsSignatureDef(signature)) {
            throw new ModelError("no such signature: %s (the model has: %s)",
                    signature, GraphCheck.orNone(GraphCheck.sorted(metaGraph.getSignatureDefMap())));
        }
        SignatureDef signatureDef = metaGraph.getSignatureDefOrThrow(signature);
        Map<String, String> keys = new HashMap<>();
        signatureDef.getInputsMap().forEach((key, tensor) -> keys.put(key, tensor.getName()));
        return new Model(Kind.SAVED_MODEL, folder, metaGraph.getGraphDef(), metaGraph,
                find(signatureDef.getInputsMap(), input, "input"), find(signatureDef.getOutputsMap(), output, "output"), keys);
    }

    private static MetaGraphDef findTags(SavedModel savedModel, List<String> tags) {
        List<String> present = new ArrayList<>();
        for (MetaGraphDef metaGraph : savedModel.getMetaGraphsList()) {
            List<String> its = metaGraph.getMetaInfoDef().getTagsList();
            if (Set.copyOf(its).equals(Set.copyOf(tags))) {
                return metaGraph;
            }
            present.add(String.join(",", its));
        }
        throw new ModelError("no such tag: %s (the model has: %s)", String.join(",", tags), String.join("; ", present));
    }

    private static String find(Map<String, TensorInfo> tensors, String key, String kind) {
        String wanted = key == null && tensors.size() == 1 ? tensors.keySet().iterator().next() : key;
        if (wanted == null || !tensors.containsKey(wanted)) {
            throw new ModelError("no such %s: %s (the model has: %s)", kind, wanted == null ? "(none given)" : wanted,
                    GraphCheck.orNone(GraphCheck.sorted(tensors)));
        }
        return tensors.get(wanted).getName();
    }

    /** The lines of --list: placeholders, outputs or signatures, operations, versions. */
    public static List<String> describe(Model model) {
        List<String> lines = new ArrayList<>();
        List<String> ends = new ArrayList<>();
        int operations = 0;
        try (Graph graph = GraphCheck.importGraph(model.graphDef())) {
            for (Iterator<GraphOperation> all = graph.operations(); all.hasNext(); operations++) {
                GraphOperation operation = all.next();
                boolean used = false;
                for (int i = 0; i < operation.numOutputs(); i++) {
                    used |= operation.numConsumers(i) > 0;
                }
                if (operation.type().equals("Placeholder")) {
                    lines.add("placeholder: " + describe(operation.output(0)));
                } else if (!used && !operation.type().equals("Const")) {
                    for (int i = 0; i < operation.numOutputs(); i++) {
                        ends.add("output: " + describe(operation.output(i)));
                    }
                }
            }
            if (model.kind() == Kind.FROZEN_GRAPH) {
                lines.addAll(ends);
            } else {
                Map<String, SignatureDef> signatures = model.metaGraph().getSignatureDefMap();
                for (String name : GraphCheck.sorted(signatures)) {
                    lines.add("signature: " + name);
                    describe(lines, graph, "input", signatures.get(name).getInputsMap());
                    describe(lines, graph, "output", signatures.get(name).getOutputsMap());
                }
            }
        }
        lines.add("operations: " + operations);
        lines.add("producer version: " + model.graphDef().getVersions().getProducer());
        lines.add("TensorFlow version: " + TensorFlow.version());
        return lines;
    }

    private static void describe(List<String> lines, Graph graph, String kind, Map<String, TensorInfo> tensors) {
        for (String key : GraphCheck.sorted(tensors)) {
            Output<?> tensor = GraphCheck.findOutput(graph, tensors.get(key).getName());
            lines.add("  %s: %s = %s".formatted(kind, key, describe(tensor)));
        }
    }

    private static String describe(Output<?> tensor) {
        Shape shape = tensor.shape();
        return "%s %s %s".formatted(tensor.op().name(), GraphCheck.typeName(tensor.dataType().getNumber()),
                shape.isUnknown() ? "?" : Rows.shapeText(shape.asArray()));
    }
}
