package modelimportexport;

import com.sun.net.httpserver.Filter;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import com.sun.xml.ws.developer.SchemaValidation;
import jakarta.jws.WebMethod;
import jakarta.jws.WebParam;
import jakarta.jws.WebResult;
import jakarta.jws.WebService;
import jakarta.xml.soap.SOAPConstants;
import jakarta.xml.soap.SOAPException;
import jakarta.xml.soap.SOAPFactory;
import jakarta.xml.ws.Endpoint;
import jakarta.xml.ws.soap.SOAPFaultException;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Semaphore;
import java.util.concurrent.SynchronousQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.logging.Level;
import java.util.logging.Logger;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.xml.namespace.QName;
import javax.xml.stream.XMLInputFactory;
import javax.xml.stream.XMLStreamConstants;
import javax.xml.stream.XMLStreamException;
import modelimportexport.Rows.Type;
import modelimportexport.Tensors.Fetch;
import org.tensorflow.Output;

/**
 * Serves the frozen regression over SOAP: the operation {@code predict(double[]) -> double[]}, its WSDL at {@code ?wsdl}.
 *
 * <pre>java -jar serving/soap_service/target/soap_service.jar --port 8080</pre>
 */
@WebService(serviceName = "LinearRegression", portName = "LinearRegressionPort", name = "LinearRegression",
        targetNamespace = SoapService.NAMESPACE)
@SchemaValidation // otherwise a number that is none would silently be left out
public final class SoapService {
    static final String NAMESPACE = "urn:modelimportexport";

    private static final int BATCH = 4096; // numbers in one run: the caller's thread calculates them, to the same bits
    private static final int MOST_NUMBERS = 100_000;
    private static final int MOST_BYTES = 8 << 20;
    private static final int MOST_REQUESTS = 128; // at once
    private static final Pattern CHARSET = Pattern.compile("(?i)charset\\s*=\\s*\"?([^\\s;\"]+)");

    private JavaConsumer.Loaded loaded;
    private Output<?> input;
    private Rows.Placeholder placeholder;
    private Fetch output;

    /**
     * Calculates the model on each number.
     *
     * @param x at least one number, at most 100,000
     * @return as many results
     */
    @WebMethod
    @WebResult(name = "y")
    public double[] predict(@WebParam(name = "x") double[] x) {
        if (x == null || x.length == 0 || x.length > MOST_NUMBERS) {
            throw fault("not 1 to %d numbers: %d in x".formatted(MOST_NUMBERS, x == null ? 0 : x.length));
        }
        try {
            return calculate(x);
        } catch (ModelError e) {
            throw fault(e.getMessage());
        }
    }

    private double[] calculate(double[] x) {
        double[] y = new double[x.length];
        for (int from = 0; from < x.length; from += BATCH) {
            int n = Math.min(BATCH, x.length - from);
            var contents = ByteBuffer.allocate(n * Double.BYTES).order(ByteOrder.nativeOrder());
            contents.asDoubleBuffer().put(x, from, n);
            var row = new Rows.Array(Type.FLOAT64, Rows.feedShape(placeholder, n), contents.array(), null);
            Rows.Array results = JavaConsumer.run(loaded, List.of(output), Map.of(input, row)).get(0);
            if (results.size() != n) {
                throw new ModelError("not one result per number: the output is %s", Rows.showShape(results.shape()));
            }
            ByteBuffer.wrap(results.contents()).order(ByteOrder.nativeOrder()).asDoubleBuffer().get(y, from, n);
        }
        return y;
    }

    private static SOAPFaultException fault(String message) {
        try {
            QName client = new QName(SOAPConstants.URI_NS_SOAP_1_1_ENVELOPE, "Client");
            return new SOAPFaultException(SOAPFactory.newInstance().createFault(message, client));
        } catch (SOAPException e) {
            throw new IllegalStateException(e);
        }
    }

    /** Refuses a request that is too long before it is parsed, and one that has a DTD, which can ask for other files. */
    private static final class Guard extends Filter {
        private final Semaphore running = new Semaphore(MOST_REQUESTS);

