package modelimportexport;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.util.*;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.*;
import modelimportexport.Rows.Array;
import modelimportexport.Rows.Placeholder;
import modelimportexport.Rows.Type;

/**
 * Arrays in files as {@code numpy.save} writes them:
 * https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
 */
final class Npy {
    private static final Pattern HEADER = Pattern.compile("(?s)\u0093NUMPY(?:\u0001.{3}|[\u0002\u0003].{5})"
            + "\\{'descr': *'([<>|])([bfiucVSU])(\\d+)', *'fortran_order': *(True|False), "
            + "*'shape': *\\(([\\d, ]*)\\),? *\\} *\n");
    private static final Map<String, String> NAMES = Map.of("b", "bool", "f", "float", "i", "int", "u", "uint",
            "c", "complex", "V", "void", "S", "bytes", "U", "str");

    private Npy() {}

    /** Reads an array. Throws ModelError if its type or shape is not the placeholder's. */
    static Array load(Placeholder placeholder, String path) throws IOException {
        if (Files.isDirectory(Path.of(path))) {
            throw new FileSystemException(path, null, "Is a directory");
        }
        byte[] file = Files.readAllBytes(Path.of(path));
        Matcher header = HEADER.matcher(new String(file, 0, Math.min(file.length, 1 << 16), StandardCharsets.ISO_8859_1));
        int size; // of an element
        long[] shape;
        int length;
        try {
            if (!header.lookingAt()) {
                throw new IllegalArgumentException();
            }
            size = Integer.parseInt(header.group(3)) * (header.group(2).equals("U") ? 4 : 1);
            shape = Stream.of(header.group(5).split("[, ]+")).filter(dim -> !dim.isEmpty())
                    .mapToLong(Long::parseLong).toArray();
            length = Math.toIntExact(LongStream.of(shape).reduce(size, Math::multiplyExact));
            Objects.checkFromIndexSize(header.end(), length, file.length);
        } catch (RuntimeException e) {
            throw new ModelError("not an array: %s (numpy.save writes such files)", path);
        }
        Type type = placeholder.type();
        String name = NAMES.get(header.group(2)) + (header.group(2).equals("b") ? "" : 8 * size);
        if (!name.equals(type == Type.BFLOAT16 ? "void16" : type.toString())) { // numpy has no name for it
            throw new ModelError("not the type of %s: %s is %s, the input takes %s", placeholder.name(), path, name, type);
        }
        long[] dims = placeholder.shape();
        if (dims != null && (dims.length != shape.length
                || IntStream.range(0, dims.length).anyMatch(i -> dims[i] >= 0 && dims[i] != shape[i]))) {
            throw new ModelError("not the shape of %s: %s is %s, the input takes %s",
                    placeholder.name(), path, Rows.showShape(shape), Rows.showShape(dims));
        }
        boolean isSwapped = header.group(1).equals(ByteOrder.nativeOrder() == ByteOrder.LITTLE_ENDIAN ? ">" : "<");
        boolean isFortran = header.group(4).equals("True");
        byte[] contents = new byte[length];
        for (int i = 0; i < length / size; i++) {
            int from = header.end() + (isFortran ? fortranPlace(i, shape, length / size) : i) * size;
            for (int b = 0; b < size; b++) {
                contents[i * size + b] = file[from + (isSwapped ? size - 1 - b : b)];
            }
        }
        return new Array(type, shape, contents, null);
    }

    /** The index of an element in Fortran's order, where elements along the first dimension are adjacent. */
    private static int fortranPlace(int element, long[] shape, int count) {
        int place = 0;
        int stride = count;
        for (int d = shape.length - 1, rest = element; d >= 0; d--) {
            stride /= (int) shape[d];
            place += rest % (int) shape[d] * stride;
            rest /= (int) shape[d];
        }
        return place;
    }

    /** Writes an array, whole or not at all. Throws ModelError for strings and if the path is not a regular file. */
    static void save(String file, Array array) throws IOException {
        Type type = array.type();
        if (type == Type.STRING) {
            throw new ModelError("not numbers: a .npy file cannot hold strings (%s)", file);
        }
        String dims = Arrays.toString(array.shape()).replace('[', '(').replace(']', ')');
        String kind = type == Type.BFLOAT16 ? "V" : type.toString().substring(0, 1); // numpy has no name for it
        String header = "{'descr': '%s%s%d', 'fortran_order': False, 'shape': %s, }".formatted(
                type.size == 1 || kind.equals("V") ? "|" : ByteOrder.nativeOrder() == ByteOrder.LITTLE_ENDIAN ? "<" : ">",
                kind, type.size,
                array.shape().length == 1 ? dims.replace(")", ",)") : dims);
        if (array.shape().length > 0) { // numpy leaves room to append rows in place
            header += " ".repeat(21 - Long.toString(array.shape()[0]).length());
        }
        header += " ".repeat(64 - (10 + header.length() + 1) % 64) + "\n";
        var data = ByteBuffer.allocate(10 + header.length() + array.contents().length).order(ByteOrder.LITTLE_ENDIAN);
        data.put("\u0093NUMPY\u0001\u0000".getBytes(StandardCharsets.ISO_8859_1)).putShort((short) header.length());
        writeWhole(file, data.put(header.getBytes(StandardCharsets.US_ASCII)).put(array.contents()).flip());
    }

    private static void writeWhole(String file, ByteBuffer data) throws IOException {
        Path path = Path.of(file);
        if (Files.exists(path) && !Files.isRegularFile(path)) {
            throw new ModelError("not a regular file: %s (it would be replaced; name another)", file);
        }
        for (int i = 0; i < 40 && Files.isSymbolicLink(path); i++) { // a link stays one
            path = path.resolveSibling(Files.readSymbolicLink(path));
        }
        Path partial = path.resolveSibling(".%.40s.%d.partial".formatted(path.getFileName(), ProcessHandle.current().pid()));
        if (path.getParent() != null) {
            Files.createDirectories(path.getParent());
        }
        try {
            try (var channel = FileChannel.open(partial, StandardOpenOption.CREATE, StandardOpenOption.WRITE)) {
                while (data.hasRemaining()) {
                    channel.write(data);
                }
                channel.force(true);
            }
            Files.move(partial, path, StandardCopyOption.ATOMIC_MOVE);
        } catch (IOException e) {
            throw new FileSystemException(path.toString(), null, Terminal.reason(e).replace(": " + partial, ""));
        } finally {
            Files.deleteIfExists(partial);
        }
    }
}
