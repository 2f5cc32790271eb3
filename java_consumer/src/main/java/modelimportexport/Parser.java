package modelimportexport;

import ch.randelshofer.fastdoubleparser.JavaBigIntegerParser;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.*;
import modelimportexport.Rows.Array;
import modelimportexport.Rows.Type;

/**
 * Reads comma-separated values such as {@code 0,-1.5,1e-3,nan}, {@code true,false}, or strings ({@code b64:} before those
 * that are not text). Throws ModelError if one is not a value of the type or is out of its range.
 */
final class Parser {
    private static final String NUMBER = "(?i)[+-]?(([0-9]++(\\.[0-9]*+)?|\\.[0-9]++)(e[+-]?[0-9]++)?|nan|inf)";
    private static final boolean[] PLAIN = new boolean[256]; // the bytes of all numbers except nan and inf

    static {
        "0123456789+-.eE".chars().forEach(c -> PLAIN[c] = true);
    }

    /** The start of the next line in the text, and the end of the text. */
    int position;
    int end;
    byte[] text;
    long line; // the number of the line that was read last

    private final Type type;
    private final String where; // the place to name in an error; null if that is the line
    private final List<byte[]> strings = new ArrayList<>(); // read so far
    private ByteBuffer numbers = ByteBuffer.allocate(1 << 10).order(ByteOrder.nativeOrder());

    Parser(Type type, String where) {
        this.type = type;
        this.where = where;
    }

    /** A one-dimensional array of the values in a text; {@code where} is its place, such as {@code " in --x"}. */
    static Array parse(String text, Type type, String where) {
        var parser = new Parser(type, where);
        parser.text = text.getBytes(StandardCharsets.UTF_8);
        parser.end = parser.text.length;
        return parser.take(parser.readLine());
    }

    /** Returns the first values that were read, and discards the others. */
    Array take(int count) {
        byte[] contents = Arrays.copyOf(numbers.array(), count * type.size);
        byte[][] texts = type == Type.STRING ? strings.subList(0, count).toArray(new byte[0][]) : null;
        strings.clear();
        numbers.clear();
        return new Array(type, new long[] {count}, contents, texts);
    }

    /** Reads a line, and returns how many values it has. */
    int readLine() {
        line++;
        if (type == Type.STRING && where == null && isLineEnd(position)) {
            throw new ModelError("blank: line %d (b64: is the empty string)", line);
        }
        int count = 1;
        for (readValue(); position < end && text[position] == ','; readValue()) {
            position++;
            count++;
        }
        position += position < end && text[position] == '\r' ? 2 : 1;
        return count;
    }

    private boolean isLineEnd(int at) {
        return at == end || where == null
                && (text[at] == '\n' || text[at] == '\r' && (at + 1 == end || text[at + 1] == '\n'));
    }

    private void readValue() {
        int from = position;
        int plain = from;
        while (plain < end && PLAIN[text[plain] & 0xff]) {
            plain++;
        }
        position = plain;
        while (!isLineEnd(position) && text[position] != ',') {
            position++;
        }
        if (numbers.remaining() < Long.BYTES) {
            numbers = ByteBuffer.allocate(2 * numbers.capacity()).order(ByteOrder.nativeOrder()).put(numbers.flip());
        }
        long bits = switch (type) {
            case STRING -> string(from);
            case BOOL -> bool(part(from, position));
            default -> number(from, position == plain && plain > from);
        };
        switch (type.size) {
            case 0 -> { }
            case 1 -> numbers.put((byte) bits);
            case 2 -> numbers.putShort((short) bits);
            case 4 -> numbers.putInt((int) bits);
            default -> numbers.putLong(bits);
        }
    }

    private long number(int from, boolean plain) {
        boolean isFloat = type.precision > 0;
        try {
            if (plain && isFloat) {
                long bits = Digits.round(type, text, from, position - from);
                if ((bits & ~type.sign) != type.infinity) {
                    return bits;
                }
            } else if (plain) {
                BigInteger whole = JavaBigIntegerParser.parseBigInteger(text, from, position - from);
                int most = 8 * type.size;
                if (type.name().startsWith("I") ? whole.bitLength() < most
                        : whole.signum() >= 0 && whole.bitLength() <= most) {
                    return whole.longValue();
                }
            }
        } catch (NumberFormatException e) {
            // The error below names it.
        }
        String part = part(from, position);
        if (!plain && isFloat && part.matches(NUMBER)) {
            long quiet = part.toLowerCase(Locale.ROOT).endsWith("n") ? 1L << type.precision - 2 : 0;
            return type.infinity | quiet | (part.startsWith("-") ? type.sign : 0);
        }
        while (!isLineEnd(position)) {
            position++;
        }
        for (String other : part(from, position).split(",", -1)) { // a part that is not a number is named first
            if (!other.matches(NUMBER)) {
                throw new ModelError("not a number: %s%s", other, where());
            }
        }
        if (!isFloat && !part.matches("[+-]?[0-9]+")) {
            throw new ModelError("not a whole number: %s%s (the input takes %s)", part, where(), type);
        }
        throw new ModelError("out of range for %s: %s%s", type, part, where().contains(" line ") ? where() : "");
    }

    private long bool(String part) {
        if (!part.equalsIgnoreCase("true") && !part.equalsIgnoreCase("false")) {
            throw new ModelError("not a bool: %s%s (true or false)", part, where());
        }
        return part.length() == 4 ? 1 : 0;
    }

    private long string(int from) {
        String part = part(from, position);
        try {
            if (part.startsWith("b64:") && part.length() % 4 != 0) { // the decoder does not require padding
                throw new IllegalArgumentException();
            }
            strings.add(part.startsWith("b64:") ? Base64.getDecoder().decode(part.substring(4))
                    : Arrays.copyOfRange(text, from, position));
            return 0; // unused
        } catch (IllegalArgumentException e) {
            throw new ModelError("not base64: %s%s", part, where());
        }
    }

    private String part(int from, int to) {
        return new String(text, from, to - from, StandardCharsets.UTF_8).replace('\ufffd', ' '); // bytes that are not UTF-8
    }

    private String where() {
        return where == null ? " on line " + line : where;
    }
}
