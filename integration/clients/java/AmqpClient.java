import com.rabbitmq.client.*;
import com.rabbitmq.client.AMQP.BasicProperties;
import com.rabbitmq.client.impl.LongStringHelper;
import java.io.IOException;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.util.*;
import java.util.concurrent.*;
import java.util.stream.*;

/** RabbitMQ's own Java client against a broker: java -cp 'jars/*:checks' AmqpClient.java HOST:PORT. Prints a line per check. */
public class AmqpClient {
    static String host;
    static int port;

    interface Use {
        void with(Channel channel) throws Exception;
    }

    public static void main(String[] arguments) {
        host = arguments[0].substring(0, arguments[0].lastIndexOf(':'));
        port = Integer.parseInt(arguments[0].substring(host.length() + 1));
        Checks.check("handshake", AmqpClient::handshake);
        Checks.check("properties and headers of every type", AmqpClient::roundTrip);
        Checks.check("big and empty bodies", AmqpClient::bodies);
        Checks.check("2,000 confirms", AmqpClient::confirms);
        Checks.check("returned, then confirmed", AmqpClient::returned);
        Checks.check("prefetch, acknowledge several", AmqpClient::prefetch);
        Checks.check("nack, reject, recover", AmqpClient::settle);
        Checks.check("get", AmqpClient::get);
        Checks.check("cancelled by the server", AmqpClient::cancelledByServer);
        Checks.check("declare again, if-unused, if-empty", AmqpClient::declareAndDelete);
        Checks.check("exclusive and auto-delete", AmqpClient::exclusive);
        Checks.check("errors close the channel", AmqpClient::channelErrors);
        Checks.check("errors close the connection", AmqpClient::connectionErrors);
        Checks.check("routing", AmqpClient::routing);
        Checks.check("remote procedure call by RpcClient", AmqpClient::rpc);
        Checks.check("a message to every channel of many", AmqpClient::manyChannels);
        Checks.check("heartbeats", AmqpClient::heartbeats);
        Checks.check("messages come back when a client goes away without a word", AmqpClient::abort);
        Checks.exit();
    }

    static ConnectionFactory factory() {
        ConnectionFactory factory = new ConnectionFactory();
        factory.setHost(host);
        factory.setPort(port);
        factory.setAutomaticRecoveryEnabled(false);
        return factory;
    }

    static void opened(Use use) throws Exception {
        try (Connection connection = factory().newConnection()) {
            use.with(connection.createChannel());
        }
    }

    /** On a channel of its own, with a new, empty queue of this name. */
    static void queue(String name, Use use) throws Exception {
        opened(channel -> {
            channel.queueDelete(name);
            channel.queueDeclare(name, true, false, false, null);
            use.with(channel);
            try (Channel other = channel.getConnection().createChannel()) {
                other.queueDelete(name);
            }
        });
    }

    /** What a consumer was given. */
    static class Deliveries extends DefaultConsumer {
        final BlockingQueue<Delivery> waiting = new LinkedBlockingQueue<>();
        final CompletableFuture<String> cancelled = new CompletableFuture<>();
        final String tag;

        Deliveries(Channel channel, String queue, boolean autoAck) throws IOException {
            super(channel);
            tag = channel.basicConsume(queue, autoAck, this);
        }

        @Override
        public void handleDelivery(String tag, Envelope envelope, BasicProperties properties, byte[] body) {
            waiting.add(new Delivery(envelope, properties, body));
        }

        @Override
        public void handleCancel(String tag) {
            cancelled.complete(tag);
        }

        List<Delivery> take(int count) throws InterruptedException {
            List<Delivery> taken = new ArrayList<>();
            while (taken.size() < count) {
                Delivery next = waiting.poll(10, TimeUnit.SECONDS);
                if (next == null) throw new AssertionError(taken.size() + " of " + count + " deliveries in 10 s");
                taken.add(next);
            }
            return taken;
        }

        void quiet() throws InterruptedException {
            Delivery more = waiting.poll(300, TimeUnit.MILLISECONDS);
            if (more != null) throw new AssertionError("'" + text(more) + "' was delivered, when nothing should be");
        }
    }

