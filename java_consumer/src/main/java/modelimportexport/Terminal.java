package modelimportexport;

import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

/** What the program writes to its user besides results: errors in one line, and nothing of TensorFlow's log. */
public final class Terminal {
    private static String program = "java_consumer";
    private static final int LONGEST_ERROR = 1000; // characters

    // What a TensorFlow error quotes of the graph, behind the fault.
    private static final Pattern QUOTES = Pattern.compile("\n\t? ?\\[\\[.*", Pattern.DOTALL);

    private static final Pattern LINE_BREAK = Pattern.compile("[\n-\r\u001c-\u001e\u0085\u2028\u2029]+");

    private static Process relay; // to standard error, where that is a file

    private Terminal() {}

    /** Sets the name that errors begin with. */
    public static void setProgram(String name) {
        program = name;
    }

    /** Standard input; empty where the caller has closed it. */
    public static InputStream standardInput() {
        return isClosed(0) ? InputStream.nullInputStream() : new FileInputStream(FileDescriptor.in);
    }

    /** Standard output, with errors that are thrown; nothing where the caller has closed it. */
    public static OutputStream standardOutput() {
        return isClosed(1) ? OutputStream.nullOutputStream() : new FileOutputStream(FileDescriptor.out);
    }

    /** Whether the caller has closed a descriptor: one of the JVM's own files has then taken its number. */
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
     * its own. Where that does not work (not Linux, or standard error is closed or a socket), the lines stay.
     */
    public static void hideLog() {
        if (System.getenv("TF_CPP_MIN_LOG_LEVEL") != null) {
            return;
        }
        Path path = Path.of("/proc/self/fd/2");
        if (isClosed(2)) {
            System.setErr(new PrintStream(OutputStream.nullOutputStream()));
            return;
        }
        try {
            OutputStream terminal;
            if (Files.isRegularFile(path)) {
                // Opened anew, a file has another place to write at, and what others write later would overwrite it.
                relay = new ProcessBuilder("sh", "-c", "cat >&2").redirectError(ProcessBuilder.Redirect.INHERIT).start();
                terminal = relay.getOutputStream();
            } else {
                terminal = new FileOutputStream(path.toFile(), true);
            }
            System.setErr(new PrintStream(terminal, true, StandardCharsets.UTF_8));
            new FileOutputStream(FileDescriptor.err).close();
        } catch (IOException e) {
            // Then they are seen.
        }
    }

    /** Ends the program, once what it said has arrived. */
    public static void exit(int status) {
        if (relay != null) {
            System.err.close();
            try {
                relay.waitFor();
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        }
        // The threads that still wait for input or for the other's end of a pipe end with the process.
        Runtime.getRuntime().halt(status);
    }

    /** The text of an error on one line that a terminal shows as it is. */
    public static String oneLine(Throwable error) {
        String text = String.valueOf(error.getMessage());
        if (error instanceof NoSuchFileException) {
            text = "No such file or directory: " + text;
        } else if (error instanceof AccessDeniedException) {
            text = "Permission denied: " + text;
        } else if (error instanceof FileSystemException e && e.getReason() != null) {
            text = e.getReason() + ": " + e.getFile();
        } else if (!(error instanceof ModelError || error instanceof IOException || error instanceof Arguments.Wrong)) {
            text = error.getClass().getSimpleName() + ": " + text;
        }
        String line = LINE_BREAK.splitAsStream(QUOTES.matcher(text).replaceFirst(""))
                .map(String::strip)
                .filter(part -> !part.isEmpty())
                .collect(Collectors.joining(" "));
        int[] characters = line.codePoints().map(c -> isPrintable(c) ? c : ' ').toArray();
        int length = characters.length;
        if (length <= LONGEST_ERROR) {
            return new String(characters, 0, length);
        }
        String tail = new String(characters, length - LONGEST_ERROR / 2, LONGEST_ERROR / 2);
        return new String(characters, 0, LONGEST_ERROR / 2) + " ... " + tail;
    }

    private static boolean isPrintable(int character) {
        return switch (Character.getType(character)) {
            case Character.CONTROL, Character.FORMAT, Character.SURROGATE, Character.PRIVATE_USE, Character.UNASSIGNED,
                    Character.LINE_SEPARATOR, Character.PARAGRAPH_SEPARATOR, Character.SPACE_SEPARATOR -> false;
            default -> true;
        };
    }

    /** Prints an error as one line on standard error. */
    public static void warn(Throwable error) {
        System.err.println(program + ": " + oneLine(error));
    }
}
