package modelimportexport;

import ch.randelshofer.fastdoubleparser.JavaDoubleParser;
import ch.randelshofer.fastdoubleparser.JavaFloatParser;
import com.fasterxml.jackson.core.io.schubfach.DoubleToDecimal;
import com.fasterxml.jackson.core.io.schubfach.FloatToDecimal;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.math.BigDecimal;
import java.math.MathContext;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.RejectedExecutionException;
import java.util.function.Consumer;
import java.util.stream.Collectors;
import java.util.stream.LongStream;
import org.tensorflow.proto.DataType;

/**
 * Rows of numbers: read from text, written as text, streamed from an input to an output.
 *
 * <p>The grammar and the digits are the same in every language, so that the output of one consumer can be compared with
 * another's byte for byte.
 */
public final class Rows {
    private static final int CHUNK = 1 << 18; // bytes read at once
    private static final int LONGEST_LINE = 1 << 24; // bytes
    private static final int LONGEST_NUMBER = 26; // bytes, of the text of any element and what stands behind it

    /**
     * What a tensor holds.
     *
     * @param type a number's, or bool
     * @param contents its elements as they stand in memory, in row-major order
     */
    public record Array(DataType type, long[] shape, byte[] contents) {
        /** How many elements it has. */
        public int size() {
            return contents.length / elementSize(type);
        }

        private ByteBuffer buffer() {
            return ByteBuffer.wrap(contents).order(ByteOrder.nativeOrder());
        }
    }

    /** A model: from the contents of n rows to their results, of the shape {@code [n, ...]}. */
    @FunctionalInterface
    public interface Run {
        /** Calculates. */
        Array run(byte[] contents, int n);
    }

    private Rows() {}

    /** An array of that shape, all zeros. */
    public static Array zeros(DataType type, long[] shape) {
        long elements = LongStream.of(shape).reduce(1, (a, b) -> a * b);
        return new Array(type, shape, new byte[Math.toIntExact(elements * elementSize(type))]);
    }

    /**
     * Reads comma-separated numbers such as {@code 0,-1.5,1e-3,nan} into an array of shape {@code [n]}.
     *
     * @param type float64 or float32; a number is rounded to it once, from its decimal digits
     * @param where names the place in an error: {@code " in --x"}
     * @throws ModelError a part is no number, or is out of the type's range
     */
    public static Array parseNumbers(String text, DataType type, String where) {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        int count = 1;
        for (byte b : bytes) {
            count += b == ',' ? 1 : 0;
        }
        Array array = zeros(type, new long[] {count});
        parseLine(bytes, 0, bytes.length, array.buffer(), type, where, 0);
        return array;
    }

    /**
     * Reads the numbers of a line into a buffer.
     *
     * @param line its number in the input, 0 where it is none, but stands at {@code where}
     * @return how many numbers there are; those that the buffer has no room for are not stored
     */
    private static int parseLine(
            byte[] text, int start, int end, ByteBuffer numbers, DataType type, String where, long line) {
        int count = 0;
        for (int from = start; from <= end; count++) {
            int to = from;
            while (to < end && text[to] != ',') {
                to++;
            }
            if (!isNumber(text, from, to)) {
                throw new ModelError("not a number: %s%s",
                        string(text, from, to), line > 0 ? " on line " + line : where);
            }
            boolean word = to - from > 2 && Character.isLetter(text[to - 1]); // nan or inf, with or without a sign
            boolean infinite;
            if (type == DataType.DT_FLOAT) {
                float number = word ? (float) word(text, from, to) : JavaFloatParser.parseFloat(text, from, to - from);
                infinite = Float.isInfinite(number);
                if (numbers.remaining() >= Float.BYTES) {
                    numbers.putFloat(number);
                }
            } else {
                double number = word ? word(text, from, to) : JavaDoubleParser.parseDouble(text, from, to - from);
                infinite = Double.isInfinite(number);
                if (numbers.remaining() >= Double.BYTES) {
                    numbers.putDouble(number);
                }
            }
            if (infinite && !word) {
                throw new ModelError("out of range for %s: %s%s", GraphCheck.typeName(type.getNumber()),
                        string(text, from, to), line > 0 ? " on line " + line : "");
            }
            from = to + 1;
        }
        return count;
    }

