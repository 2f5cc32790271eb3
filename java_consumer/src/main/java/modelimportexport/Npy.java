package modelimportexport;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.util.Arrays;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.LongStream;
import java.util.stream.Stream;
import modelimportexport.Rows.Array;
import modelimportexport.Rows.Placeholder;
import modelimportexport.Rows.Type;

/**
 * Arrays in files as {@code numpy.save} writes them:
 * https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
 */
final class Npy {
    private static final Pattern HEADER = Pattern.compile("\\{'descr': *'([<>|])([bfiucVSU])(\\d+)', *"
            + "'fortran_order': *(True|False), *'shape': *\\(([\\d, ]*)\\),? *\\}\\s*");

    private Npy() {}

    /** Reads an array. Throws ModelError where its type or shape is not the placeholder's. */
    static Array load(Placeholder placeholder, String path) throws IOException {
        if (Files.isDirectory(Path.of(path))) {
            throw new FileSystemException(path, null, "Is a directory");
        }
        byte[] file = Files.readAllBytes(Path.of(path));
        Matcher header;
        int size; // of an element
        long[] shape;
        byte[] data;
        try {
            var lengths = ByteBuffer.wrap(file).order(ByteOrder.LITTLE_ENDIAN);
            int from = file[6] == 1 ? 10 : 12; // by the format's version
            int start = from + (file[6] == 1 ? lengths.getShort(8) & 0xffff : lengths.getInt(8));
            header = HEADER.matcher(new String(file, from, start - from, StandardCharsets.UTF_8));
            if (!new String(file, 0, 6, StandardCharsets.ISO_8859_1).equals("\u0093NUMPY") || !header.matches()) {
                throw new IllegalArgumentException();
            }
            size = Integer.parseInt(header.group(3)) * (header.group(2).equals("U") ? 4 : 1);
            shape = Stream.of(header.group(5).split("[, ]+")).filter(dim -> !dim.isEmpty())
                    .mapToLong(Long::parseLong).toArray();
            int end = Math.toIntExact(Math.addExact(start, LongStream.of(shape).reduce(size, Math::multiplyExact)));
            data = Arrays.copyOfRange(file, start, end);
            if (end > file.length) {
                throw new IllegalArgumentException();
            }
        } catch (RuntimeException e) {
            throw new ModelError("not an array: %s (numpy.save writes such files)", path);
        }
        String kind = header.group(2);
        String name = kind.equals("b") ? "bool" : switch (kind) {
            case "f" -> "float";
            case "i" -> "int";
            case "u" -> "uint";
            case "c" -> "complex";
            case "V" -> "void";
            case "S" -> "bytes";
            default -> "str";
        } + 8 * size;
        boolean fits = name.equals(placeholder.type() == Type.BFLOAT16 ? "void16" : placeholder.type().toString());
        if (!fits) {
            throw new ModelError("not the type of %s: %s is %s, the input takes %s",
                    placeholder.name(), path, name, placeholder.type());
        }
        long[] dims = placeholder.shape();
        fits = dims == null || dims.length == shape.length;
        for (int i = 0; fits && dims != null && i < dims.length; i++) {
            fits = dims[i] < 0 || dims[i] == shape[i];
        }
        if (!fits) {
            throw new ModelError("not the shape of %s: %s is %s, the input takes %s",
                    placeholder.name(), path, Rows.showShape(shape), Rows.showShape(dims));
        }
        boolean swapped = header.group(1).equals(ByteOrder.nativeOrder() == ByteOrder.LITTLE_ENDIAN ? ">" : "<");
        byte[] contents = new byte[data.length];
        for (int i = 0; i < data.length / size; i++) {
            int from = i;
            if (header.group(4).equals("True")) { // the first dimension's elements are beside one another
                from = 0;
                for (int d = shape.length - 1, rest = i, stride = data.length / size; d >= 0; rest /= (int) shape[d--]) {
                    stride /= (int) shape[d];
                    from += rest % (int) shape[d] * stride;
                }
            }
            for (int b = 0; b < size; b++) {
                contents[i * size + b] = data[from * size + (swapped ? size - 1 - b : b)];
            }
        }
        return new Array(placeholder.type(), shape, contents, null);
    }

    /** Writes an array, whole or not at all. Throws ModelError for strings and where something else is in the way. */
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
        if (array.shape().length > 0) { // room for its first dimension to grow
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
        String name = path.getFileName().toString();
        Path partial = path.resolveSibling("." + name.substring(0, Math.min(40, name.length())) + "."
                + ProcessHandle.current().pid() + ".partial");
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
            String reason = Terminal.reason(e);
            throw new FileSystemException(path.toString(), null, reason.replace(": " + partial, ""));
        } finally {
            Files.deleteIfExists(partial);
        }
    }
}
