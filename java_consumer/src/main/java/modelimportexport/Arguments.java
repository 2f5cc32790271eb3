package modelimportexport;

import java.io.IOException;
import java.io.InputStream;
import java.util.*;
import java.util.regex.Pattern;
import org.tensorflow.TensorFlow;

/** The command line: {@code -x} for {@code --x}, {@code --x -1,2} for {@code --x=-1,2}, and what is wrong in one line. */
public final class Arguments {
    private static final Pattern NEGATIVE = Pattern.compile("(?i)-([0-9.]|inf|nan).*", Pattern.DOTALL);

    private final String program;
    private final String about;
    private final String[] examples;
    private final Map<String, Flag> flags = new LinkedHashMap<>();
    private final Map<String, List<String>> given = new LinkedHashMap<>(); // the values of each, in the order of the flags

    /** A flag; without a label, it takes no value. */
    private record Flag(String name, String label, String help, String fallback) {}

    /** A command line that is wrong. */
    public static final class Wrong extends Exception {
        private static final long serialVersionUID = 1;

        private Wrong(String what, String advice) {
            super(what + " (" + advice + "--help lists the flags)");
        }
    }

    /** The command line of a program; flags are added to it. */
    public Arguments(String program, String about, String... examples) {
        this.program = program;
        this.about = about;
        this.examples = examples;
        add("--help", "show this help message and exit");
        add("--version", "print the versions of this program, the binding and TensorFlow");
        flags.put("-h", flags.get("--help"));
    }

    /** Adds a flag without a value. */
    public Arguments add(String name, String help) {
        return add(name, null, help, null);
    }

    /** Adds a flag with a value, which may be repeated; {@code fallback} is its default. */
    public Arguments add(String name, String label, String help, String fallback) {
        flags.put(name, new Flag(name, label, help + (fallback == null ? "" : " (default: " + fallback + ")"), fallback));
        return this;
    }

    /** Whether a flag was given. */
    public boolean has(String name) {
        return given.containsKey(name);
    }

    /** The values of a flag. */
    public List<String> all(String name) {
        return given.getOrDefault(name, List.of());
    }

    /** The last value of a flag, or its default. */
    public String get(String name) {
        return has(name) ? all(name).get(all(name).size() - 1) : flags.get(name).fallback;
    }

    /** Parses words. Returns whether the program has to run: --help and --version print what they ask for. */
    public boolean parse(String[] words) throws Wrong, IOException {
        String unknown = null;
        for (int i = 0; i < words.length; i++) {
            String[] parts = words[i].split("=", 2);
            Flag flag = parts[0].startsWith("-") ? flags.getOrDefault(parts[0], flags.get("-" + parts[0])) : null;
            if (flag == null) {
                unknown = unknown == null ? words[i] : unknown;
                continue;
            }
            String next = i + 1 < words.length ? words[i + 1] : "--";
            boolean isNegative = NEGATIVE.matcher(next).matches();
            String value = parts.length > 1 ? parts[1] : null;
            if (value == null && (isNegative || flag.label != null && !next.matches("-[^ ]+"))) {
                value = next;
                i++;
            }
            require(flag.label != null || value == null, flag.name, "ignored explicit argument '" + value + "'");
            require(flag.label == null || value != null, flag.name, "expected one argument");
            if (flag.name.equals("--help") || flag.name.equals("--version")) {
                System.out.print(flag.name.equals("--help") ? help() : version()); // whatever follows
                return false;
            }
            given.computeIfAbsent(flag.name, name -> new ArrayList<>()).add(value);
        }
        if (unknown != null) {
            String name = "--" + unknown.replaceFirst("^-+", "").split("=", 2)[0];
            String near = nearest(name, flags.keySet()).get(0);
            throw new Wrong("unknown argument: " + unknown, unknown.startsWith("-") ? "nearest: " + near + "; " : "");
        }
        check();
        return true;
    }

    /** What a consumer's flags take, and which of them go together. */
    private void check() throws Wrong {
        for (String count : all("--batch")) {
            boolean isCount = count.matches("0{0,9}[1-9][0-9]{0,9}") && Long.parseLong(count) <= Integer.MAX_VALUE;
            require(isCount, "--batch", "not a whole number from 1 to " + Integer.MAX_VALUE + ": " + count);
        }
        List<String> inOrder = List.copyOf(given.keySet());
        for (String other : List.of("--x", "--save")) {
            boolean isFirst = inOrder.indexOf(other) < inOrder.indexOf("--stdin");
            require(!has("--stdin") || !has(other), isFirst ? "--stdin" : other,
                    "not allowed with argument " + (isFirst ? other : "--stdin"));
        }
        for (String single : List.of("--stdin", "--save")) {
            require(!has(single) || all("--output").size() < 2, "--output", "only one with " + single);
        }
        require(!has("--batch") || has("--stdin"), "--batch", "only with --stdin");
        for (String feed : all("--feed")) {
            require(feed.indexOf('=') > 0, "--feed", "not NAME=VALUES: " + feed);
        }
    }

    private static void require(boolean holds, String flag, String what) throws Wrong {
        if (!holds) {
            throw new Wrong("argument " + flag + ": " + what, "");
        }
    }

    private String help() {
        var text = new StringBuilder("usage: " + program + " [flags]\n\n" + wrap(about, 80, "\n") + "\n\nflags:\n");
        new LinkedHashSet<>(flags.values()).forEach(flag -> text.append("%s%-21s%s%n".formatted(
                flag.name.equals("--help") ? "  -h, " : "      ", flag.name + (flag.label == null ? "" : " " + flag.label),
                wrap(flag.help, 53, "\n" + " ".repeat(27)))));
        return text + "\nexamples:\n  " + String.join("\n  ", examples) + "\n";
    }

    private static String wrap(String text, int width, String lineFeed) {
        return text.replaceAll("(.{1," + width + "})(?: |$)", "$1" + lineFeed).stripTrailing();
    }

    private String version() throws IOException {
        return "%s %s, tensorflow-core-api %s, TensorFlow %s%n".formatted(program, version("modelimportexport/" + program),
                version("org.tensorflow/tensorflow-core-api"), TensorFlow.version());
    }

    private static String version(String artifact) throws IOException {
        var properties = new Properties();
        try (InputStream file = Arguments.class.getResourceAsStream("/META-INF/maven/" + artifact + "/pom.properties")) {
            properties.load(file);
        }
        return properties.getProperty("version");
    }

    /** The three of some names that have the longest beginning and end in common with one; then those of its length. */
    public static List<String> nearest(String name, Collection<String> names) {
        return names.stream().sorted(Comparator.<String>comparingInt(other -> -common(name, other) - common(
                new StringBuilder(name).reverse().toString(), new StringBuilder(other).reverse().toString()))
                .thenComparingInt(other -> Math.abs(name.length() - other.length()))).limit(3).toList();
    }

    private static int common(String a, String b) {
        int length = Arrays.mismatch(a.toCharArray(), b.toCharArray());
        return length < 0 ? a.length() : length;
    }
}
