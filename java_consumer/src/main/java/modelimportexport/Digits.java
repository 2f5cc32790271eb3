package modelimportexport;

import ch.randelshofer.fastdoubleparser.*;
import com.fasterxml.jackson.core.io.NumberOutput;
import java.math.*;
import java.nio.charset.StandardCharsets;
import java.util.List;
import modelimportexport.Rows.Type;

/** The bits of a float from decimal digits, and the shortest digits that read back to the same bits, for each float type. */
final class Digits {
    private Digits() {}

    /** Appends a number, with an exponent only where that is below -4 or at least 21. */
    static void append(StringBuilder text, Type type, long bits) {
        long magnitude = bits & ~type.sign;
        if (magnitude >= type.infinity) {
            text.append(magnitude > type.infinity ? "NaN" : bits == magnitude ? "+Inf" : "-Inf");
            return;
        }
        text.append(bits == magnitude ? "" : "-");
        BigDecimal decimal;
        if (type.size == 2 || magnitude < 100) { // for the smallest numbers Jackson prints two digits where one is enough
            decimal = magnitude == 0 ? BigDecimal.ZERO : shortest(type, magnitude);
        } else {
            String shortest = type == Type.FLOAT64 ? NumberOutput.toString(Double.longBitsToDouble(magnitude), true)
                    : NumberOutput.toString(Float.intBitsToFloat((int) magnitude), true);
            if (shortest.indexOf('E') < 0) {
                text.append(shortest);
                text.setLength(text.length() - (shortest.endsWith(".0") ? 2 : 0));
                return;
            }
            decimal = new BigDecimal(shortest);
        }
        decimal = decimal.stripTrailingZeros();
        int exponent = decimal.precision() - decimal.scale() - 1;
        if (exponent >= -4 && exponent < 21) {
            text.append(decimal.toPlainString());
            return;
        }
        text.append(decimal.unscaledValue());
        if (decimal.precision() > 1) {
            text.insert(text.length() - decimal.precision() + 1, '.');
        }
        text.append(exponent < 0 ? "e-" : "e+").append(Math.abs(exponent) < 10 ? "0" : "").append(Math.abs(exponent));
    }

    /** The shortest digits that read back: the nearest ones, or the next ones above if only those read back. */
    private static BigDecimal shortest(Type type, long bits) {
        BigDecimal exact = new BigDecimal(switch (type) {
            case FLOAT64 -> Double.longBitsToDouble(bits);
            case FLOAT32 -> Float.intBitsToFloat((int) bits);
            default -> Math.scalb((double) Float.intBitsToFloat((int) bits << 24 - type.precision), 127 - type.bias);
        });
        for (int count = 1;; count++) {
            for (RoundingMode mode : List.of(RoundingMode.HALF_EVEN, RoundingMode.UP)) {
                BigDecimal rounded = exact.round(new MathContext(count, mode));
                byte[] digits = rounded.toString().getBytes(StandardCharsets.US_ASCII);
                if (round(type, digits, 0, digits.length) == bits) {
                    return rounded;
                }
            }
        }
    }

    /** The bits of the number nearest to decimal digits, infinite beyond the type's range. Throws NumberFormatException. */
    static long round(Type type, byte[] digits, int from, int length) {
        if (type == Type.FLOAT32) {
            return Float.floatToRawIntBits(JavaFloatParser.parseFloat(digits, from, length)) & type.mask;
        }
        double wide = JavaDoubleParser.parseDouble(digits, from, length);
        if (type == Type.FLOAT64) {
            return Double.doubleToRawLongBits(wide);
        }
        // Going through float64 rounds a number twice. That is wrong only if the float64 is midway between two
        // narrower ones and the digits are not; then the digits decide.
        double unit = Math.scalb(1.0, Math.max(Math.getExponent(wide), 1 - type.bias) + 1 - type.precision);
        if (Math.abs(wide / unit % 1) == 0.5) {
            int side = JavaBigDecimalParser.parseBigDecimal(digits, from, length).compareTo(new BigDecimal(wide));
            wide = side == 0 ? wide : Math.nextAfter(wide, side * Double.POSITIVE_INFINITY);
        }
        // A float64 with the narrower type's bias starts with the same bits.
        long bits = Double.doubleToRawLongBits(Math.scalb(Math.rint(wide / unit) * unit, type.bias - 1023));
        long magnitude = Math.min((bits & Long.MAX_VALUE) >>> 53 - type.precision, type.infinity);
        return bits < 0 ? magnitude | type.sign : magnitude;
    }
}
