package modelimportexport;

import java.util.ArrayList;
import java.util.List;
import java.util.regex.Pattern;
import picocli.CommandLine;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.MissingParameterException;
import picocli.CommandLine.Model.OptionSpec;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.ParseResult;
import picocli.CommandLine.TypeConversionException;
import picocli.CommandLine.UnmatchedArgumentException;

/** The command line: {@code -x} for {@code --x}, {@code --x -1,2} for {@code --x=-1,2}, and what is wrong in one line. */
public final class Arguments {
    private static final Pattern NEGATIVE = Pattern.compile("(?i)-([\\d.]|inf|nan).*", Pattern.DOTALL);

    private Arguments() {}

    /** A command line that is wrong. */
    public static final class Wrong extends Exception {
        private static final long serialVersionUID = 1;

        private Wrong(String message) {
            super(message + " (--help lists the flags)");
        }
    }

    /** The value of a flag that takes {@code NAME=LIST}. */
    public record Pair(String name, String value) {
        private static Pair of(String text) {
            int sign = text.indexOf('=');
            if (sign < 1) {
                throw new TypeConversionException("not NAME=LIST: " + text);
            }
            return new Pair(text.substring(0, sign), text.substring(sign + 1));
        }
    }

    /**
     * Fills in a program's options.
     *
     * @return whether there is something to do: --help prints what it asks for
     * @throws Wrong it says what, naming the flag
     */
    public static boolean parse(Object program, String[] words) throws Wrong {
        var commandLine = new CommandLine(program);
        ITypeConverter<Pair> converter = Pair::of;
        commandLine.registerConverter(Pair.class, converter);
        commandLine.setExpandAtFiles(false);
        commandLine.setOverwrittenOptionsAllowed(true);
        var options = commandLine.getCommandSpec().optionsMap();
        List<String> joined = new ArrayList<>();
        for (String word : words) {
            String name = word.split("=", 2)[0];
            String previous = joined.isEmpty() ? "" : joined.get(joined.size() - 1);
            if (options.containsKey("-" + name)) {
                joined.add("-" + word);
            } else if (options.containsKey(previous) && NEGATIVE.matcher(word).matches()) {
                joined.set(joined.size() - 1, previous + "=" + word);
            } else {
                joined.add(word);
            }
        }
        try {
            ParseResult result = commandLine.parseArgs(joined.toArray(new String[0]));
            if (result.isUsageHelpRequested()) {
                commandLine.usage(System.out);
                return false;
            }
            List<String> exclusive = result.matchedOptions().stream()
                    .map(OptionSpec::longestName)
                    .filter(List.of("--x", "--stdin")::contains)
                    .distinct()
                    .toList();
            if (exclusive.size() > 1) {
                throw new Wrong("argument %s: not allowed with argument %s".formatted(exclusive.get(1), exclusive.get(0)));
            }
            return true;
        } catch (MissingParameterException e) {
            throw new Wrong("argument %s: expected one argument".formatted(name(e.getMissing().get(0))));
        } catch (UnmatchedArgumentException e) {
            throw new Wrong("unrecognized arguments: " + String.join(" ", e.getUnmatched()));
        } catch (ParameterException e) {
            Throwable cause = e.getCause() == null ? e : e.getCause();
            throw new Wrong(e.getArgSpec() == null
                    ? e.getMessage()
                    : "argument %s: %s".formatted(name(e.getArgSpec()), cause.getMessage()));
        }
    }

    private static String name(CommandLine.Model.ArgSpec option) {
        return ((OptionSpec) option).longestName();
    }
}
