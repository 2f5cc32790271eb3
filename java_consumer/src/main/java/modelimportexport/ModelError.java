package modelimportexport;

/** Refuses a model, name or number; the text names the fault, the file or node, and what to do. */
public final class ModelError extends RuntimeException {
    private static final long serialVersionUID = 1;

    /** Formats the text. */
    public ModelError(String format, Object... values) {
        super(values.length == 0 ? format : String.format(format, values));
    }
}
