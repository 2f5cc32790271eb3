package modelimportexport;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.PipedInputStream;
import java.io.PipedOutputStream;
import java.io.UncheckedIOException;
import java.math.BigDecimal;
import java.math.MathContext;
import java.math.RoundingMode;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.Random;
import java.util.stream.Collectors;
import java.util.stream.DoubleStream;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.tensorflow.proto.DataType;

final class RowsTest {
    private static double[] doubles(Rows.Array array) {
        double[] numbers = new double[array.size()];
        ByteBuffer.wrap(array.contents()).order(ByteOrder.nativeOrder()).asDoubleBuffer().get(numbers);
        return numbers;
    }

    private static ByteBuffer buffer(int size) {
        return ByteBuffer.allocate(size).order(ByteOrder.nativeOrder());
    }

    private static Rows.Array array(double... numbers) {
        ByteBuffer contents = buffer(8 * numbers.length);
        DoubleStream.of(numbers).forEach(contents::putDouble);
        return new Rows.Array(DataType.DT_DOUBLE, new long[] {numbers.length}, contents.array());
    }

    private static Rows.Array floats(float... numbers) {
        ByteBuffer contents = buffer(4 * numbers.length);
        for (float number : numbers) {
            contents.putFloat(number);
        }
        return new Rows.Array(DataType.DT_FLOAT, new long[] {numbers.length}, contents.array());
    }

    private static String text(Rows.Array array) {
        byte[] text = new byte[26 * array.size()];
        int length = Rows.format(text, 0, array, 0, array.size(), ' ', ' ', 0);
        return new String(text, 0, length, StandardCharsets.US_ASCII).strip();
    }

    @Test
    void numbersIn() {
        var numbers = Rows.parseNumbers("0,-1.5,+.5,2.,1e-3,1E+2,5e-324,1e-400,1e22", DataType.DT_DOUBLE, "");
        assertArrayEquals(new double[] {0, -1.5, 0.5, 2, 0.001, 100, 4.9e-324, 0, 1e22}, doubles(numbers));
        double inf = Double.POSITIVE_INFINITY;
        var words = Rows.parseNumbers("nan,-NaN,Inf,-INF,+inf", DataType.DT_DOUBLE, "");
        assertArrayEquals(new double[] {Double.NaN, Double.NaN, inf, -inf, inf}, doubles(words));
    }

    @ParameterizedTest
    @ValueSource(strings = {
        "", " ", " 1", "1 ", "1_0", "0x1", "0x1p3", "1d", "1f", "Infinity", "-", "+", ".", "e5", "1e", "1e+", "--1", "1.2.3",
        "1e5.", "nanx", "\u0663", "1\r", "-.e1"})
    void whatIsNoNumber(String text) {
        var error = assertThrows(
                ModelError.class, () -> Rows.parseNumbers("1," + text, DataType.DT_DOUBLE, " in --x"));
        assertEquals("not a number: " + text + " in --x", error.getMessage());
    }

    @ParameterizedTest
    @CsvSource({"1e999,DT_DOUBLE,float64", "-1e39,DT_FLOAT,float32", "3.4028235677973367e38,DT_FLOAT,float32"})
    void numbersOutOfRange(String text, DataType type, String name) {
        var error = assertThrows(ModelError.class, () -> Rows.parseNumbers(text, type, " in --x"));
        assertEquals("out of range for " + name + ": " + text, error.getMessage());
    }

