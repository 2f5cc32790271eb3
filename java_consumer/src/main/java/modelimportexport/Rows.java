package modelimportexport;

import ch.randelshofer.fastdoubleparser.*;
import com.fasterxml.jackson.core.io.NumberOutput;
import java.io.IOException;
import java.io.OutputStream;
import java.math.*;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.*;
import java.util.function.BooleanSupplier;
import java.util.stream.LongStream;

/**
 * Values as text: read from the command line, written as results, and the shapes in which they go into a model.
 *
 * <p>The grammar and the digits are the same in every language, so that the output of one consumer can be compared with
 * another's byte for byte. {@code tests/cases/} has both as data.
 */
public final class Rows {
    /** The values of --x. */
    static final String DEFAULT = "0,1,-1,2";

    private static final String NUMBER =
            "[+-]?(([0-9]++(\\.[0-9]*+)?|\\.[0-9]++)([eE][+-]?[0-9]++)?|[nN][aA][nN]|[iI][nN][fF])";
    private static final boolean[] PLAIN = new boolean[256]; // the bytes of numbers that are not words
    private static final int CHUNK = 1 << 18; // results turned into text at once
    private static final int MAX_BATCH = 4_096; // numbers in one run

    static {
        "0123456789+-.eE".chars().forEach(c -> PLAIN[c] = true);
    }

    private Rows() {}

    /** The types that can be fed and printed: the bytes of an element, and of a float the bits of its exponent. */
    public enum Type {
        FLOAT64(8, 11), FLOAT32(4, 8), FLOAT16(2, 5), BFLOAT16(2, 8), INT8(1, 0), INT16(2, 0), INT32(4, 0), INT64(8, 0),
        UINT8(1, 0), UINT16(2, 0), UINT32(4, 0), UINT64(8, 0), BOOL(1, 0), STRING(0, 0);

        final int size;
        private final int precision; // bits of a float's mantissa, with the one that is not stored
        private final long mask; // an element's bits
        private final long sign; // a float's bit for it
        private final long infinity; // a float's; 0 in other types

        Type(int size, int exponentBits) {
            this.size = size;
            precision = 8 * size - exponentBits;
            mask = -1L >>> 64 - 8 * size;
            sign = 1L << 8 * size - 1;
            infinity = ((1L << exponentBits) - 1) << precision - 1;
        }

        /** The type of a name such as {@code float64}. Throws ModelError for what is not one of these. */
        public static Type of(String name) {
            String all = Arrays.toString(values()).replaceAll("[\\[\\]]", "");
            return Arrays.stream(values()).filter(type -> type.toString().equals(name)).findFirst().orElseThrow(
                    () -> new ModelError("not a type that can be fed or printed: %s (these can: %s)", name, all));
        }

        @Override
        public String toString() {
            return name().toLowerCase(Locale.ROOT);
        }
    }

    /** A tensor that is fed. Its shape has -1 where a dimension is open, and is null where the rank is unknown. */
    public record Placeholder(String name, Type type, long[] shape) {}

    /** What a tensor holds: numbers as they are in memory, in row-major order, or else strings. */
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

    /** The array for a placeholder: of comma-separated values, or from the file that {@code text} names (NAME.npy). */
    public static Array makeFeed(Placeholder placeholder, String text, String flag) throws IOException {
        if (text.endsWith(".npy")) {
            return Npy.load(placeholder, text);
        }
        Array values = parseValues(text, placeholder.type, " in " + flag);
        return values.reshape(feedShape(placeholder, values.size()));
    }

    /** A shape as it is printed: {@code [?, 10]}, {@code ?} where the rank is unknown. */
    public static String showShape(long[] dims) {
        return dims == null ? "?" : Arrays.toString(dims).replace("-1", "?");
    }

    /**
     * Reads comma-separated values such as {@code 0,-1.5,1e-3,nan}, {@code true,false}, or strings ({@code b64:} before
     * those that are no text) into an array of one dimension.
     *
     * @param where names the place in an error: {@code " in --x"}
     * @throws ModelError a part is not a value of the type, or is out of its range
     */
    public static Array parseValues(String text, Type type, String where) {
        var parser = new Parser(text.getBytes(StandardCharsets.UTF_8), type, where);
        return parser.values(parser.read(0, parser.text.length));
    }

    /** Reads values from text, and keeps them in the order in which they come. */
    static final class Parser {
        final byte[] text;
        long line; // of a text of lines, the number of the one that is read
        private final String where; // of another text
        private final Type type;
        private final ByteBuffer numbers;
        private final List<byte[]> strings = new ArrayList<>();

        Parser(byte[] text, Type type, String where) {
            this.text = text;
            this.type = type;
            this.where = where;
            numbers = ByteBuffer.allocate((text.length / 2 + 1) * type.size).order(ByteOrder.nativeOrder());
        }

        /** The first values that were read. */
        Array values(int count) {
            return type == Type.STRING
                    ? new Array(type, new long[] {count}, null, strings.subList(0, count).toArray(new byte[0][]))
                    : new Array(type, new long[] {count}, Arrays.copyOf(numbers.array(), count * type.size), null);
        }

