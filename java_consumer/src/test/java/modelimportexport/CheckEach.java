package modelimportexport;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * Checks many frozen graphs in one process: for each path that it reads, a line, it prints that path, a tab, and {@code ok} or
 * why the model is refused. The names of input and output are its arguments.
 */
public final class CheckEach {
    private CheckEach() {}

    /** Runs the program. */
    public static void main(String[] names) throws IOException {
        Terminal.hideLog();
        var paths = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String path; (path = paths.readLine()) != null;) {
            System.out.println(path + "\t" + check(path, names[0], names[1]));
        }
    }

    private static String check(String path, String input, String output) {
        try {
            var graphDef = ModelFile.readFrozenGraph(path, input, output, List.of(), false).graphDef();
            var placeholder = GraphCheck.findPlaceholder(graphDef, input);
            String name = placeholder.getName();
            long[] shape = Rows.feedShape(GraphCheck.placeholderDims(placeholder), 4, name);
            GraphCheck.checkOutput(graphDef, output, Set.of(name));
            GraphCheck.checkShapes(graphDef, Map.of(name, shape), output, false);
            return "ok";
        } catch (ModelError | IOException e) {
            return Terminal.oneLine(e);
        }
    }
}