        /** Waits, some seconds at most, until the requests that are running have ended; new ones wait for ever. */
        private void close() {
            try {
                running.tryAcquire(MOST_REQUESTS, 5, TimeUnit.SECONDS);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        }

        @Override
        public void doFilter(HttpExchange exchange, Chain chain) throws IOException {
            byte[] body;
            try (InputStream stream = exchange.getRequestBody()) {
                body = stream.readNBytes(MOST_BYTES + 1);
            }
            running.acquireUninterruptibly();
            try {
                String wrong = body.length == 0 && exchange.getRequestMethod().equals("GET") ? null
                        : wrongWith(body, exchange.getRequestHeaders().getFirst("Content-Type"));
                if (body.length > MOST_BYTES) {
                    refuse(exchange, 413, "too large: the body (at most " + MOST_BYTES + " bytes)");
                } else if (wrong != null) {
                    refuse(exchange, 400, wrong);
                } else {
                    exchange.setStreams(new ByteArrayInputStream(body), null);
                    chain.doFilter(exchange);
                }
            } finally {
                running.release();
            }
        }

        /** What is wrong with a body; null where it is XML without a DTD, in the encoding in which it will be read. */
        private static String wrongWith(byte[] body, String contentType) {
            Matcher charset = CHARSET.matcher(contentType == null ? "" : contentType);
            XMLInputFactory factory = XMLInputFactory.newDefaultFactory();
            factory.setProperty(XMLInputFactory.SUPPORT_DTD, false);
            factory.setProperty(XMLInputFactory.IS_SUPPORTING_EXTERNAL_ENTITIES, false);
            try {
                var stream = new ByteArrayInputStream(body);
                var reader = charset.find() ? factory.createXMLStreamReader(stream, charset.group(1))
                        : factory.createXMLStreamReader(stream);
                while (reader.hasNext()) {
                    if (reader.next() == XMLStreamConstants.DTD) {
                        return "refused XML: it has a DTD";
                    }
                }
                return null;
            } catch (XMLStreamException | RuntimeException e) {
                return "not XML: " + String.valueOf(e.getMessage()).replaceAll("\\s+", " ");
            }
        }

        private static void refuse(HttpExchange exchange, int status, String message) throws IOException {
            byte[] text = (message + "\n").getBytes(StandardCharsets.UTF_8);
            exchange.getResponseHeaders().set("Content-Type", "text/plain; charset=utf-8");
            exchange.sendResponseHeaders(status, text.length);
            exchange.getResponseBody().write(text);
            exchange.close();
        }

        @Override
        public String description() {
            return "limits a request";
        }
    }

    private void serve(Arguments flags) throws Exception {
        loaded = JavaConsumer.loadGraph(JavaConsumer.findModel(flags));
        input = loaded.ends().findInput(flags.get("--input"));
        output = loaded.ends().findOutput(flags.get("--output"));
        placeholder = Tensors.placeholderOf(input);
        if (placeholder.type() != Type.FLOAT64 || output.type() != Type.FLOAT64) {
            throw new ModelError("not a model of float64: %s", flags.get("--model"));
        }
        calculate(new double[] {0, 1}); // what a model cannot do is said at the start
        String host = flags.get("--host");
        HttpServer server;
        try {
            server = HttpServer.create(new InetSocketAddress(host, Integer.parseInt(flags.get("--port"))), 0);
        } catch (IOException | IllegalArgumentException e) {
            throw new ModelError("cannot listen on: %s:%s: %s (give --port)", host, flags.get("--port"), e.getMessage());
        }
        // A request whose headers or body are not there yet waits in a thread of its own, so that it blocks no other.
        var threads = new ThreadPoolExecutor(0, MOST_REQUESTS, 30, TimeUnit.SECONDS, new SynchronousQueue<>());
        server.setExecutor(threads);
        var context = server.createContext("/LinearRegression");
        Guard guard = new Guard();
        context.getFilters().add(guard);
        Endpoint.create(this).publish(context);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            guard.close();
            server.stop(0);
        }));
        server.start();
        System.out.printf("listening on http://%s:%d/LinearRegression?wsdl%n", host, server.getAddress().getPort());
        threads.awaitTermination(Long.MAX_VALUE, TimeUnit.DAYS);
    }

    /** Runs the program. */
    public static void main(String[] words) {
        // Without it every answer waits for the client's acknowledgement of the one before.
        System.setProperty("sun.net.httpserver.nodelay", "true");
        System.setProperty("sun.net.httpserver.maxReqTime", "10"); // seconds until a request has to be there whole
        System.setProperty("com.sun.xml.ws.fault.SOAPFaultBuilder.disableCaptureStackTrace", "true");
        Logger.getLogger("").setLevel(Level.OFF);
        Terminal.run("soap_service", () -> {
            var flags = new Arguments("soap_service",
                    "Serves the frozen regression over SOAP; its WSDL is at http://ADDRESS:PORT/LinearRegression?wsdl",
                    "soap_service --port 9000")
                    .add("--model", "PATH", "load the frozen graph or SavedModel PATH", ModelFile.FROZEN)
                    .add("--input", "NAME", "feed NAME: an operation, tensor or signature key (default: the only input)", null)
                    .add("--output", "NAME", "fetch NAME (default: the only one)", null)
                    .add("--tag", "NAME", "load the graph of a SavedModel that has the tag NAME", "serve")
                    .add("--signature", "NAME", "use the signature NAME of a SavedModel", "serving_default")
                    .add("--host", "ADDRESS", "listen on ADDRESS", "127.0.0.1")
                    .add("--port", "PORT", "listen on PORT", "8080")
                    .add("--checked", "FILE", "look up the model's digests in FILE", ModelFile.CHECKED)
                    .add("--trust", "load a model that is not in the list: one you made yourself");
            if (flags.parse(words)) {
                new SoapService().serve(flags);
            }
        });
    }
}