    private static String string(byte[] text, int from, int to) {
        return new String(text, from, to - from, StandardCharsets.UTF_8);
    }

    /** The number that a word is: nan or inf in any case, behind a sign or not. */
    private static double word(byte[] text, int from, int to) {
        if ((text[to - 1] | 0x20) == 'n') {
            return Double.NaN;
        }
        return text[from] == '-' ? Double.NEGATIVE_INFINITY : Double.POSITIVE_INFINITY;
    }

    /**
     * Whether a text is a sign, digits with a point and an exponent, or nan or inf in any case: less than
     * Double.parseDouble takes ({@code 1d}, {@code 0x1p0}, {@code " 1"}).
     */
    private static boolean isNumber(byte[] text, int from, int to) {
        int i = from + signs(text, from, to);
        int whole = digits(text, i, to);
        i += whole;
        int fraction = 0;
        if (i < to && text[i] == '.') {
            fraction = digits(text, i + 1, to);
            i += 1 + fraction;
        } else if (whole == 0) {
            String word = to - i == 3 ? string(text, i, to) : "";
            return word.equalsIgnoreCase("nan") || word.equalsIgnoreCase("inf");
        }
        if (whole + fraction == 0) {
            return false;
        }
        if (i < to && (text[i] | 0x20) == 'e') {
            i++;
            i += signs(text, i, to);
            int exponent = digits(text, i, to);
            return exponent > 0 && i + exponent == to;
        }
        return i == to;
    }

    private static int signs(byte[] text, int i, int to) {
        return i < to && (text[i] == '+' || text[i] == '-') ? 1 : 0;
    }

    private static int digits(byte[] text, int from, int to) {
        int i = from;
        while (i < to && text[i] >= '0' && text[i] <= '9') {
            i++;
        }
        return i - from;
    }

    /**
     * The shape in which {@code count} numbers fit a placeholder; the last open dimension takes what is left.
     *
     * <p>{@code [?, ?]} takes {@code [1, n]}, {@code [?, 10]} takes {@code [n / 10, 10]}, {@code [?]} takes {@code [n]},
     * {@code []} takes one; an unknown rank (null) takes one number as {@code []} and more as {@code [n]}.
     *
     * @param dims the placeholder's static shape, -1 where a dimension is open
     * @param name the placeholder, for the error
     * @throws ModelError the numbers do not fit
     */
    public static long[] feedShape(long[] dims, int count, String name) {
        if (dims == null) {
            return count > 1 ? new long[] {count} : new long[0];
        }
        long row = 1;
        int last = -1;
        for (int i = 0; i < dims.length; i++) {
            if (dims[i] < 0) {
                last = i;
            } else {
                // Beyond a long's range there are more than anybody gives.
                row = dims[i] > 0 && row > Long.MAX_VALUE / dims[i] ? Long.MAX_VALUE : row * dims[i];
            }
        }
        if (row == 0 || count % row != 0 || last < 0 && count != row) {
            throw new ModelError("wrong number of values: %d given, the placeholder %s takes %s%d",
                    count, name, last < 0 ? "" : "a multiple of ", row);
        }
        long[] shape = LongStream.of(dims).map(dim -> Math.max(1, dim)).toArray();
        if (last >= 0) {
            shape[last] = count / row;
        }
        return shape;
    }

    /** The shape of one row: {@code [1, 1]} for a placeholder of {@code [?, ?]}, {@code [1, 10]} for {@code [?, 10]}. */
    public static long[] rowShape(long[] dims) {
        return dims == null ? new long[] {1} : LongStream.of(dims).map(Math::abs).toArray();
    }

    /** A shape as it is written: {@code [2, 3]}, {@code [?, 3]} where a dimension is open (-1). */
    public static String shapeText(long[] dims) {
        return LongStream.of(dims).mapToObj(dim -> dim < 0 ? "?" : Long.toString(dim))
                .collect(Collectors.joining(", ", "[", "]"));
    }

    private static int elementSize(DataType type) {
        return switch (type) {
            case DT_BOOL, DT_INT8, DT_UINT8 -> 1;
            case DT_INT16, DT_UINT16 -> 2;
            case DT_FLOAT, DT_INT32, DT_UINT32 -> 4;
            default -> 8;
        };
    }

