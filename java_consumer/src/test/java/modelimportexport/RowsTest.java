package modelimportexport;

import static org.junit.jupiter.api.Assertions.*;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.*;
import java.math.*;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.*;
import java.util.function.UnaryOperator;
import java.util.stream.*;
import modelimportexport.Rows.Array;
import modelimportexport.Rows.Placeholder;
import modelimportexport.Rows.Type;
import org.junit.jupiter.api.*;
import org.junit.jupiter.api.function.ThrowingSupplier;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The cases of {@code tests/cases/}, and what only Java can get wrong. */
final class RowsTest {
    private interface Case {
        void run(JsonNode given) throws Throwable;
    }

    @TestFactory
    Stream<DynamicTest> cases() throws IOException {
        Map<String, Case> files = Map.of("values_in", this::valuesIn, "values_out", this::valuesOut, "shapes", this::shapes,
                "batches", this::batches, "streams", this::streams);
        List<DynamicTest> tests = new ArrayList<>();
        for (String name : files.keySet()) {
            for (JsonNode given : new ObjectMapper().readTree(new File("../tests/cases/" + name + ".json"))) {
                tests.add(DynamicTest.dynamicTest(name + " " + given, () -> files.get(name).run(given)));
            }
        }
        return tests.stream();
    }

    /** What a case gives is what it expects, or fails with the words that it expects. */
    private static void check(JsonNode given, Object expected, ThrowingSupplier<Object> actual) throws Throwable {
        if (given.has("error")) {
            var error = assertThrows(ModelError.class, actual::get);
            assertEquals(given.get("error").asText(), error.getMessage());
        } else {
            assertEquals(expected, actual.get());
        }
    }

    private static Type type(JsonNode given) {
        return Type.valueOf(given.get("dtype").asText().toUpperCase(Locale.ROOT));
    }

    private static long[] dims(JsonNode shape) {
        return shape.isNull() || shape.isMissingNode() ? null : StreamSupport.stream(shape.spliterator(), false).mapToLong(JsonNode::asLong).toArray();
    }

    private static Placeholder placeholder(JsonNode given) {
        return new Placeholder("x", Type.FLOAT64, dims(given.get("shape")));
    }

    /** Elements in hexadecimal, most significant byte first. */
    private static List<String> bits(Array array) {
        List<String> texts = new ArrayList<>();
        for (int i = 0; i < array.size(); i++) {
            byte[] element = array.strings() != null ? array.strings()[i]
                    : Arrays.copyOfRange(array.contents(), i * array.type().size, (i + 1) * array.type().size);
            for (int b = 0; array.strings() == null && b < element.length / 2; b++) {
                byte swapped = element[b];
                element[b] = element[element.length - 1 - b];
                element[element.length - 1 - b] = swapped;
            }
            texts.add(HexFormat.of().formatHex(element));
        }
        return texts;
    }

    private static Array array(Type type, String bits) {
        byte[] element = HexFormat.of().parseHex(bits);
        if (type == Type.STRING) {
            return new Array(type, new long[] {1}, null, new byte[][] {element});
        }
        ByteBuffer contents = ByteBuffer.allocate(element.length);
        for (int i = element.length - 1; i >= 0; i--) {
            contents.put(element[i]);
        }
        return new Array(type, new long[] {1}, contents.array(), null);
    }

    private static String text(Array array) {
        return Rows.format(array, 0, array.size(), '\n', 1).strip();
    }

    private void valuesIn(JsonNode given) throws Throwable {
        List<String> expected = new ArrayList<>();
        given.path("bits").forEach(element -> expected.add(element.asText()));
        check(given, expected, () -> {
            Array values = Parser.parse(given.get("text").asText(), type(given), given.path("where").asText(" in --x"));
            List<String> got = bits(values);
            got.replaceAll(element -> text(array(type(given), element)).equals("NaN") ? "nan" : element);
            return got;
        });
    }

    private void valuesOut(JsonNode given) {
        assertEquals(given.get("text").asText(), text(array(type(given), given.get("bits").asText())));
    }

