package modelimportexport;

import java.io.IOException;
import java.io.OutputStream;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.*;
import java.util.function.BooleanSupplier;
import java.util.stream.LongStream;
import org.tensorflow.proto.DataType;

/**
 * Values as text: read from the command line, written as results, and the shapes in which they go into a model.
 *
 * <p>The grammar and the digits are the same in every language, so that the output of one consumer can be compared with
 * another's byte for byte. {@code tests/cases/} has both as data.
 */
public final class Rows {
    private static final int CHUNK = 1 << 18; // results turned into text at once
    private static final int MAX_BATCH = 4_096; // numbers in one run

    private Rows() {}

    /** The types that can be fed and printed: TensorFlow's, the bytes of an element, the bits of a float's precision. */
    public enum Type {
        FLOAT64(DataType.DT_DOUBLE, 8, 53), FLOAT32(DataType.DT_FLOAT, 4, 24),
        FLOAT16(DataType.DT_HALF, 2, 11), BFLOAT16(DataType.DT_BFLOAT16, 2, 8),
        INT8(DataType.DT_INT8, 1, 0), INT16(DataType.DT_INT16, 2, 0),
        INT32(DataType.DT_INT32, 4, 0), INT64(DataType.DT_INT64, 8, 0),
        UINT8(DataType.DT_UINT8, 1, 0), UINT16(DataType.DT_UINT16, 2, 0),
        UINT32(DataType.DT_UINT32, 4, 0), UINT64(DataType.DT_UINT64, 8, 0),
        BOOL(DataType.DT_BOOL, 1, 0), STRING(DataType.DT_STRING, 0, 0);

        final DataType dataType;
        final int size;
        final int precision; // of a float's mantissa, with the bit that is not stored; otherwise 0
        final int bias; // of a float's exponent
        final long mask; // an element's bits
        final long sign; // a float's bit for it
        final long infinity; // a float's

        Type(DataType dataType, int size, int precision) {
            this.dataType = dataType;
            this.size = size;
            this.precision = precision;
            mask = -1L >>> 64 - 8 * size;
            sign = 1L << 8 * size - 1;
            infinity = precision == 0 ? 0 : sign - (1L << precision - 1);
            bias = (1 << 8 * size - precision - 1) - 1;
        }

        /** The type of a tensor. Throws ModelError for any other type. */
        public static Type of(DataType dataType) {
            String all = Arrays.toString(values()).replaceAll("[\\[\\]]", "");
            return Arrays.stream(values()).filter(type -> type.dataType == dataType).findFirst().orElseThrow(
                    () -> new ModelError("not a type that can be fed or printed: %s (these can: %s)",
                            dataType.name().substring(3).toLowerCase(Locale.ROOT), all));
        }

        @Override
        public String toString() {
            return name().toLowerCase(Locale.ROOT);
        }
    }

    /** A tensor that is fed. Its shape has -1 where a dimension is open, and is null where the rank is unknown. */
    public record Placeholder(String name, Type type, long[] shape) {}

    /** A tensor's contents in row-major order: numbers as in memory, or strings. */
    public record Array(Type type, long[] shape, byte[] contents, byte[][] strings) {
        /** How many elements it has. */
        public int size() {
            return type == Type.STRING ? strings.length : contents.length / type.size;
        }

        /** The same elements in another shape. */
        public Array reshape(long... dims) {
            return new Array(type, dims, contents, strings);
        }
    }

    /** The array for a placeholder: comma-separated values, or the file NAME.npy that {@code text} names. */
    public static Array makeFeed(Placeholder placeholder, String text, String flag) throws IOException {
        if (text.endsWith(".npy")) {
            return Npy.load(placeholder, text);
        }
        Array values = Parser.parse(text, placeholder.type, " in " + flag);
        return values.reshape(feedShape(placeholder, values.size()));
    }

    /** A shape as it is printed: {@code [?, 10]}, {@code ?} where the rank is unknown. */
    public static String showShape(long[] dims) {
        return dims == null ? "?" : Arrays.toString(dims).replace("-1", "?");
    }

    /**
     * Formats elements of an array.
     *
     * <p>Numbers have the shortest digits that read back to the same value of the array's own type, with an exponent only
     * where it is below -4 or at least 21 ({@code -4.5}, {@code 1499994026270459.2}, {@code 1e-05}, {@code 1e+21}). The
     * others are {@code -0}, {@code NaN}, {@code +Inf}, {@code -Inf}, {@code true} and {@code false}. Strings are JSON;
     * bytes that are not UTF-8 are base64 after {@code b64:}.
     *
     * @param between follows each element, except that a line feed follows every {@code width} elements
     */
    static String format(Array array, int first, int last, char between, int width) {
        Type type = array.type;
        var text = new StringBuilder(20 * (last - first));
        ByteBuffer elements = type == Type.STRING ? null : ByteBuffer.wrap(array.contents).order(ByteOrder.nativeOrder());
        for (int i = first, column = 1; i < last; i++, column++) {
            long bits = switch (type.size) {
                case 0 -> 0;
                case 1 -> elements.get(i);
                case 2 -> elements.getShort(2 * i);
                case 4 -> elements.getInt(4 * i);
                default -> elements.getLong(8 * i);
            };
            switch (type) {
                case FLOAT64, FLOAT32, FLOAT16, BFLOAT16 -> Digits.append(text, type, bits & type.mask);
                case INT8, INT16, INT32, INT64 -> text.append(bits);
                case UINT8, UINT16, UINT32, UINT64 -> text.append(Long.toUnsignedString(bits & type.mask));
                case BOOL -> text.append(bits != 0);
                case STRING -> json(text, array.strings[i]);
            }
            text.append(column == width ? '\n' : between);
            column = column == width ? 0 : column;
        }
        return text.toString();
    }