    /**
     * Writes elements of an array, flat, in the shortest digits that read back to the same value of the array's own type.
     * An exponent stands only where it is below -4 or at least 21 ({@code -4.5}, {@code 1499994026270459.2},
     * {@code 1e-05}, {@code 1e+21}). The others are {@code -0}, {@code NaN}, {@code +Inf}, {@code -Inf}, {@code true} and
     * {@code false}. Behind each element but a row's last stands {@code between}, behind that {@code end}; a row has
     * {@code width} elements.
     *
     * @param text takes the bytes; it has room for 26 an element
     * @param position where to begin
     * @return where it ends
     */
    static int format(byte[] text, int position, Array array, int first, int count, char between, char end, int width) {
        ByteBuffer elements = array.buffer();
        int column = 0;
        int at = position;
        for (int i = first; i < first + count; i++) {
            at = format(text, at, elements, i, array.type());
            boolean last = ++column == width;
            text[at++] = (byte) (last ? end : between);
            column = last ? 0 : column;
        }
        return at;
    }

    private static int format(byte[] text, int at, ByteBuffer elements, int i, DataType type) {
        return switch (type) {
            case DT_DOUBLE -> decimal(text, at, digits(elements.getDouble(8 * i)));
            case DT_FLOAT -> decimal(text, at, digits(elements.getFloat(4 * i)));
            case DT_BOOL -> copy(text, at, elements.get(i) != 0 ? "true" : "false");
            case DT_INT8 -> copy(text, at, Integer.toString(elements.get(i)));
            case DT_INT16 -> copy(text, at, Integer.toString(elements.getShort(2 * i)));
            case DT_INT32 -> copy(text, at, Integer.toString(elements.getInt(4 * i)));
            case DT_INT64 -> copy(text, at, Long.toString(elements.getLong(8 * i)));
            case DT_UINT8 -> copy(text, at, Integer.toString(elements.get(i) & 0xff));
            case DT_UINT16 -> copy(text, at, Integer.toString(elements.getShort(2 * i) & 0xffff));
            case DT_UINT32 -> copy(text, at, Integer.toUnsignedString(elements.getInt(4 * i)));
            default -> copy(text, at, Long.toUnsignedString(elements.getLong(8 * i)));
        };
    }

    // Java asks for two digits at least; near the end of the subnormals one is enough.
    private static String digits(double number) {
        if (number != 0 && Math.abs(number) < 1e-320) {
            BigDecimal one = new BigDecimal(number).round(new MathContext(1));
            if (one.doubleValue() == number) {
                return one.unscaledValue() + ".0E" + -one.scale();
            }
        }
        return DoubleToDecimal.toString(number);
    }

    private static String digits(float number) {
        if (number != 0 && Math.abs(number) < 1e-42f) {
            BigDecimal one = new BigDecimal(number).round(new MathContext(1));
            if (one.floatValue() == number) {
                return one.unscaledValue() + ".0E" + -one.scale();
            }
        }
        return FloatToDecimal.toString(number);
    }

    private static int copy(byte[] text, int at, String s) {
        return copy(text, at, s, 0, s.length());
    }

    private static int copy(byte[] text, int at, String s, int from, int to) {
        for (int i = from; i < to; i++) {
            text[at + i - from] = (byte) s.charAt(i);
        }
        return at + to - from;
    }

