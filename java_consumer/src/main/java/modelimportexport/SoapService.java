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
import java.nio.charset.Charset;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.logging.Level;
import java.util.logging.Logger;
import javax.xml.namespace.QName;
import javax.xml.stream.XMLInputFactory;
import javax.xml.stream.XMLStreamException;
import org.tensorflow.proto.DataType;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/**
 * Serves the frozen regression over SOAP: the operation {@code predict(double[]) -> double[]}, its WSDL at {@code ?wsdl}.
 *
 * <pre>java -cp java_consumer/target/java_consumer.jar modelimportexport.SoapService --port 8080</pre>
 */
@WebService(serviceName = "LinearRegression", portName = "LinearRegressionPort", name = "LinearRegression",
        targetNamespace = SoapService.NAMESPACE)
@SchemaValidation // else a number that is none would be left out in silence
@Command(name = "SoapService", sortOptions = false, showDefaultValues = true, usageHelpAutoWidth = true,
        description = "Serves the frozen regression over SOAP; its WSDL is at http://ADDRESS:PORT/LinearRegression?wsdl%n")
public final class SoapService {
    static final String NAMESPACE = "urn:modelimportexport";

    private static final String INPUT = "inputs/x_sample";
    private static final int BATCH = 4096; // numbers a run: the caller's thread calculates them, to the same bits
    private static final int MOST_NUMBERS = 100_000;
    private static final int MOST_BYTES = 8 << 20;

    @Option(names = "--model", paramLabel = "PATH", defaultValue = "frozen_graphs/frozen_linear_regression.pb",
            description = "a frozen graph")
    private String path;

    @Option(names = "--host", paramLabel = "ADDRESS", defaultValue = "127.0.0.1", description = "to listen on")
    private String host;

    @Option(names = "--port", paramLabel = "PORT", defaultValue = "8080", description = "to listen on")
    private int port;

    @Option(names = {"-h", "--help"}, usageHelp = true, description = "show this and exit")
    private boolean help;

    private ModelFile.Model model;
    private JavaConsumer.Loaded loaded;

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
        double[] y = new double[x.length];
        for (int from = 0; from < x.length; from += BATCH) {
            int n = Math.min(BATCH, x.length - from);
            ByteBuffer contents = ByteBuffer.allocate(n * Double.BYTES).order(ByteOrder.nativeOrder());
            contents.asDoubleBuffer().put(x, from, n);
            var row = new Rows.Array(DataType.DT_DOUBLE, new long[] {1, n}, contents.array());
            Rows.Array results;
            try {
                results = JavaConsumer.run(loaded, model, Map.of(INPUT, row));
            } catch (ModelError e) {
                throw fault(e.getMessage());
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
        private final Semaphore running = new Semaphore(Integer.MAX_VALUE);

        /** Waits, some seconds at most, until the requests that are running have ended; new ones wait for ever. */
        private void close() {
            try {
                running.tryAcquire(Integer.MAX_VALUE, 5, TimeUnit.SECONDS);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        }

        @Override
        public void doFilter(HttpExchange exchange, Chain chain) throws IOException {
            running.acquireUninterruptibly();
            try {
                filter(exchange, chain);
            } finally {
                running.release();
            }
        }

        private static void filter(HttpExchange exchange, Chain chain) throws IOException {
            byte[] body;
            try (InputStream stream = exchange.getRequestBody()) {
                body = stream.readNBytes(MOST_BYTES + 1);
            }
            if (body.length > MOST_BYTES) {
                refuse(exchange, 413, "too large: the body (at most " + MOST_BYTES + " bytes)");
            } else if (hasDoctype(body, StandardCharsets.UTF_8) || hasDoctype(body, StandardCharsets.UTF_16)) {
                refuse(exchange, 400, "refused XML: it has a DTD");
            } else if (!exchange.getRequestMethod().equals("GET") && reasonNotXml(body) != null) {
                refuse(exchange, 400, "not XML: " + reasonNotXml(body));
            } else {
                exchange.setStreams(new ByteArrayInputStream(body), null);
                chain.doFilter(exchange);
            }
        }

        private static boolean hasDoctype(byte[] body, Charset charset) {
            return new String(body, charset).contains("<!DOCTYPE");
        }

        private static String reasonNotXml(byte[] body) {
            XMLInputFactory factory = XMLInputFactory.newDefaultFactory();
            factory.setProperty(XMLInputFactory.SUPPORT_DTD, false);
            factory.setProperty(XMLInputFactory.IS_SUPPORTING_EXTERNAL_ENTITIES, false);
            try {
                var reader = factory.createXMLStreamReader(new ByteArrayInputStream(body));
                while (reader.hasNext()) {
                    reader.next();
                }
                return null;
            } catch (XMLStreamException e) {
                return e.getMessage().replaceAll("\\s+", " ");
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

    private void serve() throws IOException, InterruptedException {
        model = ModelFile.readFrozenGraph(path, INPUT, "linear_regression/add", List.of(), false);
        var placeholder = GraphCheck.findPlaceholder(model.graphDef(), INPUT);
        GraphCheck.checkOutput(model.graphDef(), model.output(), Set.of(INPUT));
        if (GraphCheck.typeOf(placeholder) != DataType.DT_DOUBLE) {
            throw new ModelError("not a model of float64: %s", path);
        }
        GraphCheck.checkShapes(model.graphDef(), Map.of(INPUT, new long[] {1, BATCH}), model.output(), false);
        loaded = JavaConsumer.loadGraph(model);
        HttpServer server;
        try {
            server = HttpServer.create(new InetSocketAddress(host, port), 0);
        } catch (IOException | IllegalArgumentException e) {
            throw new ModelError("cannot listen on: %s:%d: %s (give --port)", host, port, e.getMessage());
        }
        ExecutorService threads = Executors.newFixedThreadPool(Runtime.getRuntime().availableProcessors() * 4);
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
        System.setProperty("com.sun.xml.ws.fault.SOAPFaultBuilder.disableCaptureStackTrace", "true");
        Logger.getLogger("").setLevel(Level.OFF);
        Terminal.setProgram("SoapService");
        Terminal.hideLog();
        int status = 0;
        try {
            var service = new SoapService();
            if (Arguments.parse(service, words)) {
                service.serve();
            }
        } catch (Arguments.Wrong e) {
            Terminal.warn(e);
            status = 2;
        } catch (Throwable e) {
            Terminal.warn(e);
            status = 1;
        }
        Terminal.exit(status);
    }
}
