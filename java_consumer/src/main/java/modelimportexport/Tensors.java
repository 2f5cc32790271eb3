package modelimportexport;

import java.util.*;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import modelimportexport.Rows.Array;
import modelimportexport.Rows.Placeholder;
import modelimportexport.Rows.Type;
import org.tensorflow.*;
import org.tensorflow.internal.c_api.TF_Status;
import org.tensorflow.internal.c_api.TF_Tensor;
import org.tensorflow.internal.c_api.global.tensorflow;
import org.tensorflow.ndarray.Shape;
import org.tensorflow.ndarray.buffer.DataBuffers;
import org.tensorflow.proto.*;
import org.tensorflow.types.TFloat64;
import org.tensorflow.types.TString;
import org.tensorflow.types.TUint8;

/** Finds the tensors of a loaded graph by name: of an operation, of a tensor, or a signature's key. */
public final class Tensors {
    private static final String INPUT = "inputs/x_sample"; // the contract's names
    private static final String OUTPUT = "linear_regression/add";
    private static final int SHOWN = 20; // names in an error
    private static final Pattern NAME = Pattern.compile("([^:]+)(?::([0-9]{1,9}))?");
    private static final Pattern UNFED = Pattern.compile("You must feed a value for placeholder tensor '([^']+)'");

    private Tensors() {}

    /** What the command line says of a model's inputs and outputs. */
    public record Names(String input, List<String> outputs, String tag, String signature) {
        /** The outputs' names; a single null if the user gave none. */
        List<String> wanted() {
            return outputs.isEmpty() ? Collections.singletonList(null) : outputs;
        }
    }

    /** A tensor to fetch: itself, or its bits as another type if Java has no class for its type. */
    public record Fetch(String name, Type type, long[] shape, Output<?> tensor) {}

    /**
     * What a loaded graph offers: the names of its inputs and outputs, each with its tensor's.
     *
     * @param only whether nothing else can be fetched, because they are the keys of a signature
     */
    public record Ends(Graph graph, Map<String, String> inputs, Map<String, String> outputs, boolean only) {
        /** The tensor to feed: the named one, the only input, or the contract's. Throws ModelError. */
        public Output<?> findInput(String name) {
            String wanted = name != null ? name : inputs.size() == 1 ? inputs.keySet().iterator().next() : INPUT;
            return find(inputs, wanted).orElseThrow(
                    () -> new ModelError("no such input: %s (the model has: %s)", wanted, some(inputs.keySet())));
        }

        /** The tensor to fetch: the named one, the only output, or the contract's. Throws ModelError. */
        public Fetch findOutput(String name) {
            String wanted = name != null ? name : outputs.size() == 1 ? outputs.keySet().iterator().next() : OUTPUT;
            Output<?> tensor = find(outputs, wanted).orElseThrow(() -> only
                    ? new ModelError("no such output: %s (the model has: %s)", wanted, some(outputs.keySet()))
                    : new ModelError("no such output: %s (the model ends in: %s; nearest: %s)", wanted,
                            some(outputs.keySet()), some(Arguments.nearest(wanted.split(":", 2)[0], operations()))));
            Type type = typeOf(tensor);
            DataType readable = switch (type) {
                case INT8 -> DataType.DT_UINT8;
                case INT16 -> DataType.DT_UINT16;
                case UINT32 -> DataType.DT_INT32;
                case UINT64 -> DataType.DT_INT64;
                default -> type.dataType;
            };
            Output<?> fetched = readable == type.dataType ? tensor : bits(tensor, readable);
            return new Fetch(tensor.name(), type, shapeOf(tensor), fetched);
        }

        /** The operations that have an output. */
        private List<String> operations() {
            List<String> names = new ArrayList<>();
            graph.operations().forEachRemaining(
                    operation -> names.addAll(operation.numOutputs() > 0 ? List.of(operation.name()) : List.of()));
            return names;
        }

        private Optional<Output<?>> find(Map<String, String> offered, String name) {
            Matcher parts = NAME.matcher(offered.getOrDefault(name, only ? "" : name));
            GraphOperation operation = parts.matches() ? graph.operation(parts.group(1)) : null;
            int index = operation == null || parts.group(2) == null ? 0 : Integer.parseInt(parts.group(2));
            boolean exists = operation != null && index < operation.numOutputs();
            return exists ? Optional.of(operation.output(index)) : Optional.empty();
        }

        private Output<?> bits(Output<?> tensor, DataType type) {
            String name = "java_consumer/" + tensor.op().name() + "_" + tensor.index();
            GraphOperation there = graph.operation(name);
            return there != null ? there.output(0) : graph.opBuilder("Bitcast", name, graph.baseScope())
                    .addInput(tensor).setAttr("type", type).build().output(0);
        }
    }

    private static String some(Collection<String> names) {
        String shown = names.stream().limit(SHOWN).collect(Collectors.joining(", "));
        return names.isEmpty() ? "none" : names.size() > SHOWN ? shown + ", ..." : shown;
    }