    /** Writes a number that Java has written: with a {@code .0} behind whole ones, and an exponent at other sizes. */
    private static int decimal(byte[] text, int position, String java) {
        int at = position;
        int length = java.length();
        int e = java.indexOf('E');
        if (e < 0) {
            if (java.charAt(length - 1) == 'N') {
                return copy(text, at, "NaN");
            }
            if (java.charAt(length - 1) == 'y') {
                return copy(text, at, java.charAt(0) == '-' ? "-Inf" : "+Inf");
            }
            at = copy(text, at, java);
            return text[at - 1] == '0' && text[at - 2] == '.' ? at - 2 : at;
        }
        // Java writes the exponents -4 to 20 as well; one digit stands before the point, and a lone 0 behind it says nothing.
        int exponent = Integer.parseInt(java, e + 1, length, 10);
        int first = java.charAt(0) == '-' ? 1 : 0;
        int rest = first + 2;
        int end = e == rest + 1 && java.charAt(rest) == '0' ? rest : e;
        if (first == 1) {
            text[at++] = '-';
        }
        if (exponent == -4) {
            at = copy(text, at, "0.000");
            text[at++] = (byte) java.charAt(first);
            return copy(text, at, java, rest, end);
        }
        text[at++] = (byte) java.charAt(first);
        int point = exponent >= 0 && exponent < 21 ? rest + exponent : rest;
        at = copy(text, at, java, rest, Math.min(point, end));
        for (int i = end; i < point; i++) {
            text[at++] = '0';
        }
        if (point < end) {
            text[at++] = '.';
            at = copy(text, at, java, point, end);
        }
        if (exponent < 0 || exponent >= 21) {
            at = copy(text, at, exponent < 0 ? "e-" : "e+");
            at = copy(text, at, Math.abs(exponent) < 10 ? "0" : "");
            at = copy(text, at, Integer.toString(Math.abs(exponent)));
        }
        return at;
    }

    /** Writes the results of --x, flat, on one line; a part at a time, for the text takes more than they do. */
    public static void writeResults(OutputStream output, Array results) throws IOException {
        byte[] text = new byte[Math.min(CHUNK, Math.max(1, results.size())) * LONGEST_NUMBER];
        output.write("The calculation results : [".getBytes(StandardCharsets.US_ASCII));
        for (int i = 0; i < results.size(); i += CHUNK) {
            int count = Math.min(CHUNK, results.size() - i);
            int end = format(text, 0, results, i, count, ' ', ' ', 0);
            output.write(text, 0, i + count == results.size() ? end - 1 : end);
        }
        output.write("]\n".getBytes(StandardCharsets.US_ASCII));
    }

    // Whole lines, the input's last of which may lack its end; the number of the first; what is wrong behind them.
    private record Block(byte[] text, long line, Throwable error, boolean last) {}

    // The numbers of a block's rows, up to the first that is wrong.
    private record ParsedBlock(byte[] contents, int length, Throwable error, boolean last) {}

    // The results of a block's rows: of each run, and how many rows it had.
    private record ResultBlock(List<Array> arrays, List<Integer> counts, Throwable error, boolean last) {}

    // What is to be written of a block.
    private record TextBlock(byte[] text, int length, Throwable error, boolean last) {}

    /**
     * Reads rows, a line each, until the input ends, and writes the results of each, a line each, as they come: what a read
     * brings is calculated before the next is waited for. Reading, parsing, calculating and writing overlap; the order stays.
     *
     * @param row one row of the placeholder's
     * @param name the placeholder, for errors
     * @param batch rows in one call of {@code run}, at most
     * @throws ModelError a line is not a row of numbers; the results of those before it have been written
     */
    public static void stream(InputStream input, OutputStream output, Run run, Array row, String name, int batch)
            throws IOException {
        int workers = Runtime.getRuntime().availableProcessors();
        ExecutorService pool = Executors.newFixedThreadPool(workers, Rows::daemon);
        var parsed = new ArrayBlockingQueue<Future<ParsedBlock>>(workers);
        var texts = new ArrayBlockingQueue<Future<TextBlock>>(workers);
        daemon(() -> readBlocks(input, block -> put(parsed, pool.submit(() -> parse(block, row, name))))).start();
        daemon(() -> {
            ResultBlock results;
            do {
                results = calculate(take(parsed), run, row.contents().length, batch);
                ResultBlock block = results;
                put(texts, pool.submit(() -> format(block)));
            } while (!results.last());
        }).start();
        try {
            TextBlock block;
            do {
                block = take(texts);
                output.write(block.text(), 0, block.length());
                rethrow(block.error());
            } while (!block.last());
        } finally {
            pool.shutdownNow();
        }
    }

    private static Thread daemon(Runnable work) {
        Thread thread = new Thread(() -> {
            try {
                work.run();
            } catch (RejectedExecutionException e) {
                // The stream has ended before its input.
            }
        });
        thread.setDaemon(true);
        return thread;
    }

