package modelimportexport;

import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.TextFormat;
import java.io.*;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.nio.file.attribute.BasicFileAttributes;
import java.security.*;
import java.util.*;
import java.util.regex.Pattern;
import java.util.stream.*;
import org.tensorflow.proto.GraphDef;
import org.tensorflow.proto.NodeDef;

/**
 * Finds a model's files and makes sure that TensorFlow may have them: the SHA-256 of each is in the list of the models that
 * were checked. A damaged file, a stranger's file and an unchecked file are refused alike.
 */
public final class ModelFile {
    /** The frozen regression, and the list of checked models. */
    static final String FROZEN = "frozen_graphs/frozen_linear_regression.pb";
    static final String CHECKED = "frozen_graphs/SHA256SUMS";

    // The names under which a folder can hold a SavedModel, in the order in which the loader looks for them.
    private static final List<String> SAVED_MODEL_FILES = List.of("saved_model.cpb", "saved_model.pb", "saved_model.pbtxt");
    private static final String CHECKPOINT_FILE = "(?s)checkpoint|.+\\.(meta|index|data-[0-9]{5}-of-[0-9]{5})";
    private static final Pattern LISTED = Pattern.compile("(?md)^\\\\?([0-9a-f]{64}) [ *].+\n");

    private ModelFile() {}

    /** Whether a path is a SavedModel; otherwise it is a frozen graph. Throws ModelError for anything else. */
    public static boolean isSavedModel(String path) {
        File file = new File(path);
        if (SAVED_MODEL_FILES.stream().anyMatch(name -> new File(file, name).exists())) {
            return true;
        }
        boolean isPrefix = new File(path + ".index").exists() || new File(path + ".meta").exists();
        if (file.isDirectory() ? Stream.of(file.list()).anyMatch(name -> name.matches(CHECKPOINT_FILE))
                : isPrefix || file.exists() && file.getName().matches(CHECKPOINT_FILE)) {
            throw new ModelError("not a frozen graph or SavedModel: %s "
                    + "(it holds Saver checkpoints; freeze it with python model_freeze.py)", path);
        } else if (file.isDirectory()) {
            throw notRegular(path);
        } else if (!file.exists()) {
            throw new ModelError("no model: %s (run %s first, or give --model)", path,
                    path.endsWith(".pb") ? "./freeze_graph_linear_regression.sh" : "python model_producer.py");
        } else if (path.matches("(?s).*\\.(keras|h5|hdf5)")) {
            throw new ModelError(
                    "not a frozen graph or SavedModel: %s (a Keras file; freeze it with model_freeze.py)", path);
        } else if (SAVED_MODEL_FILES.contains(file.getName())) {
            throw new ModelError("not a frozen graph: %s is a file of a SavedModel (give its folder)", path);
        }
        return false;
    }

    /**
     * Throws ModelError if a file of a model is not regular, is an empty frozen graph, or is not in the list.
     *
     * @param checked the list; null trusts the model
     */
    public static void requireChecked(String path, String checked) throws IOException, GeneralSecurityException {
        List<Path> files = filesOf(Path.of(path));
        requireContent(path);
        Set<String> known = checked == null ? Set.of() : listed(Path.of(checked));
        for (Path file : checked == null ? List.<Path>of() : files) {
            if (!known.contains(digest(file))) {
                throw new ModelError(
                        "not checked: %s (python model_check.py %s checks it; --trust takes it as it is)", path, path);
            }
        }
        requireContent(path + "/saved_model.pb");
    }

    private static void requireContent(String path) {
        if (new File(path).isFile() && new File(path).length() == 0) { // TensorFlow would crash
            throw new ModelError("not a usable model file: %s is empty", path);
        }
    }

    /** A frozen graph itself, or all files in the folder of a SavedModel, none of them a link, a FIFO or a device. */
    private static List<Path> filesOf(Path path, LinkOption... options) throws IOException {
        List<Path> found = new ArrayList<>();
        var attributes = Files.readAttributes(path, BasicFileAttributes.class, options);
        if (attributes.isDirectory()) {
            try (DirectoryStream<Path> entries = Files.newDirectoryStream(path)) {
                for (Path entry : entries) {
                    found.addAll(filesOf(entry, LinkOption.NOFOLLOW_LINKS));
                }
            }
        } else if (attributes.isRegularFile()) {
            found.add(path);
        } else {
            throw notRegular(path);
        }
        return found;
    }

    private static ModelError notRegular(Object path) {
        return new ModelError("not a usable model file: %s is not a regular file", path);
    }

    /** The digests in a list as {@code sha256sum -c} reads it; empty if the file does not exist. */
    private static Set<String> listed(Path list) throws IOException {
        if (!Files.exists(list)) {
            return Set.of();
        } else if (!Files.isRegularFile(list)) {
            throw notRegular(list);
        }
        return LISTED.matcher(Files.readString(list, StandardCharsets.ISO_8859_1)).results()
                .map(line -> line.group(1)).collect(Collectors.toSet());
    }

    private static String digest(Path file) throws IOException, GeneralSecurityException {
        MessageDigest sha256 = MessageDigest.getInstance("SHA-256");
        try (var stream = new DigestInputStream(Files.newInputStream(file), sha256)) {
            stream.transferTo(OutputStream.nullOutputStream());
        }
        return HexFormat.of().formatHex(sha256.digest());
    }

    /** Reads a GraphDef, binary or text, and clears the devices of the machine that made it. Throws ModelError. */
    public static GraphDef readFrozenGraph(String path) throws IOException {
        byte[] data = Files.readAllBytes(Path.of(path));
        boolean isText = IntStream.range(0, data.length) // a binary GraphDef always has other bytes
                .allMatch(i -> data[i] < 0 || data[i] >= ' ' || "\t\n\r".indexOf(data[i]) >= 0);
        var graphDef = GraphDef.newBuilder();
        try {
            if (isText) {
                TextFormat.merge(new String(data, StandardCharsets.UTF_8), graphDef);
            } else {
                graphDef.mergeFrom(data);
            }
            graphDef.getNodeBuilderList().forEach(NodeDef.Builder::clearDevice);
            return graphDef.build();
        } catch (InvalidProtocolBufferException | TextFormat.ParseException e) {
            throw new ModelError("not a GraphDef: %s: %s", path, e.getMessage());
        }
    }

    /** Rewords an error that TensorFlow raised while it loaded a model. */
    public static ModelError explain(RuntimeException error, String path, String tag) {
        String message = String.valueOf(error.getMessage());
        if (message.contains("matching supplied tags")) {
            return new ModelError("no such tag: %s (python model_check.py --list %s shows those it has)", tag, path);
        }
        if (message.contains("Cannot assign a device")) { // the loader cannot clear them
            return new ModelError(
                    "cannot load: %s: it names devices that are not here (python model_freeze.py clears them)", path);
        }
        return new ModelError("cannot load: %s: %s", path, Terminal.oneLine(message));
    }
}