        /** Reads a line of a text of lines, as {@code read} does. */
        int readRow(int start, int end) {
            if (start == end && type == Type.STRING) {
                throw new ModelError("blank: line %d (b64: is the empty string)", line);
            }
            return read(start, end);
        }

        /** Reads the comma-separated values between two places, and returns how many there are. */
        int read(int start, int end) {
            int count = 0;
            for (int from = start, to; from <= end; from = to + 1, count++) {
                boolean plain = from < end && text[from] != ',';
                for (to = from; to < end && text[to] != ','; to++) {
                    plain &= PLAIN[text[to] & 0xff];
                }
                if (type == Type.STRING) {
                    strings.add(string(from, to));
                    continue;
                }
                long bits = type == Type.BOOL ? bool(part(from, to)) : number(from, to, end, plain);
                switch (type.size) {
                    case 1 -> numbers.put((byte) bits);
                    case 2 -> numbers.putShort((short) bits);
                    case 4 -> numbers.putInt((int) bits);
                    default -> numbers.putLong(bits);
                }
            }
            return count;
        }

        private long number(int from, int to, int end, boolean plain) {
            if (plain) {
                try {
                    if (type.infinity != 0) {
                        long bits = round(type, text, from, to - from);
                        if ((bits & ~type.sign) != type.infinity) {
                            return bits;
                        }
                    } else {
                        BigInteger whole = JavaBigIntegerParser.parseBigInteger(text, from, to - from);
                        int most = 8 * type.size;
                        if (type.name().startsWith("I") ? whole.bitLength() < most
                                : whole.signum() >= 0 && whole.bitLength() <= most) {
                            return whole.longValue();
                        }
                    }
                } catch (NumberFormatException e) {
                    // It is named below.
                }
            }
            String part = part(from, to);
            if (!plain && type.infinity != 0 && part.matches(NUMBER)) {
                long quiet = part.toLowerCase(Locale.ROOT).endsWith("n") ? 1L << type.precision - 2 : 0;
                return type.infinity | quiet | (part.startsWith("-") ? type.sign : 0);
            }
            for (String other : part(from, end).split(",", -1)) { // what is no number at all is named first
                if (!other.matches(NUMBER)) {
                    throw new ModelError("not a number: %s%s", other, where());
                }
            }
            if (type.infinity == 0 && !part.matches("[+-]?[0-9]+")) {
                throw new ModelError("not a whole number: %s%s (the input takes %s)", part, where(), type);
            }
            throw new ModelError("out of range for %s: %s%s", type, part, where().contains(" line ") ? where() : "");
        }

        private long bool(String part) {
            if (!part.equalsIgnoreCase("true") && !part.equalsIgnoreCase("false")) {
                throw new ModelError("not a bool: %s%s (true or false)", part, where());
            }
            return part.length() == 4 ? 1 : 0;
        }

        private byte[] string(int from, int to) {
            String part = part(from, to);
            try {
                if (!part.startsWith("b64:")) {
                    return Arrays.copyOfRange(text, from, to);
                }
                if (part.length() % 4 == 0) { // the decoder does without padding
                    return Base64.getDecoder().decode(part.substring(4));
                }
            } catch (IllegalArgumentException e) {
                // It is named below.
            }
            throw new ModelError("not base64: %s%s", part, where());
        }

        private String part(int from, int to) {
            return new String(text, from, to - from, StandardCharsets.UTF_8).replace('\ufffd', ' '); // what is no text
        }

        private String where() {
            return where == null ? " on line " + line : where;
        }
    }

    /** The bits of the number of a float type nearest to decimal digits; infinite beyond its range. */
    private static long round(Type type, byte[] digits, int from, int length) {
        if (type == Type.FLOAT64) {
            return Double.doubleToRawLongBits(JavaDoubleParser.parseDouble(digits, from, length));
        }
        if (type == Type.FLOAT32) {
            return Float.floatToRawIntBits(JavaFloatParser.parseFloat(digits, from, length)) & type.mask;
        }
        // By way of float64, a number is rounded twice. That is wrong only where the float64 is midway between two
        // narrower ones and the digits are not; there the digits decide.
        double wide = JavaDoubleParser.parseDouble(digits, from, length);
        int bias = (1 << 15 - type.precision) - 1;
        double unit = Math.scalb(1.0, Math.max(Math.getExponent(wide), 1 - bias) + 1 - type.precision);
        if (Math.abs(wide / unit % 1) == 0.5) {
            int side = JavaBigDecimalParser.parseBigDecimal(digits, from, length).compareTo(new BigDecimal(wide));
            wide = side == 0 ? wide : Math.nextAfter(wide, side * Double.POSITIVE_INFINITY);
        }
        // A float32 with the narrower type's bias has its bits, and others behind them.
        float biased = (float) Math.scalb(Math.abs(Math.rint(wide / unit) * unit), bias - 127);
        long bits = Math.min(Float.floatToRawIntBits(biased) >>> 24 - type.precision, type.infinity);
        return Double.doubleToRawLongBits(wide) < 0 ? bits | type.sign : bits;
    }