    static String text(Delivery delivery) {
        return new String(delivery.getBody(), StandardCharsets.UTF_8);
    }

    static List<String> texts(List<Delivery> deliveries) {
        return deliveries.stream().map(AmqpClient::text).toList();
    }

    static List<String> numbers(int from, int to) {
        return IntStream.range(from, to).mapToObj(String::valueOf).toList();
    }

    static void send(Channel channel, String queue, List<String> bodies) throws IOException {
        for (String body : bodies) channel.basicPublish("", queue, null, body.getBytes(StandardCharsets.UTF_8));
    }

    static long tag(Delivery delivery) {
        return delivery.getEnvelope().getDeliveryTag();
    }

    static void handshake() throws Exception {
        ConnectionFactory factory = factory();
        factory.setRequestedChannelMax(20);
        factory.setRequestedFrameMax(8_192);
        factory.setRequestedHeartbeat(7);
        try (Connection connection = factory.newConnection("named by the client")) {
            Checks.equal(List.of(connection.getChannelMax(), connection.getFrameMax(), connection.getHeartbeat()), List.of(20, 8_192, 7), "agreed");
            if (!connection.getServerProperties().containsKey("capabilities")) throw new AssertionError("no capabilities");
        }
        factory.setPassword("wrong");
        try {
            factory.newConnection().close();
            throw new AssertionError("a wrong password was accepted");
        } catch (AuthenticationFailureException expected) {
            // as it should be
        }
    }

    static void roundTrip() throws Exception {
        Map<String, Object> headers = new LinkedHashMap<>();
        headers.put("string", LongStringHelper.asLongString("größe 🌊"));
        headers.put("int", -100_000);
        headers.put("long", Long.MIN_VALUE);
        headers.put("short", (short) -30_000);
        headers.put("byte", (byte) -100);
        headers.put("bool", true);
        headers.put("float", 1.5f);
        headers.put("double", Math.PI);
        headers.put("decimal", new BigDecimal("-12345.678"));
        headers.put("time", new Date(1_700_000_000_000L));
        headers.put("bytes", new byte[] {0, -1, -2});
        headers.put("nothing", null);
        headers.put("table", Map.of("deeper", Map.of("empty", Map.of(), "number", 1)));
        headers.put("array", Arrays.asList(1, LongStringHelper.asLongString("two"), List.of(), Map.of("three", 3), null));
        BasicProperties sent = new BasicProperties.Builder().headers(headers).contentType("text/plain").contentEncoding("identity").deliveryMode(2)
            .priority(5).correlationId("c").replyTo("r").expiration("600000").messageId("m").timestamp(new Date(1_700_000_000_000L)).type("t")
            .userId("guest").appId("a").clusterId("reserved").build();
        queue("java-properties", channel -> {
            Deliveries consumer = new Deliveries(channel, "java-properties", true);
            channel.basicPublish("", "java-properties", sent, "body".getBytes());
            channel.basicPublish("", "java-properties", MessageProperties.MINIMAL_PERSISTENT_BASIC, new byte[0]);
            List<Delivery> got = consumer.take(2);
            BasicProperties back = got.get(0).getProperties();
            for (String name : headers.keySet()) Checks.equal(back.getHeaders().get(name), headers.get(name), "header " + name);
            Checks.equal(withoutHeaders(back), withoutHeaders(sent), "properties");
            Checks.equal(text(got.get(0)), "body", "body");
            Checks.equal(got.get(1).getProperties(), MessageProperties.MINIMAL_PERSISTENT_BASIC, "properties of the second");
        });
    }

    static BasicProperties withoutHeaders(BasicProperties properties) {
        return properties.builder().headers(null).build();
    }

    static void bodies() throws Exception {
        queue("java-bodies", channel -> {
            Deliveries consumer = new Deliveries(channel, "java-bodies", true);
            for (int size : List.of(0, 1, 131_064, 131_065, 5 << 20)) {
                byte[] body = new byte[size];
                new Random(size).nextBytes(body);
                channel.basicPublish("", "java-bodies", null, body);
                Checks.equal(consumer.take(1).get(0).getBody(), body, "a body of " + size + " bytes");
            }
        });
    }

