package modelimportexport;

import java.io.*;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.concurrent.*;
import java.util.function.UnaryOperator;
import java.util.stream.LongStream;
import modelimportexport.Rows.Array;
import modelimportexport.Rows.Placeholder;

/**
 * Reads one row per line until the input ends, and writes one line of results per row.
 *
 * <p>Batches are counted, not timed: the same rows give the same bytes however they arrive. One thread reads and calculates,
 * others format the results, and the caller's thread writes them in order.
 */
public final class RowStream {
    private static final int CHUNK = 1 << 18; // bytes read at once
    private static final int LONGEST_LINE = 1 << 24; // bytes
    private static final Future<byte[]> END = CompletableFuture.completedFuture(null);

    private final Placeholder placeholder;
    private final int row; // values in a row
    private final int size; // rows in a batch
    private final UnaryOperator<Array> run;
    private final OutputStream output;
    private final Parser parser;
    private int rows; // read but not yet calculated
    private final ForkJoinPool formatters = new ForkJoinPool(Runtime.getRuntime().availableProcessors());
    private final BlockingQueue<Future<byte[]>> answers = new ArrayBlockingQueue<>(4 * formatters.getParallelism());

    /** A stream in which {@code run} calculates the results of at most {@code size} rows, shape {@code [n, ...]}. */
    public RowStream(Placeholder placeholder, int size, UnaryOperator<Array> run, OutputStream output) {
        this.placeholder = placeholder;
        row = Rows.rowSize(placeholder).min(BigInteger.valueOf(Integer.MAX_VALUE)).intValue();
        this.size = size;
        this.run = run;
        this.output = output;
        parser = new Parser(placeholder.type(), null);
    }

    /** Answers an input. Throws ModelError if a line is not a row, after writing the results of the rows before it. */
    public void answer(InputStream input) throws Throwable {
        Thread reader = new Thread(new FutureTask<>(() -> readAll(input)));
        reader.setDaemon(true); // it may still be reading when writing fails
        reader.start();
        try {
            for (byte[] text; (text = answers.take().get()) != null;) {
                output.write(text);
            }
        } catch (ExecutionException e) {
            throw e.getCause();
        }
    }

    private Void readAll(InputStream input) throws InterruptedException {
        try {
            try {
                read(input);
            } finally { // the rows before an error are answered
                calculate();
            }
            answers.put(END);
        } catch (Throwable e) {
            answers.put(CompletableFuture.failedFuture(e));
        }
        return null;
    }

    private void read(InputStream input) throws IOException, InterruptedException {
        byte[] text = new byte[2 * CHUNK];
        int length = 0;
        for (int read; (read = input.read(text, length, text.length - length)) >= 0;) {
            int whole = length + read; // the end of the last whole line
            while (whole > length && text[whole - 1] != '\n') {
                whole--;
            }
            length += read;
            if (whole > length - read) {
                readRows(text, whole);
                length -= whole;
                System.arraycopy(text, whole, text, 0, length);
            }
            if (length > LONGEST_LINE) {
                throw new ModelError("too long: line %d has more than %d bytes", parser.line + 1, LONGEST_LINE);
            }
            text = text.length - length < CHUNK ? Arrays.copyOf(text, 2 * text.length) : text;
        }
        readRows(text, length);
    }

    private void readRows(byte[] text, int end) throws InterruptedException {
        parser.text = text;
        parser.position = 0;
        parser.end = end;
        while (parser.position < end) {
            int count = parser.readLine();
            if (count != row) {
                throw new ModelError("wrong number of values: %d given on line %d, the placeholder %s takes %d",
                        count, parser.line, placeholder.name(), Rows.rowSize(placeholder));
            }
            if (++rows == size) {
                calculate();
            }
        }
    }

    private void calculate() throws InterruptedException {
        if (rows == 0) {
            return;
        }
        int n = rows;
        rows = 0;
        long[] dims = placeholder.shape() == null ? new long[] {1} : placeholder.shape();
        long[] shape = LongStream.of(dims).map(Math::abs).toArray();
        if (size > 1) {
            shape[0] = n;
        }
        Array results = run.apply(parser.take(n * row).reshape(shape));
        if (size > 1 && (results.shape().length == 0 || results.shape()[0] != n)) {
            throw Rows.notPerRow(results.shape());
        }
        answers.put(formatters.submit(() -> format(results, n))); // once there is room
    }

    private static byte[] format(Array results, int rows) {
        int width = results.size() / rows;
        String text = Rows.format(results, 0, results.size(), ',', width);
        return (width == 0 ? "\n".repeat(rows) : text).getBytes(StandardCharsets.UTF_8);
    }
}