    private static void json(StringBuilder text, byte[] string) {
        String decoded = new String(string, StandardCharsets.UTF_8);
        if (!Arrays.equals(decoded.getBytes(StandardCharsets.UTF_8), string)) {
            decoded = "b64:" + Base64.getEncoder().encodeToString(string);
        }
        text.append('"');
        for (char c : decoded.toCharArray()) {
            int special = "\b\t\n\f\r\"\\".indexOf(c);
            if (special >= 0) {
                text.append('\\').append("btnfr\"\\".charAt(special));
            } else {
                text.append(c < 0x20 ? String.format("\\u%04x", (int) c) : c);
            }
        }
        text.append('"');
    }

    /**
     * Writes the results of --x, flat, on one line; in parts, because the text takes more memory than the numbers.
     *
     * @param name of the output if there are several, otherwise empty
     */
    public static void writeResults(OutputStream output, Array results, String name) throws IOException {
        String head = "The calculation results" + (name.isEmpty() ? "" : " of " + name) + " : [";
        output.write(head.getBytes(StandardCharsets.UTF_8));
        for (int i = 0; i < results.size(); i += CHUNK) {
            int last = Math.min(i + CHUNK, results.size());
            String text = format(results, i, last, ' ', 0);
            output.write((last == results.size() ? text.stripTrailing() : text).getBytes(StandardCharsets.UTF_8));
        }
        output.write("]\n".getBytes(StandardCharsets.UTF_8));
    }

    /**
     * The shape in which {@code count} values fit a placeholder; the open dimension takes what is left.
     *
     * <p>{@code [?, ?]} takes {@code [1, n]}, {@code [?, 10]} takes {@code [n / 10, 10]}, {@code [?]} takes {@code [n]},
     * {@code []} takes one; an unknown rank takes one value as {@code []} and more as {@code [n]}.
     *
     * @throws ModelError the values do not fit, or several dimensions are open so that they could fit in several ways
     */
    public static long[] feedShape(Placeholder placeholder, int count) {
        long[] dims = placeholder.shape;
        if (dims == null) {
            return count > 1 ? new long[] {count} : new long[0];
        }
        if (Arrays.equals(dims, new long[] {-1, -1})) {
            return new long[] {1, count};
        }
        BigInteger row = rowSize(placeholder);
        boolean open = LongStream.of(dims).anyMatch(dim -> dim < 0);
        long rows = row.signum() == 0 ? 0 : BigInteger.valueOf(count).divide(row).longValue();
        if (!row.multiply(BigInteger.valueOf(rows)).equals(BigInteger.valueOf(count)) || !open && rows != 1) {
            throw new ModelError("wrong number of values: %d given, the placeholder %s takes %s%d",
                    count, placeholder.name, open ? "a multiple of " : "", row);
        }
        return LongStream.of(dims).map(dim -> dim < 0 ? rows : dim).toArray();
    }

    /** How many values fill a placeholder whose open dimension is 1. Throws ModelError if several are open. */
    static BigInteger rowSize(Placeholder placeholder) {
        long[] dims = placeholder.shape == null ? new long[0] : placeholder.shape;
        if (dims.length > 2 && LongStream.of(dims).filter(dim -> dim < 0).count() > 1) {
            throw new ModelError("ambiguous shape: the placeholder %s is %s (give --x FILE.npy, which says its shape)",
                    placeholder.name, showShape(dims));
        }
        return LongStream.of(dims).mapToObj(dim -> BigInteger.valueOf(Math.abs(dim)))
                .reduce(BigInteger.ONE, BigInteger::multiply);
    }

    /**
     * How many rows of --stdin go into one run: {@code asked}, or one on a terminal, or 4,096 numbers' worth.
     *
     * @param result the output's static shape, as a placeholder's
     * @param asked null if --batch was not given
     * @throws ModelError the model cannot take so many rows, or return a result for each
     */
    public static int batchRows(Placeholder placeholder, long[] result, Integer asked, BooleanSupplier onTerminal) {
        BigInteger row = rowSize(placeholder);
        if (row.signum() == 0) {
            throw new ModelError("wrong number of values: a row of the placeholder %s has none", placeholder.name);
        }
        if (isClosed(placeholder.shape)) {
            if (asked != null && asked > 1) {
                throw new ModelError("too many rows in a run: the placeholder %s is %s (--batch 1 fits)",
                        placeholder.name, showShape(placeholder.shape));
            }
            return 1;
        }
        int most = Math.max(1, BigInteger.valueOf(MAX_BATCH).divide(row).intValue());
        int batch = asked != null ? asked : onTerminal.getAsBoolean() ? 1 : most;
        if (batch > 1 && isClosed(result)) {
            throw notPerRow(result);
        }
        return batch;
    }

    private static boolean isClosed(long[] shape) {
        return shape != null && (shape.length == 0 || shape[0] >= 0);
    }

    static ModelError notPerRow(long[] shape) {
        return new ModelError("not one result per row: the output is %s (--batch 1 runs each row by itself)",
                showShape(shape));
    }
}
