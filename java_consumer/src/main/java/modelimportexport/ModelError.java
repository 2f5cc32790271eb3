package modelimportexport;

/** A model, name or number that is refused; its text names the fault, the file or node, and what to do. */
public final class ModelError extends RuntimeException {
    private static final long serialVersionUID = 1;

    /** Makes one with the words of a format string and its values. */
    public ModelError(String format, Object... values) {
        super(values.length == 0 ? format : String.format(format, values));
    }
}