    private static <T> void put(BlockingQueue<T> queue, T item) {
        try {
            queue.put(item);
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    private static <T> T take(BlockingQueue<Future<T>> queue) {
        try {
            return queue.take().get();
        } catch (InterruptedException | ExecutionException e) {
            throw new IllegalStateException(e.getCause());
        }
    }

    private static void rethrow(Throwable error) throws IOException {
        if (error instanceof IOException e) {
            throw e;
        }
        if (error instanceof RuntimeException e) {
            throw e;
        }
        if (error instanceof Error e) {
            throw e;
        }
    }

    private static void readBlocks(InputStream input, Consumer<Block> blocks) {
        byte[] buffer = new byte[CHUNK];
        byte[] rest = new byte[0];
        long line = 1;
        try {
            for (int read; (read = input.read(buffer)) >= 0;) {
                int end = read;
                while (end > 0 && buffer[end - 1] != '\n') {
                    end--;
                }
                if (end > 0) {
                    byte[] text = Arrays.copyOf(rest, rest.length + end);
                    System.arraycopy(buffer, 0, text, rest.length, end);
                    blocks.accept(new Block(text, line, null, false));
                    for (byte b : text) {
                        line += b == '\n' ? 1 : 0;
                    }
                    rest = new byte[0];
                }
                int length = rest.length;
                rest = Arrays.copyOf(rest, length + read - end);
                System.arraycopy(buffer, end, rest, length, read - end);
                if (rest.length > LONGEST_LINE) {
                    throw new ModelError("too long: line %d has more than %d bytes", line, LONGEST_LINE);
                }
            }
            blocks.accept(new Block(rest, line, null, true));
        } catch (Throwable e) {
            blocks.accept(new Block(new byte[0], line, e, true));
        }
    }

    private static ParsedBlock parse(Block block, Array row, String name) {
        byte[] text = block.text();
        ByteBuffer numbers = ByteBuffer.allocate(text.length / 2 / row.size() * row.contents().length + row.contents().length)
                .order(ByteOrder.nativeOrder());
        int good = 0;
        try {
            long line = block.line();
            for (int start = 0; start < text.length; line++) { // a line each
                int end = start;
                while (end < text.length && text[end] != '\n') {
                    end++;
                }
                int cut = end > start && text[end - 1] == '\r' ? end - 1 : end;
                int count = parseLine(text, start, cut, numbers, row.type(), "", line);
                if (count != row.size()) {
                    throw new ModelError("wrong number of values: %d given on line %d, the placeholder %s takes %d",
                            count, line, name, row.size());
                }
                good = numbers.position();
                start = end + 1;
            }
        } catch (ModelError e) {
            return new ParsedBlock(numbers.array(), good, e, true);
        }
        return new ParsedBlock(numbers.array(), good, block.error(), block.last());
    }

    private static ResultBlock calculate(ParsedBlock block, Run run, int size, int batch) {
        List<Array> arrays = new ArrayList<>();
        List<Integer> counts = new ArrayList<>();
        try {
            for (int start = 0; start < block.length(); start += batch * size) {
                int end = Math.min(start + batch * size, block.length());
                arrays.add(run.run(Arrays.copyOfRange(block.contents(), start, end), (end - start) / size));
                counts.add((end - start) / size);
            }
        } catch (Throwable e) {
            return new ResultBlock(arrays, counts, e, true);
        }
        return new ResultBlock(arrays, counts, block.error(), block.last());
    }

    private static TextBlock format(ResultBlock block) {
        int room = 0;
        for (int i = 0; i < block.arrays().size(); i++) {
            room += Math.max(block.arrays().get(i).size() * LONGEST_NUMBER, block.counts().get(i));
        }
        byte[] text = new byte[room];
        int at = 0;
        for (int i = 0; i < block.arrays().size(); i++) {
            Array array = block.arrays().get(i);
            int count = block.counts().get(i);
            if (array.size() == 0) { // rows of no elements
                Arrays.fill(text, at, at + count, (byte) '\n');
                at += count;
            }
            at = format(text, at, array, 0, array.size(), ',', '\n', array.size() / count);
        }
        return new TextBlock(text, at, block.error(), block.last());
    }
}
