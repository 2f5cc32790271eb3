package modelimportexport;

import java.io.IOException;
import java.util.List;
import java.util.Map;

/** Prints the microseconds of a warm call on four numbers: tensor made, run, values read. Its arguments: MODEL CALLS. */
public final class WarmCall {
    private WarmCall() {}

    /** Runs the program. */
    public static void main(String[] words) throws IOException {
        Terminal.hideLog();
        String input = "inputs/x_sample";
        var model = ModelFile.readFrozenGraph(words[0], input, "linear_regression/add", List.of(), false);
        var placeholder = GraphCheck.findPlaceholder(model.graphDef(), input);
        var numbers = Rows.parseNumbers("0,1,-1,2", GraphCheck.typeOf(placeholder), " in --x");
        var arrays = Map.of(input, new Rows.Array(numbers.type(), new long[] {1, 4}, numbers.contents()));
        int calls = Integer.parseInt(words[1]);
        try (var loaded = JavaConsumer.loadGraph(model)) {
            for (int i = 0; i < calls; i++) { // until the JVM has compiled it
                JavaConsumer.run(loaded, model, arrays);
            }
            long start = System.nanoTime();
            for (int i = 0; i < calls; i++) {
                JavaConsumer.run(loaded, model, arrays);
            }
            System.out.println((System.nanoTime() - start) / 1e3 / calls);
        }
    }
}
