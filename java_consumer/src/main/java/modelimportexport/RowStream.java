package modelimportexport;

import java.io.*;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.concurrent.*;
import java.util.function.Consumer;
import java.util.function.UnaryOperator;
import java.util.stream.LongStream;
import modelimportexport.Rows.Array;
import modelimportexport.Rows.Placeholder;

/**
 * Reads rows, a line each, until the input ends, and writes the results of each, a line each.
 *
 * <p>Rows go in batches, counted: the same rows give the same bytes however they arrive. Reading, parsing, calculating and
 * writing overlap; the order stays.
 */
public final class RowStream {
    private static final int CHUNK = 1 << 18; // bytes read at once
    private static final int LONGEST_LINE = 1 << 24; // bytes

    private final Placeholder placeholder;
    private final int row; // values in a row
    private final int size; // rows in a batch
    private final UnaryOperator<Array> run;
    private final OutputStream output;
    private final CompletableFuture<Void> end = new CompletableFuture<>();
    private boolean failed; // an earlier batch had an error

    /** A stream in which {@code run} calculates the results of at most {@code size} rows, shape {@code [n, ...]}. */
    public RowStream(Placeholder placeholder, int size, UnaryOperator<Array> run, OutputStream output) {
        this.placeholder = placeholder;
        row = Rows.rowSize(placeholder).min(BigInteger.valueOf(Integer.MAX_VALUE)).intValue();
        this.size = size;
        this.run = run;
        this.output = output;
    }

    private interface Stage {
        void take(Batch batch) throws IOException;
    }

    /** The lines of a batch, and what becomes of them. */
    private static final class Batch {
        private byte[] text;
        private final long line;
        private Array rows;
        private Array results;
        private Throwable error; // what is wrong after them

        private Batch(byte[] text, long line, Throwable error) {
            this.text = text;
            this.line = line;
            this.error = error;
        }

        private void through(Stage stage) {
            try {
                stage.take(this);
            } catch (Throwable e) {
                error = e;
            }
        }
    }

    /** Answers an input. Throws ModelError where a line is not a row; the results of those before it have been written. */
    public void answer(InputStream input) throws Throwable {
        // Another thread waits for the input, so that an error ends the stream at once.
        Thread reader = new Thread(() -> read(input));
        reader.setDaemon(true);
        reader.start();
        try {
            end.get();
        } catch (ExecutionException e) {
            throw e.getCause();
        }
    }

    private void read(InputStream input) {
        int workers = Runtime.getRuntime().availableProcessors() + 1;
        var pool = new ForkJoinPool(workers);
        var room = new Semaphore(4 * workers); // batches
        CompletableFuture<?>[] before = {CompletableFuture.completedFuture(null), CompletableFuture.completedFuture(null)};
        cut(input, batch -> {
            room.acquireUninterruptibly();
            var parsed = CompletableFuture.runAsync(() -> batch.through(this::parse), pool);
            before[0] = before[0].runAfterBothAsync(parsed, () -> batch.through(this::calculate), pool);
            var formatted = before[0].thenRunAsync(() -> batch.through(this::format), pool);
            before[1] = before[1].runAfterBothAsync(formatted, () -> write(batch), pool).thenRun(room::release);
        });
        before[1].thenRun(() -> end.complete(null));
    }

    private void cut(InputStream input, Consumer<Batch> batches) {
        byte[] text = new byte[2 * CHUNK];
        int length = 0;
        int rest = 0; // where the line begins that is not whole yet
        int count = 0; // of whole lines
        long line = 1; // the number of the first
        Throwable error = null;
        try {
            for (int read; !end.isDone() && (read = input.read(text, length, text.length - length)) >= 0;) {
                int start = 0;
                for (int i = length; i < length + read; i++) {
                    if (text[i] == '\n') {
                        rest = i + 1;
                        if (++count == size) {
                            batches.accept(new Batch(Arrays.copyOfRange(text, start, rest), line, null));
                            start = rest;
                            line += size;
                            count = 0;
                        }
                    }
                }
                length += read - start;
                rest -= start;
                System.arraycopy(text, start, text, 0, length);
                if (length - rest > LONGEST_LINE) {
                    throw new ModelError("too long: line %d has more than %d bytes", line + count, LONGEST_LINE);
                }
                text = text.length - length < CHUNK ? Arrays.copyOf(text, 2 * text.length) : text;
            }
            rest = length;
        } catch (Throwable e) {
            error = e;
        }
        batches.accept(new Batch(Arrays.copyOf(text, rest), line, error));
    }

    private void parse(Batch batch) {
        var parser = new Rows.Parser(batch.text, placeholder.type(), null);
        parser.line = batch.line;
        try {
            for (int start = 0, end; start < batch.text.length; start = end + 1, parser.line++) {
                for (end = start; end < batch.text.length && batch.text[end] != '\n';) {
                    end++;
                }
                int count = parser.readRow(start, end > start && batch.text[end - 1] == '\r' ? end - 1 : end);
                if (count != row) {
                    throw new ModelError("wrong number of values: %d given on line %d, the placeholder %s takes %d",
                            count, parser.line, placeholder.name(), Rows.rowSize(placeholder));
                }
            }
        } finally {
            batch.rows = parser.values((int) (parser.line - batch.line) * row);
        }
    }

    private void calculate(Batch batch) {
        if (failed) {
            return;
        }
        failed = true; // unless it comes to its end
        int n = batch.rows.size() / row;
        long[] dims = placeholder.shape() == null ? new long[] {1} : placeholder.shape();
        long[] shape = LongStream.of(dims).map(Math::abs).toArray();
        if (size > 1) {
            shape[0] = n;
        }
        Array results = n == 0 ? batch.rows : run.apply(batch.rows.reshape(shape));
        if (n > 0 && size > 1 && (results.shape().length == 0 || results.shape()[0] != n)) {
            throw Rows.notPerRow(results.shape());
        }
        batch.results = results;
        failed = batch.error != null;
    }

    private void format(Batch batch) {
        var text = new StringBuilder();
        if (batch.results != null) {
            int n = batch.rows.size() / row;
            int width = batch.results.size() / Math.max(1, n);
            Rows.format(text, batch.results, 0, batch.results.size(), ',', width);
            text.append("\n".repeat(width == 0 ? n : 0));
        }
        batch.text = text.toString().getBytes(StandardCharsets.UTF_8);
    }

    private void write(Batch batch) {
        if (!end.isDone()) {
            batch.through(done -> output.write(done.text));
            if (batch.error != null) {
                end.completeExceptionally(batch.error);
            }
        }
    }
}
