import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import com.refinitiv.ema.access.AckMsg;
import com.refinitiv.ema.access.DataType.DataTypes;
import com.refinitiv.ema.access.EmaFactory;
import com.refinitiv.ema.access.ElementEntry;
import com.refinitiv.ema.access.ElementList;
import com.refinitiv.ema.access.FieldEntry;
import com.refinitiv.ema.access.FieldList;
import com.refinitiv.ema.access.GenericMsg;
import com.refinitiv.ema.access.Msg;
import com.refinitiv.ema.access.OmmArrayEntry;
import com.refinitiv.ema.access.OmmIProviderConfig;
import com.refinitiv.ema.access.OmmProvider;
import com.refinitiv.ema.access.OmmProviderClient;
import com.refinitiv.ema.access.OmmProviderErrorClient;
import com.refinitiv.ema.access.OmmProviderEvent;
import com.refinitiv.ema.access.OmmState;
import com.refinitiv.ema.access.PostMsg;
import com.refinitiv.ema.access.ProviderSessionInfo;
import com.refinitiv.ema.access.RefreshMsg;
import com.refinitiv.ema.access.ReqMsg;
import com.refinitiv.ema.access.StatusMsg;
import com.refinitiv.ema.rdm.EmaRdm;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.io.StringWriter;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;

/**
 * An interactive provider on a WebSocket at 127.0.0.1: what is posted to it off-stream it keeps, acknowledges, and
 * serves to consumers.
 *
 * <p>Arguments: the configuration file, and the port (0: any). It writes one JSON object a line to stdout:
 * {@code {"event":"ready","port":N}} first, then {@code post} for each post that the SDK decoded, {@code login},
 * {@code refused} (the SDK could not convert a message), {@code fault} (the SDK threw an exception) and {@code done} (a command was carried out). It reads commands from stdin, a line each, and ends with stdin:
 *
 * <ul>
 *   <li>{@code forget}: the cache is lost, as when an ADS starts again
 *   <li>{@code disconnect}: all connections are closed
 *   <li>{@code logout TEXT}: all login streams are closed
 *   <li>{@code nak CODE RIC TEXT}: posts to the RIC are refused from now on
 *   <li>{@code sync}: nothing; its {@code done} stands behind all that was written before
 * </ul>
 *
 * <p>All runs in the main thread, which dispatches the SDK's events and carries out commands by turns.
 */
public final class Provider implements OmmProviderClient, OmmProviderErrorClient {
    private static final String SERVICE = "NIPROV";
    private static final int SERVICE_ID = 1;
    private static final String REFUSED_USER = "nobody";
    private static final int DISPATCH_MICROSECONDS = 5_000;
    private static final int SYMBOL_UNKNOWN = 10;
    private static final int SOURCE_UNKNOWN = 4;
    private static final int INVALID_CONTENT = 12;
    private static final String END = "end";

    private record Key(String service, String name) {}

    private record Nak(int code, String text) {}

    private record Stream(Key key, Set<Integer> fids) {}

    private final PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    private final JsonFactory jsonFactory = new JsonFactory();
    private final BlockingQueue<String> commands = new LinkedBlockingQueue<>();
    private final Map<Key, Map<Integer, Field>> cache = new HashMap<>();
    private final Map<Long, Stream> streams = new LinkedHashMap<>();
    private final Map<Long, Long> clientsByLogin = new LinkedHashMap<>();
    private final Map<String, Nak> naks = new HashMap<>();
    private OmmProvider provider;

    public static void main(String[] args) throws Exception {
        new Provider().run(args[0], Integer.parseInt(args[1]));
    }

    private void run(String configFile, int wantedPort) throws Exception {
        int port = wantedPort != 0 ? wantedPort : freePort();
        OmmIProviderConfig config = EmaFactory.createOmmIProviderConfig(configFile)
            .operationModel(OmmIProviderConfig.OperationModel.USER_DISPATCH)
            .port(Integer.toString(port));
        provider = EmaFactory.createOmmProvider(config, this, this);
        report("ready", json -> json.writeNumberField("port", port));
        startReadingCommands();
        try {
            boolean open = true;
            while (open) {
                dispatch();
                for (String command = commands.poll(); command != null; command = commands.poll()) {
                    open = open && obey(command);
                }
            }
        } finally {
            provider.uninitialize();
        }
    }

