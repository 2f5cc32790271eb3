package modelimportexport;

import java.util.List;
import java.util.Map;

/** Prints the microseconds of a warm call on four numbers: tensor made, run, values read. Its arguments: MODEL CALLS. */
public final class WarmCall {
    private WarmCall() {}

    /** Runs the program. */
    public static void main(String[] words) throws Exception {
        Terminal.hideLog();
        var names = new Tensors.Names(null, List.of(), "serve", "serving_default");
        var loaded = JavaConsumer.loadGraph(new JavaConsumer.Model(false, words[0], names));
        var input = loaded.ends().findInput(null);
        var outputs = List.of(loaded.ends().findOutput(null));
        var arrays = Map.<org.tensorflow.Output<?>, Rows.Array>of(
                input, Rows.makeFeed(Tensors.placeholderOf(input), "0,1,-1,2", "--x"));
        int calls = Integer.parseInt(words[1]);
        for (int i = 0; i < calls; i++) { // until the JVM has compiled it
            JavaConsumer.run(loaded, outputs, arrays);
        }
        long start = System.nanoTime();
        for (int i = 0; i < calls; i++) {
            JavaConsumer.run(loaded, outputs, arrays);
        }
        System.out.println((System.nanoTime() - start) / 1e3 / calls);
    }
}
