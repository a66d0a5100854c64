import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import java.util.stream.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.*;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.*;

/** Apache's own Java client against a broker: java -cp 'jars/*:checks' Clients.java BOOTSTRAP. Prints a line per check. */
public class Clients {
    static final String TOPIC = "java";
    static String bootstrap;
    static Admin admin;

    record Message(byte[] key, byte[] value, List<Header> headers) {}

    public static void main(String[] arguments) {
        bootstrap = arguments[0];
        admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
        Checks.check("create topics", Clients::createTopics);
        for (String compression : List.of("none", "gzip", "snappy", "lz4", "zstd"))
            Checks.check("idempotent round trip, compression " + compression, () -> roundTrip(compression, true));
        Checks.check("round trip, not idempotent", () -> roundTrip("none", false));
        Checks.check("big message", Clients::bigMessage);
        Checks.check("too big a message is refused", Clients::tooBig);
        Checks.check("100,000 small messages in order", Clients::manySmall);
        Checks.check("offsets by time", Clients::offsetsByTime);
        Checks.check("commit and resume", Clients::commitAndResume);
        Checks.check("rebalance, range", () -> rebalance("org.apache.kafka.clients.consumer.RangeAssignor"));
        Checks.check("rebalance, cooperative sticky", () -> rebalance("org.apache.kafka.clients.consumer.CooperativeStickyAssignor"));
        Checks.check("static members", Clients::staticMembers);
        Checks.check("groups listed, described, offsets listed", Clients::groups);
        Checks.check("cluster and configs described", Clients::describe);
        Checks.check("create partitions, delete topic", Clients::growAndDelete);
        admin.close(Duration.ofSeconds(5));
        Checks.exit();
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static KafkaProducer<byte[], byte[]> producer(Map<String, Object> options) {
        Map<String, Object> all = new HashMap<>(Map.of("bootstrap.servers", bootstrap, "acks", "all", "delivery.timeout.ms", 40_000));
        all.putAll(options);
        return new KafkaProducer<>(all, new ByteArraySerializer(), new ByteArraySerializer());
    }

    static KafkaConsumer<byte[], byte[]> consumer(Map<String, Object> options) {
        Map<String, Object> all = new HashMap<>(Map.of("bootstrap.servers", bootstrap, "auto.offset.reset", "earliest",
            "enable.auto.commit", false, "session.timeout.ms", 10_000, "heartbeat.interval.ms", 500));
        all.putAll(options);
        return new KafkaConsumer<>(all, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    static List<ConsumerRecord<byte[], byte[]>> take(Consumer<byte[], byte[]> from, int count) throws Exception {
        List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
        Checks.until(count + " records", () -> {
            from.poll(Duration.ofMillis(200)).forEach(records::add);
            return records.size() >= count;
        });
        return records;
    }

    static List<ConsumerRecord<byte[], byte[]>> readFrom(TopicPartition partition, long offset, int count) throws Exception {
        try (var reader = consumer(Map.of())) {
            reader.assign(List.of(partition));
            reader.seek(partition, offset);
            return take(reader, count).subList(0, count);
        }
    }

    static long send(KafkaProducer<byte[], byte[]> with, String topic, int partition, Long timestamp, String value) throws Exception {
        return with.send(new ProducerRecord<>(topic, partition, timestamp, null, bytes(value))).get().offset();
    }

    static void createTopics() throws Exception {
        admin.createTopics(List.of(new NewTopic(TOPIC, 3, (short) 1), new NewTopic("java-times", 1, (short) 1),
            new NewTopic("java-resume", Optional.of(1), Optional.empty()).configs(Map.of("retention.ms", "86400000")))).all().get();
        Checks.equal(admin.describeTopics(List.of(TOPIC)).allTopicNames().get().get(TOPIC).partitions().size(), 3, "partitions");
        try {
            admin.createTopics(List.of(new NewTopic(TOPIC, 3, (short) 1))).all().get();
            throw new AssertionError("the topic was created twice");
        } catch (ExecutionException error) {
            Checks.equal(error.getCause().getClass(), TopicExistsException.class, "creating twice");
        }
    }

    static void roundTrip(String compression, boolean idempotent) throws Exception {
        byte[] all = new byte[256];
        for (int i = 0; i < 256; i++) all[i] = (byte) i;
        List<Message> messages = List.of(
            new Message(bytes("key"), bytes("value"), List.of(new RecordHeader("content-type", bytes("text/plain")))),
            new Message(null, bytes("no key"), List.of()),
            new Message(new byte[0], new byte[0], List.of()),
            new Message(bytes("tombstone"), null, List.of(new RecordHeader("why", bytes("deleted")))),
            new Message(bytes("twice"), bytes("same name"), List.of(new RecordHeader("h", bytes("1")), new RecordHeader("h", bytes("2")))),
            new Message(all, all, List.of(new RecordHeader("null", (byte[]) null), new RecordHeader("empty", new byte[0]))),
            new Message(bytes("repetitive"), bytes("abcd".repeat(50_000)), List.of()));
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (var sender = producer(Map.of("compression.type", compression, "enable.idempotence", idempotent, "linger.ms", 20))) {
            for (Message m : messages) sent.add(sender.send(new ProducerRecord<>(TOPIC, 0, m.key, m.value, m.headers)));
        }
        long first = sent.get(0).get().offset();
        for (int i = 0; i < sent.size(); i++) Checks.equal(sent.get(i).get().offset(), first + i, "offset of message " + i);
        var records = readFrom(new TopicPartition(TOPIC, 0), first, messages.size());
        for (int i = 0; i < messages.size(); i++) {
            Checks.equal(records.get(i).key(), messages.get(i).key, "key of message " + i);
            Checks.equal(records.get(i).value(), messages.get(i).value, "value of message " + i);
            Checks.equal(List.of(records.get(i).headers().toArray()), messages.get(i).headers, "headers of message " + i);
        }
    }

    static void bigMessage() throws Exception {
        byte[] big = new byte[900_000];
        new Random(7).nextBytes(big);
        try (var sender = producer(Map.of())) {
            long offset = sender.send(new ProducerRecord<>(TOPIC, 2, null, big)).get().offset();
            Checks.equal(readFrom(new TopicPartition(TOPIC, 2), offset, 1).get(0).value(), big, "big message");
        }
    }

    static void tooBig() throws Exception {
        try (var sender = producer(Map.of("max.request.size", 20_000_000))) {
            sender.send(new ProducerRecord<>(TOPIC, 2, null, new byte[10_000_000])).get();
            throw new AssertionError("10 MB were accepted by a topic with max.message.bytes of 1 MiB");
        } catch (ExecutionException error) {
            Checks.equal(error.getCause().getClass(), RecordTooLargeException.class, "the refusal");
        }
    }

    static void manySmall() throws Exception {
        int count = 100_000;
        Future<RecordMetadata> last = null;
        long first = -1;
        try (var sender = producer(Map.of("linger.ms", 5))) {
            for (int i = 0; i < count; i++) {
                last = sender.send(new ProducerRecord<>(TOPIC, 1, null, bytes("" + i)));
                if (i == 0) first = last.get().offset();
            }
        }
        Checks.equal(last.get().offset(), first + count - 1, "offset of the last");
        var records = readFrom(new TopicPartition(TOPIC, 1), first, count);
        for (int i = 0; i < count; i++) Checks.equal(new String(records.get(i).value()), "" + i, "value at " + i);
    }

    static void offsetsByTime() throws Exception {
        TopicPartition partition = new TopicPartition("java-times", 0);
        try (var sender = producer(Map.of()); var reader = consumer(Map.of())) {
            long base = System.currentTimeMillis() - 10_000; // retention by time would remove older ones
            for (long stamp : List.of(1_000L, 3_000L, 2_000L)) send(sender, "java-times", 0, base + stamp, "" + stamp);
            Checks.equal(reader.beginningOffsets(List.of(partition)).get(partition), 0L, "beginning");
            Checks.equal(reader.endOffsets(List.of(partition)).get(partition), 3L, "end");
            OffsetAndTimestamp found = reader.offsetsForTimes(Map.of(partition, base + 1_500)).get(partition);
            Checks.equal(List.of(found.offset(), found.timestamp()), List.of(1L, base + 3_000), "first at or after 1.5 s");
            Checks.equal(reader.offsetsForTimes(Map.of(partition, base + 9_000)).get(partition), null, "after the last");
        }
        Checks.equal(admin.listOffsets(Map.of(partition, OffsetSpec.maxTimestamp())).partitionResult(partition).get().offset(), 1L, "largest timestamp");
    }

    static void commitAndResume() throws Exception {
        TopicPartition partition = new TopicPartition("java-resume", 0);
        try (var sender = producer(Map.of())) {
            for (int i = 0; i < 10; i++) send(sender, "java-resume", 0, null, "" + i);
        }
        try (var first = consumer(Map.of("group.id", "java-group", "max.poll.records", 4))) {
            first.subscribe(List.of("java-resume"));
            take(first, 4);
            first.commitSync(Map.of(partition, new OffsetAndMetadata(4, "so far")));
            Checks.equal(first.committed(Set.of(partition)).get(partition).offset(), 4L, "committed");
        }
        try (var second = consumer(Map.of("group.id", "java-group"))) {
            second.subscribe(List.of("java-resume"));
            var values = take(second, 6).stream().map(r -> new String(r.value())).toList();
            Checks.equal(values, List.of("4", "5", "6", "7", "8", "9"), "after resuming");
        }
    }

    /** A group member polling on its own thread. */
    static class Member implements Runnable {
        final KafkaConsumer<byte[], byte[]> consumer;
        final Thread thread = new Thread(this);
        volatile Set<TopicPartition> owned = Set.of();
        volatile boolean stopping;

        Member(Map<String, Object> options) {
            consumer = consumer(options);
            consumer.subscribe(List.of(TOPIC));
            thread.setDaemon(true);
            thread.start();
        }

        public void run() {
            while (!stopping) {
                consumer.poll(Duration.ofMillis(100));
                owned = Set.copyOf(consumer.assignment());
            }
            consumer.close(CloseOptions.timeout(Duration.ofSeconds(5)));
        }

        void stop() throws InterruptedException {
            stopping = true;
            thread.join(30_000);
        }
    }

    static boolean shared(Member a, Member b) {
        return !a.owned.isEmpty() && !b.owned.isEmpty() && Collections.disjoint(a.owned, b.owned) && a.owned.size() + b.owned.size() == 3;
    }

    static void rebalance(String assignor) throws Exception {
        String group = "java-" + assignor.substring(assignor.lastIndexOf('.') + 1);
        Map<String, Object> options = Map.of("group.id", group, "partition.assignment.strategy", assignor);
        Member first = new Member(options);
        Checks.until("the first member to own all", () -> first.owned.size() == 3);
        Member second = new Member(options);
        Checks.until("the partitions to be shared", () -> shared(first, second));
        Checks.equal(admin.describeConsumerGroups(List.of(group)).all().get().get(group).members().size(), 2, "members");
        first.stop();
        Checks.until("the second member to take over", () -> second.owned.size() == 3);
        second.stop();
    }

    static void staticMembers() throws Exception {
        Member first = new Member(Map.of("group.id", "java-static", "group.instance.id", "static-1"));
        Member second = new Member(Map.of("group.id", "java-static", "group.instance.id", "static-2"));
        Checks.until("the partitions to be shared", () -> shared(first, second));
        Set<TopicPartition> held = second.owned;
        first.stop();
        Member again = new Member(Map.of("group.id", "java-static", "group.instance.id", "static-1"));
        Checks.until("the returned member to own its share", () -> shared(again, second));
        Checks.equal(second.owned, held, "what the member that stayed owns");
        again.stop();
        second.stop();
        admin.removeMembersFromConsumerGroup("java-static", new RemoveMembersFromConsumerGroupOptions(
            List.of(new MemberToRemove("static-1"), new MemberToRemove("static-2")))).all().get();
    }

    static void groups() throws Exception {
        var names = admin.listGroups().all().get().stream().map(GroupListing::groupId).collect(Collectors.toSet());
        if (!names.contains("java-group")) throw new AssertionError("java-group is not listed: " + names);
        var described = admin.describeConsumerGroups(List.of("java-group")).all().get().get("java-group");
        Checks.equal(described.groupState(), GroupState.EMPTY, "state");
        var offset = admin.listConsumerGroupOffsets("java-group").partitionsToOffsetAndMetadata().get().get(new TopicPartition("java-resume", 0));
        Checks.equal(List.of(offset.offset(), offset.metadata()), List.of(4L, "so far"), "committed");
    }

    static void describe() throws Exception {
        Checks.equal(admin.describeCluster().nodes().get().size(), 1, "nodes");
        var resource = new ConfigResource(ConfigResource.Type.TOPIC, "java-resume");
        Config config = admin.describeConfigs(List.of(resource)).all().get().get(resource);
        Checks.equal(config.get("retention.ms").value(), "86400000", "retention.ms as created");
        Checks.equal(config.get("cleanup.policy").value(), "delete", "cleanup.policy");
    }

    static void growAndDelete() throws Exception {
        admin.createPartitions(Map.of(TOPIC, NewPartitions.increaseTo(5))).all().get();
        Checks.until("five partitions", () -> admin.describeTopics(List.of(TOPIC)).allTopicNames().get().get(TOPIC).partitions().size() == 5);
        admin.deleteTopics(List.of(TOPIC)).all().get();
        Checks.until("the topic to go", () -> !admin.listTopics().names().get().contains(TOPIC));
    }
}
