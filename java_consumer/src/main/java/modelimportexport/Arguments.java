package modelimportexport;

import java.io.IOException;
import java.io.InputStream;
import java.util.*;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.tensorflow.TensorFlow;
import picocli.CommandLine;
import picocli.CommandLine.MissingParameterException;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;
import picocli.CommandLine.ParseResult;
import picocli.CommandLine.UnmatchedArgumentException;

/** The command line. {@code -x} means {@code --x}, {@code --x -1,2} means {@code --x=-1,2}; errors are one line. */
public final class Arguments {
    private static final Pattern NEGATIVE = Pattern.compile("(?i)-([0-9.]|inf|nan).*", Pattern.DOTALL);

    private final CommandSpec spec = CommandSpec.create();
    private final Map<String, String> defaults = new HashMap<>();
    private ParseResult result;

    /** A wrong command line. */
    public static final class Wrong extends Exception {
        private static final long serialVersionUID = 1;

        private Wrong(String format, Object... values) {
            super(format.formatted(values));
        }

        private static Wrong flag(String name, String what) {
            return new Wrong("argument %s: %s (--help lists the flags)", name, what);
        }
    }

    /** The command line of a program; flags are added to it. */
    public Arguments(String program, String description, String... examples) {
        spec.name(program).usageMessage().synopsisHeading("usage: ").customSynopsis(program + " [flags]")
                .descriptionHeading("%n").description(description).optionListHeading("%nflags:%n").sortOptions(false)
                .footerHeading("%nexamples:%n").footer(Stream.of(examples).map("  "::concat).toArray(String[]::new));
        spec.addOption(OptionSpec.builder("-h", "--help").type(boolean.class).usageHelp(true)
                .description("show this help message and exit").build());
        spec.addOption(OptionSpec.builder("--version").type(boolean.class).versionHelp(true)
                .description("print the versions of this program, the binding and TensorFlow").build());
    }

    /** Adds a flag without a value. */
    public Arguments add(String name, String help) {
        spec.addOption(OptionSpec.builder(name).type(boolean.class).description(help).build());
        return this;
    }

    /** Adds a flag with a value, which may be repeated; {@code fallback} is its default. */
    public Arguments add(String name, String label, String help, String fallback) {
        defaults.put(name, fallback);
        spec.addOption(OptionSpec.builder(name).type(List.class).auxiliaryTypes(String.class).paramLabel(label)
                .description(help + (fallback == null ? "" : " (default: " + fallback + ")")).build());
        return this;
    }

    /** Whether a flag was given. */
    public boolean has(String name) {
        return result.hasMatchedOption(name);
    }

    /** The values of a flag. */
    public List<String> all(String name) {
        return result.matchedOptionValue(name, List.of());
    }

    /** The last value of a flag, or its default. */
    public String get(String name) {
        return has(name) ? all(name).get(all(name).size() - 1) : defaults.get(name);
    }

    /** Parses the command line. Returns false after --help or --version, which are answered here. */
    public boolean parse(String[] words) throws Wrong, IOException {
        var line = new CommandLine(spec).setExpandAtFiles(false).setEndOfOptionsDelimiter("\0");
        try {
            result = line.parseArgs(join(words));
        } catch (MissingParameterException e) {
            throw Wrong.flag(((OptionSpec) e.getMissing().get(0)).longestName(), "expected one argument");
        } catch (UnmatchedArgumentException e) {
            String unknown = e.getUnmatched().get(0);
            String name = "--" + unknown.replaceFirst("^-+", "").split("=", 2)[0];
            String near = nearest(name, spec.optionsMap().keySet()).get(0);
            throw new Wrong("unknown argument: %s (%s--help lists the flags)",
                    unknown, unknown.startsWith("-") ? "nearest: " + near + "; " : "");
        }
        if (result.isUsageHelpRequested()) {
            line.setSeparator(" ").usage(System.out);
        } else if (result.isVersionHelpRequested()) {
            System.out.printf("%s %s, tensorflow-core-api %s, TensorFlow %s%n", spec.name(),
                    version("modelimportexport/" + spec.name()), version("org.tensorflow/tensorflow-core-api"),
                    TensorFlow.version());
        } else {
            check(result.matchedOptions().stream().map(OptionSpec::longestName).toList());
            return true;
        }
        return false;
    }

    private String[] join(String[] words) throws Wrong {
        Map<String, OptionSpec> flags = spec.optionsMap();
        List<String> joined = new ArrayList<>();
        for (String given : words) {
            boolean isShort = given.startsWith("-") && flags.containsKey("-" + given.split("=", 2)[0]); // -x for --x
            String word = isShort ? "-" + given : given;
            OptionSpec before = joined.isEmpty() ? null : flags.get(joined.get(joined.size() - 1));
            if (before != null && NEGATIVE.matcher(word).matches()) {
                word = joined.remove(joined.size() - 1) + "=" + word;
            } else if (before != null && before.isMultiValue() && word.matches("-[^ ]+")) {
                throw Wrong.flag(before.longestName(), "expected one argument");
            }
            joined.add(word);
            OptionSpec flag = flags.get(word.split("=", 2)[0]);
            if (flag != null && !flag.isMultiValue() && word.contains("=")) {
                throw Wrong.flag(flag.longestName(), "ignored explicit argument '" + word.split("=", 2)[1] + "'");
            } else if (flag != null && (flag.usageHelp() || flag.versionHelp())) {
                break; // the rest is ignored
            }
        }
        return joined.toArray(new String[0]);
    }

    /** Checks the values of a consumer's flags, and which flags go together. */
    private void check(List<String> inOrder) throws Wrong {
        for (String count : all("--batch")) {
            boolean isCount = count.matches("0{0,9}[1-9][0-9]{0,9}") && Long.parseLong(count) <= Integer.MAX_VALUE;
            require(isCount, "--batch", "not a whole number from 1 to " + Integer.MAX_VALUE + ": " + count);
        }
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
            throw Wrong.flag(flag, what);
        }
    }

    private static String version(String artifact) throws IOException {
        var properties = new Properties();
        try (InputStream file = Arguments.class.getResourceAsStream("/META-INF/maven/" + artifact + "/pom.properties")) {
            properties.load(file);
        }
        return properties.getProperty("version");
    }

    /** The three names that share the longest beginning and end with a name; of equals, those of similar length. */
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