    /** A graph's placeholders, and the outputs of the operations whose outputs nothing uses. */
    public static Ends endsOf(Graph graph) {
        Map<String, String> inputs = new LinkedHashMap<>();
        Map<String, String> outputs = new LinkedHashMap<>();
        for (Iterator<GraphOperation> all = graph.operations(); all.hasNext();) {
            GraphOperation operation = all.next();
            String name = operation.name();
            if (operation.type().equals("Placeholder")) {
                inputs.put(name, name);
            } else if (!operation.type().equals("Const") && operation.numConsumers() == 0) {
                // The other outputs of a batch normalization are for training.
                int count = operation.type().startsWith("FusedBatchNorm") ? 1 : operation.numOutputs();
                for (int i = 0; i < count; i++) {
                    outputs.put(i == 0 ? name : name + ":" + i, name + ":" + i);
                }
            }
        }
        return new Ends(graph, inputs, outputs, false);
    }

    /** A signature's keys. Throws ModelError if there is no such signature; the error lists the existing ones. */
    public static Ends keysOf(Graph graph, MetaGraphDef metaGraph, String signature) {
        var signatures = new TreeMap<>(metaGraph.getSignatureDefMap());
        SignatureDef found = signatures.get(signature);
        if (found == null) {
            signatures.keySet().removeIf(name -> name.startsWith("__")); // the loader's own
            String present = signatures.isEmpty() ? "none" : String.join(", ", signatures.keySet());
            throw new ModelError("no such signature: %s (the model has: %s)", signature, present);
        }
        return new Ends(graph, tensorsOf(found.getInputsMap()), tensorsOf(found.getOutputsMap()), true);
    }

    private static Map<String, String> tensorsOf(Map<String, TensorInfo> keys) {
        Map<String, String> tensors = new TreeMap<>();
        keys.forEach((key, tensor) -> tensors.put(key, tensor.getName()));
        return tensors;
    }

    /** What can be fed to a tensor. Throws ModelError if its type cannot be fed. */
    public static Placeholder placeholderOf(Output<?> tensor) {
        return new Placeholder(tensor.index() == 0 ? tensor.op().name() : tensor.name(), typeOf(tensor), shapeOf(tensor));
    }

    private static Type typeOf(Output<?> tensor) {
        return Type.of(DataType.forNumber(tensor.dataType().getNumber() % 100)); // a reference has its value's type plus 100
    }

    private static long[] shapeOf(Output<?> tensor) {
        return tensor.shape().isUnknown() ? null : tensor.shape().asArray();
    }

    /** The tensor of an array. */
    public static Tensor toTensor(Array array) {
        Shape shape = Shape.of(array.shape());
        if (array.type() == Type.STRING) {
            return TString.tensorOfBytes(shape, DataBuffers.ofObjects(array.strings()));
        }
        var bytes = DataBuffers.of(array.contents(), true, false);
        if (array.type() == Type.FLOAT64) {
            return Tensor.of(TFloat64.class, Shape.of(array.shape()), bytes);
        }
        Tensor tensor = Tensor.of(TUint8.class, Shape.of(array.contents().length), bytes);
        CTensor.become(tensor.asRawTensor(), array.type().dataType, array.shape());
        return tensor;
    }

    /** Java has no class for the tensors of some types, but a tensor's bytes can become another type's in C. */
    private abstract static class CTensor extends TensorMapper<TUint8> { // a mapper can see the C tensor
        private static void become(RawTensor tensor, DataType type, long[] shape) {
            try (TF_Status status = TF_Status.newStatus()) {
                TF_Tensor handle = nativeHandle(tensor);
                tensorflow.TF_TensorBitcastFrom(handle, type.getNumber(), handle, shape, shape.length, status);
                status.throwExceptionIfNotOK();
            }
        }
    }

    /** The array of a fetched tensor. */
    public static Array toArray(Tensor tensor, Type type) {
        long[] shape = tensor.shape().asArray();
        if (type == Type.STRING) {
            List<byte[]> strings = new ArrayList<>();
            ((TString) tensor).asBytes().scalars().forEach(string -> strings.add(string.getObject()));
            return new Array(type, shape, null, strings.toArray(new byte[0][]));
        }
        byte[] contents = new byte[Math.toIntExact(tensor.numBytes())];
        if (contents.length > 0) {
            tensor.asRawTensor().data().read(contents);
        }
        return new Array(type, shape, contents, null);
    }

    /** Rewords an error that TensorFlow raised while it calculated. */
    public static ModelError explain(RuntimeException error, List<Fetch> fetches) {
        Matcher unfed = UNFED.matcher(String.valueOf(error.getMessage()));
        String names = fetches.stream().map(Fetch::name).collect(Collectors.joining(", "));
        return unfed.find()
                ? new ModelError("no value for the placeholder: %s (give --feed %s=...)", unfed.group(1), unfed.group(1))
                : new ModelError("cannot calculate: %s: %s", names, Terminal.oneLine(error.getMessage()));
    }
}