    static void confirms() throws Exception {
        queue("java-confirms", channel -> {
            channel.confirmSelect();
            SortedSet<Long> outstanding = Collections.synchronizedSortedSet(new TreeSet<>());
            ConfirmCallback acked = (tag, multiple) -> {
                if (multiple) outstanding.headSet(tag + 1).clear();
                else outstanding.remove(tag);
            };
            channel.addConfirmListener(acked, (tag, multiple) -> { throw new IOException("nack of " + tag); });
            for (int number = 0; number < 2_000; number++) {
                outstanding.add(channel.getNextPublishSeqNo());
                channel.basicPublish("", "java-confirms", MessageProperties.PERSISTENT_BASIC, String.valueOf(number).getBytes());
            }
            channel.waitForConfirmsOrDie(20_000);
            Checks.equal(outstanding.size(), 0, "outstanding");
            Checks.equal(channel.messageCount("java-confirms"), 2_000L, "messages");
        });
    }

    static void returned() throws Exception {
        opened(channel -> {
            List<String> order = Collections.synchronizedList(new ArrayList<>());
            channel.addReturnListener(back -> order.add("return " + back.getReplyCode() + " " + back.getReplyText() + " " + back.getRoutingKey()));
            channel.addConfirmListener((tag, multiple) -> order.add("ack " + tag), (tag, multiple) -> order.add("nack " + tag));
            channel.confirmSelect();
            channel.basicPublish("amq.topic", "java.nowhere", true, null, "back".getBytes());
            channel.waitForConfirmsOrDie(10_000);
            Checks.equal(order, List.of("return 312 NO_ROUTE java.nowhere", "ack 1"), "order");
        });
    }

    static void prefetch() throws Exception {
        queue("java-prefetch", channel -> {
            channel.basicQos(10);
            send(channel, "java-prefetch", numbers(0, 25));
            Deliveries consumer = new Deliveries(channel, "java-prefetch", false);
            for (int from : List.of(0, 10, 20)) {
                List<Delivery> got = consumer.take(Math.min(10, 25 - from));
                consumer.quiet();
                Checks.equal(texts(got), numbers(from, Math.min(from + 10, 25)), "deliveries");
                channel.basicAck(tag(got.get(got.size() - 1)), true);
            }
        });
    }

    static void settle() throws Exception {
        queue("java-settle", channel -> {
            send(channel, "java-settle", numbers(0, 4));
            Deliveries consumer = new Deliveries(channel, "java-settle", false);
            List<Delivery> got = consumer.take(4);
            channel.basicReject(tag(got.get(0)), false);
            channel.basicNack(tag(got.get(2)), true, true);
            List<Delivery> again = consumer.take(2);
            Checks.equal(texts(again), List.of("1", "2"), "delivered again");
            Checks.equal(again.stream().allMatch(delivery -> delivery.getEnvelope().isRedeliver()), true, "redelivered");
            channel.basicRecover(true);
            Checks.equal(texts(consumer.take(3)), List.of("1", "2", "3"), "recovered");
            channel.basicAck(0, true);
            consumer.quiet();
        });
    }

    static void get() throws Exception {
        queue("java-get", channel -> {
            Checks.equal(channel.basicGet("java-get", true), null, "of an empty queue");
            channel.confirmSelect();
            send(channel, "java-get", numbers(0, 2));
            channel.waitForConfirmsOrDie(10_000);
            GetResponse first = channel.basicGet("java-get", false);
            Checks.equal(List.of(new String(first.getBody()), first.getMessageCount()), List.of("0", 1), "first, left");
            channel.basicReject(first.getEnvelope().getDeliveryTag(), true);
            GetResponse again = channel.basicGet("java-get", true);
            Checks.equal(List.of(new String(again.getBody()), again.getEnvelope().isRedeliver()), List.of("0", true), "again");
        });
    }