    private void shapes(JsonNode given) throws Throwable {
        check(given, Arrays.toString(dims(given.path("feed"))),
                () -> Arrays.toString(Rows.feedShape(placeholder(given), given.get("count").asInt())));
    }

    private void batches(JsonNode given) throws Throwable {
        Integer asked = given.get("batch").isNull() ? null : Integer.valueOf(given.get("batch").asInt());
        check(given, given.path("rows").asInt(),
                () -> Rows.batchRows(placeholder(given), dims(given.get("result")), asked, () -> false));
    }

    /** A model that doubles, and notes the shape of each run. */
    private static UnaryOperator<Array> twice(List<String> runs) {
        return rows -> {
            runs.add(Arrays.toString(rows.shape()));
            ByteBuffer in = ByteBuffer.wrap(rows.contents()).order(ByteOrder.nativeOrder());
            ByteBuffer out = ByteBuffer.allocate(rows.contents().length).order(ByteOrder.nativeOrder());
            while (in.hasRemaining()) {
                out.putDouble(2 * in.getDouble());
            }
            return new Array(rows.type(), rows.shape(), out.array(), null);
        };
    }

    /** An input that comes in pieces of at most some bytes. */
    private static InputStream pieces(String text, int size) {
        return new ByteArrayInputStream(text.getBytes(StandardCharsets.UTF_8)) {
            @Override
            public synchronized int read(byte[] buffer, int offset, int length) {
                return super.read(buffer, offset, Math.min(length, size));
            }
        };
    }

    private void streams(JsonNode given) throws Throwable {
        for (int size : new int[] {1, 2, 3, 1 << 20}) {
            List<String> runs = new ArrayList<>();
            var output = new ByteArrayOutputStream();
            var stream = new RowStream(placeholder(given), given.get("batch").asInt(), twice(runs), output);
            check(given, null, () -> {
                stream.answer(pieces(given.get("input").asText(), size));
                return null;
            });
            assertEquals(given.get("output").asText(), output.toString(StandardCharsets.UTF_8));
            List<String> expected = new ArrayList<>();
            given.get("runs").forEach(shape -> expected.add(Arrays.toString(dims(shape))));
            assertEquals(expected, runs);
        }
    }

    private static final Placeholder NUMBER = new Placeholder("x", Type.FLOAT64, new long[] {-1, -1});

    /** The stages of many blocks overlap, and the order stays. */
    @Test
    void aLongStream() throws Throwable {
        String input = IntStream.range(0, 200_000).mapToObj(i -> i + "\n").collect(Collectors.joining());
        String output = IntStream.range(0, 200_000).mapToObj(i -> 2 * i + "\n").collect(Collectors.joining());
        List<String> runs = new ArrayList<>();
        var written = new ByteArrayOutputStream();
        var stream = new RowStream(NUMBER, 4096, twice(runs), written);
        var error = assertThrows(ModelError.class, () -> stream.answer(pieces(input + "y\n", 1 << 16)));
        assertEquals("not a number: y on line 200001", error.getMessage());
        assertEquals(output, written.toString(StandardCharsets.US_ASCII));
        assertEquals((200_000 + 4095) / 4096, runs.size());
    }

    @Test
    void aLineThatIsTooLong() {
        var written = new ByteArrayOutputStream();
        var stream = new RowStream(NUMBER, 4096, twice(new ArrayList<>()), written);
        String input = "1\n" + "1".repeat((1 << 24) + (1 << 18));
        var error = assertThrows(ModelError.class, () -> stream.answer(pieces(input, 1 << 20)));
        assertEquals("too long: line 2 has more than 16777216 bytes", error.getMessage());
        assertEquals("2\n", written.toString(StandardCharsets.US_ASCII));
    }