    /** The shortest digits that read back: those nearest, or where just these do not, those above. */
    private static BigDecimal shortest(Type type, long bits) {
        BigDecimal exact = new BigDecimal(switch (type) {
            case FLOAT64 -> Double.longBitsToDouble(bits);
            case FLOAT32 -> Float.intBitsToFloat((int) bits);
            default -> Math.scalb((double) Float.intBitsToFloat((int) bits << 24 - type.precision),
                    128 - (1 << 15 - type.precision));
        });
        for (int count = 1;; count++) {
            for (RoundingMode mode : List.of(RoundingMode.HALF_EVEN, RoundingMode.UP)) {
                BigDecimal rounded = exact.round(new MathContext(count, mode));
                byte[] digits = rounded.toString().getBytes(StandardCharsets.US_ASCII);
                if (round(type, digits, 0, digits.length) == bits) {
                    return rounded;
                }
            }
        }
    }

    /**
     * Appends elements of an array to a text.
     *
     * <p>Numbers have the shortest digits that read back to the same value of the array's own type, with an exponent only
     * where it is below -4 or at least 21 ({@code -4.5}, {@code 1499994026270459.2}, {@code 1e-05}, {@code 1e+21}). The
     * others are {@code -0}, {@code NaN}, {@code +Inf}, {@code -Inf}, {@code true} and {@code false}. Strings are JSON;
     * bytes that are no text are written after {@code b64:}.
     *
     * @param between follows each element, but a line feed every one of {@code width}
     */
    static void format(StringBuilder text, Array array, int first, int last, char between, int width) {
        Type type = array.type;
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
                case FLOAT64, FLOAT32, FLOAT16, BFLOAT16 -> number(text, type, bits & type.mask);
                case INT8, INT16, INT32, INT64 -> text.append(bits);
                case UINT8, UINT16, UINT32, UINT64 -> text.append(Long.toUnsignedString(bits & type.mask));
                case BOOL -> text.append(bits != 0);
                case STRING -> json(text, array.strings[i]);
            }
            text.append(column == width ? '\n' : between);
            column = column == width ? 0 : column;
        }
    }

    private static void number(StringBuilder text, Type type, long bits) {
        long magnitude = bits & ~type.sign;
        if (magnitude >= type.infinity) {
            text.append(magnitude > type.infinity ? "NaN" : bits == magnitude ? "+Inf" : "-Inf");
            return;
        }
        if (bits != magnitude) {
            text.append('-');
        }
        BigDecimal decimal;
        if (magnitude == 0 || type.size == 2 || magnitude < 100) { // where few digits are enough, Java has two at least
            decimal = magnitude == 0 ? BigDecimal.ZERO : shortest(type, magnitude);
        } else {
            String java = type == Type.FLOAT64 ? NumberOutput.toString(Double.longBitsToDouble(magnitude), true)
                    : NumberOutput.toString(Float.intBitsToFloat((int) magnitude), true);
            if (java.indexOf('E') < 0) {
                text.append(java);
                text.setLength(text.length() - (java.endsWith(".0") ? 2 : 0));
                return;
            }
            decimal = new BigDecimal(java);
        }
        decimal = decimal.stripTrailingZeros();
        int exponent = decimal.precision() - decimal.scale() - 1;
        if (exponent >= -4 && exponent < 21) {
            text.append(decimal.toPlainString());
            return;
        }
        text.append(decimal.unscaledValue());
        if (decimal.precision() > 1) {
            text.insert(text.length() - decimal.precision() + 1, '.');
        }
        text.append(exponent < 0 ? "e-" : "e+").append(Math.abs(exponent) < 10 ? "0" : "").append(Math.abs(exponent));
    }

    private static void json(StringBuilder text, byte[] string) {
        String decoded;
        try {
            decoded = StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(string)).toString();
        } catch (CharacterCodingException e) {
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
     * Writes the results of --x, flat, on one line; a part at a time, for the text takes more memory than they do.
     *
     * @param name of the output, where there are several
     */
    public static void writeResults(OutputStream output, Array results, String name) throws IOException {
        var text = new StringBuilder("The calculation results" + (name.isEmpty() ? "" : " of " + name) + " : [");
        for (int i = 0; i < results.size(); i += CHUNK) {
            if (i > 0) {
                output.write(text.toString().getBytes(StandardCharsets.UTF_8));
                text.setLength(0);
            }
            format(text, results, i, Math.min(i + CHUNK, results.size()), ' ', 0);
        }
        text.setLength(text.length() - Math.min(1, results.size()));
        output.write(text.append("]\n").toString().getBytes(StandardCharsets.UTF_8));
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

    /** How many values fill a placeholder whose open dimension is 1. Throws ModelError where several are open. */
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
     * How many rows of --stdin go into one run: {@code asked}, else 4,096 numbers' worth, one on a terminal.
     *
     * @param result the output's static shape, as a placeholder's
     * @param asked null where nobody did
     * @throws ModelError rows cannot go into the model, or results cannot come out of it, so many at a time
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
