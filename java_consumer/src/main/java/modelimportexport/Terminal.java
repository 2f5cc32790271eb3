package modelimportexport;

import java.io.*;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.util.concurrent.CompletableFuture;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.tensorflow.TensorFlow;

/** Everything a user sees besides results: one-line errors and exit statuses, without TensorFlow's log. */
public final class Terminal {
    private static final int LONGEST_ERROR = 1000; // characters
    private static Process relay; // passes lines on to standard error if that is a file

    private Terminal() {}

    /** A program. */
    @FunctionalInterface
    public interface Main {
        /** Runs it. */
        void run() throws Throwable;
    }

    /** Standard input; empty if the caller has closed it. */
    public static InputStream standardInput() {
        return isClosed(0) ? InputStream.nullInputStream() : new FileInputStream(FileDescriptor.in);
    }

    /** Standard output, which throws its errors; discards everything if the caller has closed it. */
    public static OutputStream standardOutput() {
        return isClosed(1) ? OutputStream.nullOutputStream() : new FileOutputStream(FileDescriptor.out);
    }

    /** Whether standard input is a terminal. {@code System.console()} does not tell: it looks at both streams. */
    public static boolean isInteractive() {
        try {
            var test = new ProcessBuilder("test", "-t", "0").redirectInput(ProcessBuilder.Redirect.INHERIT).start();
            return test.waitFor() == 0;
        } catch (IOException | InterruptedException e) {
            return false; // not POSIX
        }
    }

    /** Whether the caller has closed a descriptor: then one of the JVM's own files has its number. */
    private static boolean isClosed(int descriptor) {
        try {
            Path file = Files.readSymbolicLink(Path.of("/proc/self/fd", Integer.toString(descriptor)));
            return file.toString().endsWith(".jar")
                    || file.startsWith(Path.of(System.getProperty("java.home")).toRealPath());
        } catch (IOException e) {
            return false; // not Linux
        }
    }

    /**
     * Keeps TensorFlow's log lines off the terminal, unless TF_CPP_MIN_LOG_LEVEL is set.
     *
     * <p>They go to descriptor 2, which the JDK points at nothing when its stream is closed; System.err gets a descriptor of
     * its own. If that does not work (not Linux, or standard error is closed or a socket), the lines stay visible.
     */
    public static void hideLog() {
        // JavaCPP, on which TensorFlow for Java is built, would look for a GPU's 18 libraries for a tenth of a second, and
        // would ask for the size of the process whenever it allocates something: half the time of a small run.
        System.getProperties().putIfAbsent("org.bytedeco.javacpp.platform.extension", "");
        System.getProperties().putIfAbsent("org.bytedeco.javacpp.maxPhysicalBytes", "0");
        if (System.getenv("TF_CPP_MIN_LOG_LEVEL") != null) {
            return;
        }
        Path path = Path.of("/proc/self/fd/2");
        try {
            OutputStream terminal;
            if (isClosed(2)) {
                System.setErr(new PrintStream(OutputStream.nullOutputStream()));
                return;
            } else if (Files.isRegularFile(path)) {
                // A file opened again has a position of its own: what others write later would overwrite these lines.
                relay = new ProcessBuilder("sh", "-c", "cat >&2").redirectError(ProcessBuilder.Redirect.INHERIT).start();
                terminal = relay.getOutputStream();
            } else {
                terminal = new FileOutputStream(path.toFile(), true);
            }
            System.setErr(new PrintStream(terminal, true, StandardCharsets.UTF_8));
            new FileOutputStream(FileDescriptor.err).close();
        } catch (IOException e) {
            // Then the lines stay visible.
        }
    }

    /** Runs a program and exits: 0 when it is done or its reader went away, 1 after an error, 2 for a wrong command line. */
    public static void run(String program, Main main) {
        hideLog();
        // Only a signal runs this hook, and the status is then 130: every other end is the halt below.
        Runtime.getRuntime().addShutdownHook(new Thread(() -> System.err.println(program + ": interrupted")));
        // TensorFlow's library takes a quarter of a second to load: meanwhile the flags and the model are read. (A reference
        // to the method would load the class here, in the thread that could not report that its jar is missing.)
        var library = CompletableFuture.supplyAsync(() -> TensorFlow.version()).handle((version, failure) -> failure);
        int status = 0;
        try {
            main.run();
        } catch (Throwable e) {
            if (!"Broken pipe".equals(e.getMessage())) {
                Throwable missing = library.join(); // Java tells the first caller only that the class is missing
                System.err.println(program + ": "
                        + oneLine(reason(e instanceof LinkageError && missing != null ? missing.getCause() : e)));
                status = e instanceof Arguments.Wrong ? 2 : 1;
            }
        }
        library.join(); // exiting while the library loads could crash
        if (relay != null) { // its lines must arrive
            System.err.close();
            relay.onExit().join();
        }
        // Threads that still wait for input or for a pipe end with the process.
        Runtime.getRuntime().halt(status);
    }

    /** What went wrong, and with which file. */
    static String reason(Throwable error) {
        if (error instanceof FileSystemException e) {
            String reason = e instanceof NoSuchFileException ? "No such file or directory"
                    : e instanceof AccessDeniedException ? "Permission denied"
                    : e instanceof FileAlreadyExistsException ? "File exists" : e.getReason();
            return reason + ": " + e.getFile();
        }
        if (error instanceof NoClassDefFoundError && error.getCause() instanceof ClassNotFoundException) {
            return "no library: " + error.getMessage() + " (copy the folder lib that is beside the jar, too)";
        }
        boolean plain = error instanceof ModelError || error instanceof IOException || error instanceof Arguments.Wrong;
        return plain ? error.getMessage() : error.getClass().getSimpleName() + ": " + error.getMessage();
    }

    /** An error's text on one printable line, without the part of the graph that TensorFlow quotes. */
    public static String oneLine(String text) {
        String line = Stream.of(text.replaceFirst("(?s)\n\t? ?\\[\\[.*", "").split("[\\v\u001c-\u001e]")).map(String::strip)
                .filter(part -> !part.isEmpty()).collect(Collectors.joining(" ")).replaceAll("[\\p{C}\\p{Z}]", " ");
        int half = LONGEST_ERROR / 2;
        return line.length() <= LONGEST_ERROR ? line
                : line.substring(0, half) + " ... " + line.substring(line.length() - half);
    }
}