    /** What fills a batch is answered before more is waited for, and an error ends the stream though input may come. */
    @Test
    void streamAnswersAtOnce() throws Exception {
        var questions = new PipedOutputStream();
        var input = new PipedInputStream(questions);
        var answers = new PipedInputStream();
        var output = new PipedOutputStream(answers);
        var failed = new ArrayList<Throwable>();
        var thread = new Thread(() -> {
            try {
                new RowStream(NUMBER, 1, twice(new ArrayList<>()), output).answer(input);
            } catch (Throwable e) {
                failed.add(e);
            }
        });
        thread.start();
        for (int i = 0; i < 3; i++) {
            questions.write((i + "\n").getBytes(StandardCharsets.US_ASCII));
            questions.flush();
            assertEquals(2 * i + "\n", new String(answers.readNBytes(2), StandardCharsets.US_ASCII));
        }
        questions.write("x\n".getBytes(StandardCharsets.US_ASCII));
        questions.flush();
        thread.join(10_000);
        assertEquals("not a number: x on line 4", failed.get(0).getMessage());
    }

    @Test
    void streamEndsWithTheModelsError() {
        UnaryOperator<Array> broken = rows -> {
            throw new ModelError("broken");
        };
        var stream = new RowStream(NUMBER, 4096, broken, OutputStream.nullOutputStream());
        var error = assertThrows(ModelError.class, () -> stream.answer(pieces("1\n".repeat(1_000_000), 1 << 16)));
        assertEquals("broken", error.getMessage());
    }

    /** Any bits: the digits read back to the same value, and one digit fewer does not. */
    @Test
    void digitsAreTheShortest() {
        var random = new Random(1);
        for (int i = 0; i < 20_000; i++) {
            // Every other one is among the smallest that there are.
            long bits = (i % 2 == 0 ? random.nextLong() : random.nextLong() >>> 34 + random.nextInt(29)) & Long.MAX_VALUE;
            bits &= i % 5 == 0 ? -1L << 52 : -1; // and some are powers of two, whose neighbors are not equally far
            double value = Double.longBitsToDouble(bits);
            if (!Double.isFinite(value) || value == 0) {
                continue;
            }
            String text = text(array(Type.FLOAT64, String.format(Locale.ROOT, "%016x", bits)));
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

    /** Of every bit pattern of 16 bits, the text reads back to the same bits. */
    @ParameterizedTest
    @ValueSource(strings = {"float16", "bfloat16"})
    void everyNumberOf16BitsReadsBack(String dtype) {
        Type type = Type.valueOf(dtype.toUpperCase(Locale.ROOT));
        for (int bits = 0; bits < 1 << 16; bits++) {
            String text = text(array(type, String.format(Locale.ROOT, "%04x", bits)));
            if (!text.equals("NaN")) {
                assertEquals(List.of(String.format(Locale.ROOT, "%04x", bits)), bits(Parser.parse(text, type, "")));
            }
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {0, 1, 3, 1 << 18, (1 << 18) + 1})
    void resultsLine(int count) throws IOException {
        var line = new ByteArrayOutputStream();
        Rows.writeResults(line, new Array(Type.FLOAT64, new long[] {count}, new byte[8 * count], null), "");
        String zeros = IntStream.range(0, count).mapToObj(i -> "0").collect(Collectors.joining(" "));
        assertEquals("The calculation results : [" + zeros + "]\n", line.toString(StandardCharsets.US_ASCII));
    }

    /** What is saved is read again, over an older file and through a link, and nothing else is left behind. */
    @Test
    void arraysInFiles(@TempDir Path folder) throws IOException {
        Path link = Files.createSymbolicLink(folder.resolve("link.npy"), folder.resolve("a.npy"));
        for (Type type : Type.values()) {
            if (type != Type.STRING) {
                byte[] contents = new byte[6 * type.size];
                new Random(2).nextBytes(contents);
                Npy.save(link.toString(), new Array(type, new long[] {2, 3}, contents, null));
                Array again = Npy.load(new Placeholder("x", type, new long[] {-1, 3}), link.toString());
                assertArrayEquals(contents, again.contents());
                assertArrayEquals(new long[] {2, 3}, again.shape());
            }
        }
        try (var files = Files.list(folder)) {
            assertEquals(2, files.count());
        }
        Files.createDirectory(folder.resolve("d.npy"));
        var array = new Array(Type.INT8, new long[0], new byte[1], null);
        assertThrows(ModelError.class, () -> Npy.save(folder.resolve("d.npy").toString(), array));
    }
}
