package modelimportexport;

import ch.randelshofer.fastdoubleparser.*;
import java.math.BigDecimal;
import java.math.BigInteger;
import modelimportexport.Rows.Type;

/** The bits of a float from decimal digits, and the shortest digits that read back to the same bits, for each float type. */
final class Digits {
    private static final double LOG_2 = Math.log10(2);
    private static final double LOG_THREE_QUARTERS = Math.log10(0.75);
    private static final int MOST = 350; // a power of ten that no type needs
    private static final Power[] POWERS = new Power[2 * MOST]; // as they are needed

    private Digits() {}

    /** A power of ten, rounded up to 126 bits, of which 63 are low, and the exponent of its first bit. */
    private record Power(long high, long low, int exponent) {
        private static Power of(int k) {
            BigInteger ten = BigInteger.TEN.pow(Math.abs(k));
            int bits = ten.bitLength();
            BigInteger cut = k >= 0 ? ten.shiftLeft(126 - bits) : BigInteger.ONE.shiftLeft(125 + bits).divide(ten);
            BigInteger up = cut.add(BigInteger.ONE);
            return new Power(up.shiftRight(63).longValue(), up.longValue() & Long.MAX_VALUE, k >= 0 ? bits - 1 : -bits);
        }

        /** The high bits of a product; the last is 1 where lower ones are. */
        private long times(long factor) {
            long middle = (high * factor >>> 1) + Math.multiplyHigh(low, factor);
            long sticky = (middle & Long.MAX_VALUE) + Long.MAX_VALUE >>> 63;
            return Math.multiplyHigh(high, factor) + (middle >>> 63) | sticky;
        }
    }

    /** Appends a number, with an exponent only where that is below -4 or at least 21. */
    static void append(StringBuilder text, Type type, long bits) {
        long magnitude = bits & ~type.sign;
        if (magnitude > type.infinity) {
            text.append("NaN");
            return;
        }
        text.append(bits != magnitude ? "-" : magnitude == type.infinity ? "+" : "");
        if (magnitude == type.infinity || magnitude == 0) {
            text.append(magnitude == 0 ? "0" : "Inf");
            return;
        }
        int stored = type.precision - 1; // bits of the mantissa
        long biased = magnitude >>> stored;
        long mantissa = magnitude - (Math.max(biased, 1) - 1 << stored); // with the first bit, which is not stored
        int exponent = (int) Math.max(biased, 1) - type.bias - stored;
        appendShortest(text, mantissa, exponent, mantissa == 1L << stored && biased > 1);
    }

    /**
     * Appends the shortest digits of mantissa * 2^exponent, and of these the nearest, as Raffaello Giulietti's
     * "The Schubfach way to render doubles" finds them. The JDK does so since 19, for two types only and more slowly.
     *
     * @param isPower whether it is a power of two, so that the next number below is half as far as the one above
     */
    private static void appendShortest(StringBuilder text, long mantissa, int exponent, boolean isPower) {
        int scale = (int) Math.floor(exponent * LOG_2 + (isPower ? LOG_THREE_QUARTERS : 0));
        Power power = POWERS[MOST - scale];
        if (power == null) {
            power = POWERS[MOST - scale] = Power.of(-scale);
        }
        // In units of 10^scale / 4: the number, and the bounds of what rounds to it. A bound itself goes to the even one.
        int shift = exponent + power.exponent + 2;
        long number = power.times(4 * mantissa << shift);
        long low = power.times(4 * mantissa - (isPower ? 1 : 2) << shift) + (mantissa & 1);
        long high = power.times(4 * mantissa + 2 << shift) - (mantissa & 1);
        long below = number / 4;
        long tens = below / 10 * 10;
        long digits = below < 10 ? -1 : theOneWithin(low, high, tens, tens + 10);
        digits = digits < 0 ? theOneWithin(low, high, below, below + 1) : digits;
        if (digits < 0) {
            long side = number - (4 * below + 2);
            digits = side < 0 || side == 0 && below % 2 == 0 ? below : below + 1;
        }
        for (; digits % 10 == 0; scale++) {
            digits /= 10;
        }
        int start = text.length();
        int written = text.append(digits).length() - start - 1 + scale; // the exponent
        if (written < -4 || written >= 21) {
            text.insert(start + 1, digits < 10 ? "" : ".").append(written < 0 ? "e-" : "e+");
            text.append(Math.abs(written) < 10 ? "0" : "").append(Math.abs(written));
        } else if (written < 0) {
            text.insert(start, "0.000", 0, 1 - written);
        } else if (scale < 0) {
            text.insert(start + 1 + written, '.');
        } else {
            text.append("0".repeat(scale));
        }
    }

    /** Whichever of two numbers is within the bounds; -1 where neither is, or both are. */
    private static long theOneWithin(long low, long high, long smaller, long larger) {
        boolean fits = 4 * smaller >= low;
        boolean otherFits = 4 * larger <= high;
        return fits == otherFits ? -1 : fits ? smaller : larger;
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
        // By way of float64, a number is rounded twice. That is wrong only where the float64 is midway between two
        // narrower ones and the digits are not; there the digits decide.
        double unit = Math.scalb(1.0, Math.max(Math.getExponent(wide), 1 - type.bias) + 1 - type.precision);
        if (Math.abs(wide / unit % 1) == 0.5) {
            int side = JavaBigDecimalParser.parseBigDecimal(digits, from, length).compareTo(new BigDecimal(wide));
            wide = side == 0 ? wide : Math.nextAfter(wide, side * Double.POSITIVE_INFINITY);
        }
        // A float64 with the narrower type's bias has its bits, and others behind them.
        long bits = Double.doubleToRawLongBits(Math.scalb(Math.rint(wide / unit) * unit, type.bias - 1023));
        long magnitude = Math.min((bits & Long.MAX_VALUE) >>> 53 - type.precision, type.infinity);
        return bits < 0 ? magnitude | type.sign : magnitude;
    }
}