    static void cancelledByServer() throws Exception {
        opened(channel -> {
            channel.queueDeclare("java-gone", true, false, false, null);
            Deliveries consumer = new Deliveries(channel, "java-gone", false);
            opened(other -> other.queueDelete("java-gone"));
            Checks.equal(consumer.cancelled.get(10, TimeUnit.SECONDS), consumer.tag, "cancelled");
        });
    }

    static void declareAndDelete() throws Exception {
        queue("java-declare", channel -> {
            Checks.equal(channel.queueDeclare("java-declare", true, false, false, Map.of()).getQueue(), "java-declare", "again");
            channel.confirmSelect();
            send(channel, "java-declare", numbers(0, 2));
            channel.waitForConfirmsOrDie(10_000);
            closes(channel.getConnection(), 406, other -> other.queueDelete("java-declare", false, true));
            Deliveries consumer = new Deliveries(channel, "java-declare", true);
            consumer.take(2);
            closes(channel.getConnection(), 406, other -> other.queueDelete("java-declare", true, false));
            channel.basicCancel(consumer.tag);
            Checks.equal(channel.queueDelete("java-declare", true, true).getMessageCount(), 0, "deleted with the queue");
        });
    }

    static void exclusive() throws Exception {
        opened(channel -> {
            channel.queueDeclare("java-mine", false, true, false, null);
            opened(other -> closes(other.getConnection(), 405, stranger -> stranger.queueDeclarePassive("java-mine")));
            channel.queueDelete("java-mine");
            channel.queueDeclare("java-auto", false, false, true, null);
            Deliveries consumer = new Deliveries(channel, "java-auto", true);
            channel.basicCancel(consumer.tag);
            closes(channel.getConnection(), 404, other -> other.queueDeclarePassive("java-auto"));
        });
    }

    /** The use of a new channel ends with this reply code, and the connection stays open. */
    static void closes(Connection connection, int code, Use use) throws Exception {
        Channel channel = connection.createChannel();
        CompletableFuture<ShutdownSignalException> reason = new CompletableFuture<>();
        channel.addShutdownListener(reason::complete);
        try {
            use.with(channel);
        } catch (IOException | AlreadyClosedException refused) {
            // the reason is told to the listener
        }
        Checks.equal(replyCode(reason.get(10, TimeUnit.SECONDS)), code, "reply code");
        Checks.equal(connection.isOpen(), true, "connection open");
    }

    static int replyCode(ShutdownSignalException reason) {
        return reason.getReason() instanceof AMQP.Channel.Close close ? close.getReplyCode() : ((AMQP.Connection.Close) reason.getReason()).getReplyCode();
    }

    static void channelErrors() throws Exception {
        queue("java-errors", channel -> {
            Connection connection = channel.getConnection();
            closes(connection, 404, other -> other.queueBind("java-errors", "java-nowhere", ""));
            closes(connection, 404, other -> other.basicConsume("java-nowhere", new DefaultConsumer(other)));
            closes(connection, 404, other -> other.basicPublish("java-nowhere", "", null, new byte[0]));
            closes(connection, 403, other -> other.exchangeDeclare("amq.own", "direct"));
            closes(connection, 406, other -> other.queueDeclare("java-errors", false, false, false, null));
            closes(connection, 406, other -> other.basicAck(99, false));
            send(channel, "java-errors", numbers(0, 1));
        });
    }

    static void connectionErrors() throws Exception {
        ConnectionFactory factory = factory();
        factory.setVirtualHost("nowhere");
        try {
            factory.newConnection().close();
            throw new AssertionError("an unknown vhost was accepted");
        } catch (IOException refused) {
            Checks.equal(replyCode((ShutdownSignalException) refused.getCause()), 530, "unknown vhost");
        }
        Connection connection = factory().newConnection();
        CompletableFuture<ShutdownSignalException> reason = new CompletableFuture<>();
        connection.addShutdownListener(reason::complete);
        connection.createChannel().basicPublish("", "x", false, true, null, new byte[0]);
        Checks.equal(replyCode(reason.get(10, TimeUnit.SECONDS)), 540, "an immediate publish");
    }