    /** 1 + 2^-24 lies midway between two float32s; by way of a double the digits behind would be lost. */
    @Test
    void float32IsRoundedOnce() {
        String midway = "1.000000059604644775390625";
        var numbers = Rows.parseNumbers(
                midway + "," + midway + "0000000001,0.1,3.4028235677973366e38", DataType.DT_FLOAT, "");
        assertEquals("1 1.0000001 0.1 3.4028235e+38", text(numbers));
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', value = {
        "?        | 1  | []", "?       | 3  | [3]", "[]      | 1  | []", "[-1]      | 3  | [3]", "[-1,-1] | 4 | [1, 4]",
        "[-1,10]  | 20 | [2, 10]", "[2,-1,3] | 12 | [2, 2, 3]", "[2,2] | 4 | [2, 2]",
        "[]       | 2  | wrong number of values: 2 given, the placeholder x takes 1",
        "[-1,10]  | 15 | wrong number of values: 15 given, the placeholder x takes a multiple of 10",
        "[2,2]    | 8  | wrong number of values: 8 given, the placeholder x takes 4",
        "[0,2]    | 4  | wrong number of values: 4 given, the placeholder x takes 0"})
    void feedShape(String shape, int count, String expected) {
        String inner = shape.substring(1, Math.max(1, shape.length() - 1));
        long[] dims = shape.equals("?") ? null : inner.isEmpty() ? new long[0]
                : Stream.of(inner.split(",")).mapToLong(Long::parseLong).toArray();
        String got;
        try {
            got = Rows.shapeText(Rows.feedShape(dims, count, "x"));
        } catch (ModelError e) {
            got = e.getMessage();
        }
        assertEquals(expected, got);
    }

    @Test
    void numbersOut() {
        assertEquals("-4.5 1499991.0256537136 1499994026270459.2 1.4999940262704624e+22 1e-05",
                text(array(-4.5, 1499991.0256537136, 1499994026270459.2, 1.4999940262704624e22, 1e-5)));
        assertEquals("0 -0 NaN +Inf -Inf 3",
                text(array(0, -0.0, Double.NaN, Double.POSITIVE_INFINITY, Double.NEGATIVE_INFINITY, 3)));
        assertEquals("100000000000000000000 1e+21 123456789012345680000 0.0001 9.999999999999999e-05 5e-324 -10000000",
                text(array(1e20, 1e21, 123456789012345678901.0, 0.0001, 0.00009999999999999999, 4.9e-324, -1e7)));
        assertEquals("0.1 16777216 100000000000000000000 1e+21 0.0001 1e-05 1e-45 -0.00012345",
                text(floats(0.1f, 16777216f, 1e20f, 1e21f, 1e-4f, 1e-5f, 1.4e-45f, -1.2345e-4f)));
    }

    @Test
    void integersOut() {
        byte[] ones = {-1, -1, -1, -1, -1, -1, -1, -1};
        for (var expected : Map.of(
                DataType.DT_INT64, "-1", DataType.DT_UINT64, "18446744073709551615", DataType.DT_INT32, "-1 -1",
                DataType.DT_UINT32, "4294967295 4294967295", DataType.DT_INT16, "-1 -1 -1 -1",
                DataType.DT_UINT16, "65535 65535 65535 65535").entrySet()) {
            assertEquals(expected.getValue(), text(new Rows.Array(expected.getKey(), new long[0], ones)));
        }
        byte[] two = {0, -1};
        assertEquals("false true", text(new Rows.Array(DataType.DT_BOOL, new long[0], two)));
        assertEquals("0 -1", text(new Rows.Array(DataType.DT_INT8, new long[0], two)));
        assertEquals("0 255", text(new Rows.Array(DataType.DT_UINT8, new long[0], two)));
    }

    /** Any bits: the digits read back to the same value, and one digit fewer does not. */
    @Test
    void digitsAreTheShortest() {
        var random = new Random(1);
        for (int i = 0; i < 20_000; i++) {
            // Every other one is among the smallest that there are.
            double value = Double.longBitsToDouble(i % 2 == 0 ? random.nextLong() : random.nextLong() >>> 34 + random.nextInt(29));
            if (!Double.isFinite(value) || value == 0) {
                continue;
            }
            String text = text(array(value));
            assertEquals(value, Double.parseDouble(text));
            var digits = new BigDecimal(text).stripTrailingZeros();
            if (digits.precision() > 1) {
                var shorter = digits.round(new MathContext(digits.precision() - 1, RoundingMode.HALF_EVEN));
                if (shorter.doubleValue() == value) {
                    throw new AssertionError(text + " has a digit too many");
                }
            }
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {0, 1, 3, 1 << 18, (1 << 18) + 1})
    void resultsLine(int count) throws IOException {
        var line = new ByteArrayOutputStream();
        Rows.writeResults(line, Rows.zeros(DataType.DT_DOUBLE, new long[] {count}));
        String zeros = IntStream.range(0, count).mapToObj(i -> "0").collect(Collectors.joining(" "));
        assertEquals("The calculation results : [" + zeros + "]\n", line.toString(StandardCharsets.US_ASCII));
    }

    /** A model that doubles; it sees at most 4,096 rows. */
    private static Rows.Array twice(byte[] contents, int n) {
        assertEquals(contents.length, 8 * n);
        assertEquals(n, Math.min(n, 4096));
        double[] numbers = doubles(new Rows.Array(DataType.DT_DOUBLE, new long[] {n}, contents));
        return array(DoubleStream.of(numbers).map(x -> 2 * x).toArray());
    }

    private static void stream(InputStream input, OutputStream output) throws IOException {
        Rows.stream(input, output, RowsTest::twice, Rows.zeros(DataType.DT_DOUBLE, new long[] {1, 1}), "x", 4096);
    }

    private static void check(String input, String expected, String message) throws IOException {
        var output = new ByteArrayOutputStream();
        var bytes = new ByteArrayInputStream(input.getBytes(StandardCharsets.UTF_8));
        if (message == null) {
            stream(bytes, output);
        } else {
            assertEquals(message, assertThrows(ModelError.class, () -> stream(bytes, output)).getMessage());
        }
        assertEquals(expected, output.toString(StandardCharsets.US_ASCII));
    }

    @Test
    void streams() throws IOException {
        String input = IntStream.range(0, 200_000).mapToObj(i -> i + "\n").collect(Collectors.joining());
        String output = IntStream.range(0, 200_000).mapToObj(i -> 2 * i + "\n").collect(Collectors.joining());
        check(input, output, null);
        check(input + "y\n", output, "not a number: y on line 200001");
        check("", "", null);
        check("1", "2\n", null);
        check("1\r\n2\r\n", "2\n4\n", null);
        check("1\n\n2\n", "2\n", "not a number:  on line 2");
        check("1\nx\n", "2\n", "not a number: x on line 2");
        check("1\n2,3\n", "2\n", "wrong number of values: 2 given on line 2, the placeholder x takes 1");
        check("1\n1e999\n", "2\n", "out of range for float64: 1e999 on line 2");
        check("1\n" + "1".repeat((1 << 24) + (1 << 18)), "2\n", "too long: line 2 has more than 16777216 bytes");
    }

    /** What has come is answered before more is waited for. */
    @Test
    void streamAnswersAtOnce() throws IOException {
        var questions = new PipedOutputStream();
        var input = new PipedInputStream(questions);
        var answers = new PipedInputStream();
        var output = new PipedOutputStream(answers);
        var thread = new Thread(() -> {
            try {
                stream(input, output);
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
        });
        thread.setDaemon(true);
        thread.start();
        for (int i = 0; i < 3; i++) {
            questions.write((i + "\n").getBytes(StandardCharsets.US_ASCII));
            questions.flush();
            assertEquals(2 * i + "\n", new String(answers.readNBytes(2), StandardCharsets.US_ASCII));
        }
    }

    @Test
    void streamEndsWithTheModelsError() {
        var input = new ByteArrayInputStream("1\n".repeat(1_000_000).getBytes(StandardCharsets.US_ASCII));
        Rows.Run broken = (contents, n) -> {
            throw new ModelError("broken");
        };
        var row = Rows.zeros(DataType.DT_DOUBLE, new long[] {1, 1});
        var error = assertThrows(ModelError.class,
                () -> Rows.stream(input, OutputStream.nullOutputStream(), broken, row, "x", 4096));
        assertEquals("broken", error.getMessage());
    }
}
