import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;

/**
 * Asks a model server over REST, with the JDK alone: no C library, no TensorFlow.
 *
 * <pre>java serving/RestClient.java 0,1,-1,2 [URL [MODEL]]</pre>
 */
final class RestClient {
    private RestClient() {}

    /** Prints the server's JSON; status 1 where it answers with an error. */
    public static void main(String[] words) throws InterruptedException {
        String x = words.length > 0 ? words[0] : "0,1,-1,2";
        String url = words.length > 1 ? words[1] : "http://127.0.0.1:8501";
        String model = words.length > 2 ? words[2] : "linear_regression";
        if (!x.matches("[-+.,\\deE]+")) {
            fail("not comma-separated numbers: " + x + " (the arguments are: VALUES [URL [MODEL]])");
        }
        try {
            HttpRequest request = HttpRequest.newBuilder(URI.create(url + "/v1/models/" + model + ":predict"))
                    .version(HttpClient.Version.HTTP_1_1)
                    .timeout(Duration.ofSeconds(10))
                    .header("Content-Type", "application/json")
                    .POST(HttpRequest.BodyPublishers.ofString("{\"instances\": [[" + x + "]]}"))
                    .build();
            HttpResponse<String> reply = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
            String body = reply.body().strip();
            if (reply.statusCode() != 200) {
                fail("the server answers " + reply.statusCode() + ": " + body);
            }
            System.out.println(body);
        } catch (IOException | IllegalArgumentException e) {
            fail("no server: " + url + ": " + e + " (run make serve first, or name another)");
        }
    }

    private static void fail(String message) {
        System.err.println("RestClient: " + message);
        System.exit(1);
    }
}
