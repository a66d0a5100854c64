import java.nio.file.Files;
import java.time.Duration;
import java.util.*;
import java.util.stream.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.*;
import org.apache.kafka.streams.*;
import org.apache.kafka.streams.kstream.*;

/** Kafka Streams' word count against a broker: java -cp 'jars/*' Streams.java BOOTSTRAP. Prints a line per check. */
public class Streams {
    static final String WORDS = "the quick brown fox jumps over the lazy dog";
    static final int LINES = 1000;

    public static void main(String[] arguments) throws Exception {
        String bootstrap = arguments[0];
        Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
        admin.createTopics(Stream.of("lines", "counts").map(name -> new NewTopic(name, 2, (short) 3)).toList()).all().get();
        List<KafkaStreams> instances = List.of(start(bootstrap, "a"), start(bootstrap, "b"));
        try (var producer = new KafkaProducer<>(Map.of("bootstrap.servers", bootstrap), new StringSerializer(), new StringSerializer())) {
            for (int i = 0; i < LINES; i++) producer.send(new ProducerRecord<>("lines", "line " + i, WORDS));
        }
        Map<String, Long> wanted = Arrays.stream(WORDS.split(" "))
                .collect(Collectors.groupingBy(word -> word, Collectors.summingLong(word -> LINES)));
        Map<String, Long> counts = new HashMap<>();
        Map<String, Object> reading = Map.of("bootstrap.servers", bootstrap, "group.id", "reader", "auto.offset.reset", "earliest");
        try (var consumer = new KafkaConsumer<>(reading, new StringDeserializer(), new LongDeserializer())) {
            consumer.subscribe(List.of("counts"));
            long deadline = System.nanoTime() + Duration.ofSeconds(50).toNanos();
            while (!counts.equals(wanted) && System.nanoTime() < deadline)
                consumer.poll(Duration.ofMillis(200)).forEach(record -> counts.put(record.key(), record.value()));
        }
        boolean counted = counts.equals(wanted);
        System.out.println((counted ? "ok " : "not ok ") + "word count by two instances: " + counts);
        var repartition = new ConfigResource(ConfigResource.Type.TOPIC, "words-by-word-repartition");
        Config config = admin.describeConfigs(List.of(repartition)).all().get().get(repartition);
        boolean shown = config.get("segment.bytes").value().equals("52428800") && config.get("retention.ms").value().equals("-1");
        System.out.println((shown ? "ok " : "not ok ") + "the repartition topic has the settings Streams gave it");
        for (KafkaStreams instance : instances) instance.close(Duration.ofSeconds(10));
        admin.close(Duration.ofSeconds(5));
        System.exit(counted && shown ? 0 : 1);
    }

    static KafkaStreams start(String bootstrap, String instance) throws Exception {
        StreamsBuilder builder = new StreamsBuilder();
        builder.stream("lines", Consumed.with(Serdes.String(), Serdes.String()))
                .flatMapValues(line -> List.of(line.split(" ")))
                .groupBy((key, word) -> word, Grouped.with("by-word", Serdes.String(), Serdes.String()))
                .count(Materialized.as("counts"))
                .toStream()
                .to("counts", Produced.with(Serdes.String(), Serdes.Long()));
        Properties properties = new Properties();
        properties.putAll(Map.of(
                "application.id", "words",
                "client.id", instance,
                "bootstrap.servers", bootstrap,
                "replication.factor", "3",
                "state.dir", Files.createTempDirectory("streams-" + instance).toString(),
                "commit.interval.ms", "200",
                "dsl.store.suppliers.class", "org.apache.kafka.streams.state.BuiltInDslStoreSuppliers$InMemoryDslStoreSuppliers"));
        KafkaStreams streams = new KafkaStreams(builder.build(), properties);
        streams.start();
        return streams;
    }
}