    private void dispatch() {
        try {
            provider.dispatch(DISPATCH_MICROSECONDS);
        } catch (RuntimeException fault) { // the SDK's converter throws at some JSON, and takes any provider down
            fault.printStackTrace();
            report("fault", json -> json.writeStringField("text", fault.toString()));
        }
    }

    private static int freePort() throws IOException {
        try (ServerSocket probe = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            return probe.getLocalPort();
        }
    }

    private void startReadingCommands() {
        Thread reader = new Thread(() -> {
            try (var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8))) {
                lines.lines().forEach(commands::add);
            } catch (IOException | RuntimeException error) {
                System.err.println("stdin: " + error);
            }
            commands.add(END);
        });
        reader.setDaemon(true);
        reader.start();
    }

    private boolean obey(String command) throws IOException {
        String[] words = command.split(" ", 4);
        switch (words[0]) {
            case END -> {
                return false;
            }
            case "sync" -> {}
            case "forget" -> cache.clear();
            case "disconnect" -> List.copyOf(clientsByLogin.values()).forEach(provider::closeChannel);
            case "logout" -> List.copyOf(clientsByLogin.keySet()).forEach(
                login -> closeLogin(login, OmmState.StatusCode.NONE, command.substring("logout ".length())));
            case "nak" -> naks.put(words[2], new Nak(Integer.parseInt(words[1]), words[3]));
            default -> throw new IllegalArgumentException("no such command: " + command);
        }
        report("done", json -> json.writeStringField("command", command));
        return true;
    }

    // What clients send.

    @Override
    public void onReqMsg(ReqMsg request, OmmProviderEvent event) {
        if (request.domainType() == EmaRdm.MMT_LOGIN) {
            login(request, event);
        } else if (request.domainType() == EmaRdm.MMT_MARKET_PRICE) {
            openItem(request, event);
        } else {
            closeItem(event.handle(), request.domainType(), OmmState.StatusCode.USAGE_ERROR, "Domain is not supported");
        }
    }

    @Override
    public void onReissue(ReqMsg request, OmmProviderEvent event) {
        onReqMsg(request, event);
    }

    @Override
    public void onClose(ReqMsg request, OmmProviderEvent event) {
        if (request.domainType() == EmaRdm.MMT_LOGIN) clientsByLogin.remove(event.handle());
        else streams.remove(event.handle());
    }

    @Override
    public void onPostMsg(PostMsg post, OmmProviderEvent event) {
        Stream stream = streams.get(event.handle());
        Key key = stream != null ? stream.key() : new Key(serviceOf(post), post.hasName() ? post.name() : null);
        int kind = post.payload().dataType();
        Msg inner = kind == DataTypes.REFRESH_MSG ? post.payload().refreshMsg()
            : kind == DataTypes.UPDATE_MSG ? post.payload().updateMsg()
            : kind == DataTypes.STATUS_MSG ? post.payload().statusMsg() : null;
        Map<Integer, Field> fields = inner == null ? Map.of() : decode(inner);
        Nak nak = refusal(post, key, kind);
        report("post", json -> writePost(json, post, key, kind, fields, nak));
        if (nak == null) apply(key, kind, fields);
        if (post.solicitAck()) acknowledge(post, event.handle(), key, nak);
        if (nak == null) publish(key, kind, fields);
    }

    @Override
    public void onRefreshMsg(RefreshMsg message, OmmProviderEvent event) {}

    @Override
    public void onStatusMsg(StatusMsg message, OmmProviderEvent event) {}

    @Override
    public void onGenericMsg(GenericMsg message, OmmProviderEvent event) {}

    @Override
    public void onAllMsg(Msg message, OmmProviderEvent event) {}

    // What it refuses by itself. Without these the SDK would throw.

    @Override
    public void onJsonConverterError(ProviderSessionInfo session, int code, String text) {
        report("refused", json -> json.writeStringField("text", text));
    }

    @Override
    public void onInvalidHandle(long handle, String text) {
        report("refused", json -> json.writeStringField("text", text));
    }

    @Override
    public void onDispatchError(String text, int code) {
        report("refused", json -> json.writeStringField("text", text));
    }

    // Logins.

    private void login(ReqMsg request, OmmProviderEvent event) {
        report("login", json -> json.writeStringField("user", request.name()));
        clientsByLogin.put(event.handle(), event.clientHandle());
        if (request.name().equals(REFUSED_USER)) {
            String text = request.name() + ", unknown to system.";
            closeLogin(event.handle(), OmmState.StatusCode.USER_UNKNOWN_TO_PERM_SYS, text);
            return;
        }
        if (!request.initialImage()) return; // a new token on an open stream
        ElementList attributes = EmaFactory.createElementList();
        attributes.add(EmaFactory.createElementEntry().uintValue(EmaRdm.ENAME_SUPPORT_POST, 1));
        ElementList limits = EmaFactory.createElementList();
        limits.add(EmaFactory.createElementEntry().uintValue("MaxMsgSize", 61_430));
        limits.add(EmaFactory.createElementEntry().uintValue("PingTimeout", 3));
        RefreshMsg refresh = EmaFactory.createRefreshMsg()
            .domainType(EmaRdm.MMT_LOGIN)
            .name(request.name())
            .nameType(EmaRdm.USER_NAME)
            .complete(true)
            .solicited(true)
            .state(OmmState.StreamState.OPEN, OmmState.DataState.OK, OmmState.StatusCode.NONE, "Login accepted")
            .attrib(attributes)
            .payload(limits);
        provider.submit(refresh, event.handle());
    }

    private void closeLogin(long handle, int code, String text) {
        clientsByLogin.remove(handle);
        StatusMsg status = EmaFactory.createStatusMsg()
            .domainType(EmaRdm.MMT_LOGIN)
            .state(OmmState.StreamState.CLOSED, OmmState.DataState.SUSPECT, code, text);
        provider.submit(status, handle);
    }

    // Posts.

    private static String serviceOf(PostMsg post) {
        if (post.hasServiceName()) return post.serviceName();
        return !post.hasServiceId() || post.serviceId() == SERVICE_ID ? SERVICE : null;
    }

    private static Map<Integer, Field> decode(Msg inner) {
        Map<Integer, Field> fields = new LinkedHashMap<>();
        if (inner.payload().dataType() == DataTypes.FIELD_LIST) {
            for (FieldEntry entry : inner.payload().fieldList()) fields.put(entry.fieldId(), Field.of(entry));
        }
        return fields;
    }

    private Nak refusal(PostMsg post, Key key, int kind) {
        if (key.service() == null) return new Nak(SOURCE_UNKNOWN, "No service has this id");
        if (key.name() == null) return new Nak(INVALID_CONTENT, "The post names no item");
        if (naks.containsKey(key.name())) return naks.get(key.name());
        if (kind != DataTypes.REFRESH_MSG && !cache.containsKey(key)) {
            return new Nak(SYMBOL_UNKNOWN, "F44: Unable to find item on post update.");
        }
        return null;
    }

    private void apply(Key key, int kind, Map<Integer, Field> fields) {
        if (kind == DataTypes.REFRESH_MSG) cache.put(key, new LinkedHashMap<>(fields));
        else cache.get(key).putAll(fields);
    }

    private void acknowledge(PostMsg post, long handle, Key key, Nak nak) {
        AckMsg ack = EmaFactory.createAckMsg().domainType(post.domainType()).ackId(post.postId());
        if (post.hasSeqNum()) ack.seqNum(post.seqNum());
        if (key.name() != null) ack.name(key.name());
        if (key.service() != null) ack.serviceName(key.service());
        if (nak == null) ack.text("[1]: Contribution Accepted");
        else ack.nackCode(nak.code()).text(nak.text());
        provider.submit(ack, handle);
    }

    private void publish(Key key, int kind, Map<Integer, Field> fields) {
        for (Map.Entry<Long, Stream> open : List.copyOf(streams.entrySet())) {
            Stream stream = open.getValue();
            if (!stream.key().equals(key)) continue;
            if (kind == DataTypes.REFRESH_MSG) {
                provider.submit(refresh(stream, false, true), open.getKey());
            } else {
                FieldList changed = listed(fields, stream);
                var update = EmaFactory.createUpdateMsg().domainType(EmaRdm.MMT_MARKET_PRICE)
                    .name(key.name()).serviceName(key.service()).payload(changed);
                provider.submit(update, open.getKey());
            }
        }
    }

    // Items.

    private void openItem(ReqMsg request, OmmProviderEvent event) {
        String service = request.hasServiceName() ? request.serviceName() : SERVICE;
        Stream stream = new Stream(new Key(service, request.name()), view(request));
        if (!cache.containsKey(stream.key())) {
            closeItem(event.handle(), EmaRdm.MMT_MARKET_PRICE, OmmState.StatusCode.NOT_FOUND, "The record could not be found");
            return;
        }
        boolean streaming = request.interestAfterRefresh();
        if (streaming) streams.put(event.handle(), stream);
        provider.submit(refresh(stream, true, streaming), event.handle());
    }

    private void closeItem(long handle, int domain, int code, String text) {
        StatusMsg status = EmaFactory.createStatusMsg()
            .domainType(domain)
            .state(OmmState.StreamState.CLOSED, OmmState.DataState.SUSPECT, code, text);
        provider.submit(status, handle);
    }

    private RefreshMsg refresh(Stream stream, boolean solicited, boolean streaming) {
        int state = streaming ? OmmState.StreamState.OPEN : OmmState.StreamState.NON_STREAMING;
        return EmaFactory.createRefreshMsg()
            .domainType(EmaRdm.MMT_MARKET_PRICE)
            .name(stream.key().name())
            .serviceName(stream.key().service())
            .solicited(solicited)
            .complete(true)
            .state(state, OmmState.DataState.OK, OmmState.StatusCode.NONE, "All is well")
            .payload(listed(cache.get(stream.key()), stream));
    }

    /** The FIDs that a request asks for; null: all. */
    private static Set<Integer> view(ReqMsg request) {
        if (!request.hasView() || request.payload().dataType() != DataTypes.ELEMENT_LIST) return null;
        Set<Integer> fids = new HashSet<>();
        for (ElementEntry element : request.payload().elementList()) {
            if (!element.name().equals(EmaRdm.ENAME_VIEW_DATA)) continue;
            for (OmmArrayEntry entry : element.array()) fids.add((int) entry.intValue());
        }
        return fids;
    }

    private static FieldList listed(Map<Integer, Field> fields, Stream stream) {
        FieldList list = EmaFactory.createFieldList();
        fields.forEach((fid, field) -> {
            if (stream.fids() == null || stream.fids().contains(fid)) list.add(field.again());
        });
        return list;
    }

    // What it tells.

    @FunctionalInterface
    private interface Members {
        void write(JsonGenerator json) throws IOException;
    }

    private void report(String event, Members members) {
        StringWriter line = new StringWriter();
        try (JsonGenerator json = jsonFactory.createGenerator(line)) {
            json.writeStartObject();
            json.writeStringField("event", event);
            members.write(json);
            json.writeEndObject();
        } catch (IOException impossible) {
            throw new IllegalStateException(impossible);
        }
        out.println(line);
    }

    private static void writePost(
            JsonGenerator json, PostMsg post, Key key, int kind, Map<Integer, Field> fields, Nak nak) throws IOException {
        json.writeNumberField("post_id", post.postId());
        json.writeStringField("service", key.service());
        json.writeStringField("ric", key.name());
        json.writeStringField("kind", kind == DataTypes.REFRESH_MSG ? "Refresh" : kind == DataTypes.UPDATE_MSG ? "Update" : "Status");
        json.writeBooleanField("ack", post.solicitAck());
        json.writeNumberField("user_id", post.publisherIdUserId());
        json.writeNumberField("user_address", post.publisherIdUserAddress());
        json.writeNumberField("nak", nak == null ? 0 : nak.code());
        json.writeArrayFieldStart("fields");
        for (Field field : new ArrayList<>(fields.values())) field.write(json);
        json.writeEndArray();
    }
}