    static void routing() throws Exception {
        opened(channel -> {
            Map<BuiltinExchangeType, Map<String, List<String>>> kinds = Map.of(
                BuiltinExchangeType.DIRECT, Map.of("a.b", List.of("a.b"), "#", List.of()),
                BuiltinExchangeType.FANOUT, Map.of("a.b", List.of("a.b", "a.b.c", "x"), "", List.of("a.b", "a.b.c", "x")),
                BuiltinExchangeType.TOPIC, Map.of("a.*", List.of("a.b"), "a.#", List.of("a.b", "a.b.c"), "*", List.of("x")));
            for (var kind : kinds.entrySet()) {
                String exchange = "java-" + kind.getKey().getType();
                channel.exchangeDeclare(exchange, kind.getKey(), false, true, null);
                Map<String, Deliveries> consumers = new HashMap<>();
                for (String pattern : kind.getValue().keySet()) {
                    String queue = channel.queueDeclare().getQueue();
                    channel.queueBind(queue, exchange, pattern);
                    consumers.put(pattern, new Deliveries(channel, queue, true));
                }
                for (String key : List.of("a.b", "a.b.c", "x")) channel.basicPublish(exchange, key, null, key.getBytes());
                for (var wanted : kind.getValue().entrySet()) {
                    Deliveries consumer = consumers.get(wanted.getKey());
                    Checks.equal(texts(consumer.take(wanted.getValue().size())), wanted.getValue(), kind.getKey() + " " + wanted.getKey());
                    consumer.quiet();
                }
                channel.exchangeDelete(exchange);
            }
        });
    }

    static void rpc() throws Exception {
        queue("java-rpc", channel -> {
            Channel server = channel.getConnection().createChannel();
            server.basicConsume("java-rpc", true, (tag, request) -> {
                BasicProperties asked = request.getProperties();
                BasicProperties properties = new BasicProperties.Builder().correlationId(asked.getCorrelationId()).build();
                server.basicPublish("", asked.getReplyTo(), properties, text(request).toUpperCase().getBytes());
            }, tag -> {});
            String replies = channel.queueDeclare().getQueue();
            RpcClient client = new RpcClient(new RpcClientParams().channel(channel).exchange("").routingKey("java-rpc").replyTo(replies).timeout(10_000));
            for (String word : List.of("one", "two")) Checks.equal(client.stringCall(word), word.toUpperCase(), "reply");
            client.close();
        });
    }

    static void manyChannels() throws Exception {
        try (Connection connection = factory().newConnection()) {
            List<Deliveries> consumers = new ArrayList<>();
            for (int number = 0; number < 100; number++) {
                Channel channel = connection.createChannel();
                String queue = channel.queueDeclare().getQueue();
                consumers.add(new Deliveries(channel, queue, true));
                channel.basicPublish("", queue, null, String.valueOf(number).getBytes());
            }
            for (int number = 0; number < 100; number++) Checks.equal(texts(consumers.get(number).take(1)), numbers(number, number + 1), "received");
        }
    }

    static void heartbeats() throws Exception {
        ConnectionFactory factory = factory();
        factory.setRequestedHeartbeat(1);
        try (Connection connection = factory.newConnection()) {
            Thread.sleep(4_000);
            Checks.equal(connection.isOpen(), true, "open after 4 idle seconds");
            connection.createChannel().queueDeclare();
        }
    }

    static void abort() throws Exception {
        queue("java-abort", channel -> {
            send(channel, "java-abort", numbers(0, 10));
            Connection other = factory().newConnection();
            new Deliveries(other.createChannel(), "java-abort", false).take(10);
            other.abort();
            List<Delivery> got = new Deliveries(channel, "java-abort", true).take(10);
            Checks.equal(texts(got), numbers(0, 10), "in order");
            Checks.equal(got.stream().allMatch(delivery -> delivery.getEnvelope().isRedeliver()), true, "redelivered");
        });
    }
}
