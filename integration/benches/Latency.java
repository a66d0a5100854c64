import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.locks.LockSupport;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.*;

/**
 * End-to-end latency at a steady rate: java -cp 'jars/*' Latency.java BOOTSTRAP TOPIC RATE COUNT. acks=all, linger 0, one
 * record of 100 bytes at each tick whether or not the one before has arrived. Prints, in microseconds,
 * "delivered p50 p99 p99.9 acknowledged p50 p99 p99.9". Before that as many are sent as make Java compile what it runs, at
 * WARM_UP_PACE times the rate, and then for a fifth of the time at the rate itself: they are not counted.
 */
public class Latency {
    static final int WARM_UP = 60_000, WARM_UP_PACE = 5;

    public static void main(String[] arguments) throws Exception {
        String bootstrap = arguments[0], topic = arguments[1];
        int rate = Integer.parseInt(arguments[2]);
        int counted = Integer.parseInt(arguments[3]), count = WARM_UP + counted / 5 + counted;
        long[] delivered = new long[count], acknowledged = new long[count];
        Map<String, Object> reading = Map.of("bootstrap.servers", bootstrap, "fetch.min.bytes", 1, "fetch.max.wait.ms", 500);
        Map<String, Object> writing = Map.of("bootstrap.servers", bootstrap, "acks", "all", "linger.ms", 0);
        try (var consumer = new KafkaConsumer<>(reading, new ByteArrayDeserializer(), new ByteArrayDeserializer());
             var producer = new KafkaProducer<>(writing, new ByteArraySerializer(), new ByteArraySerializer())) {
            var partition = new TopicPartition(topic, 0);
            consumer.assign(List.of(partition));
            consumer.seekToEnd(List.of(partition));
            consumer.position(partition);
            producer.partitionsFor(topic);
            Thread sender = new Thread(() -> send(producer, topic, rate, acknowledged));
            sender.start();
            for (int got = 0; got < count; ) {
                for (var record : consumer.poll(Duration.ofMillis(200))) {
                    long now = System.nanoTime();
                    ByteBuffer value = ByteBuffer.wrap(record.value());
                    delivered[value.getInt()] = now - value.getLong();
                    got++;
                }
            }
            sender.join();
            producer.flush();
        }
        System.out.println("delivered " + percentiles(delivered, counted) + " acknowledged " + percentiles(acknowledged, counted));
    }

    static void send(KafkaProducer<byte[], byte[]> producer, String topic, int rate, long[] acknowledged) {
        long tick = TimeUnit.SECONDS.toNanos(1) / rate, next = System.nanoTime();
        for (int i = 0; i < acknowledged.length; i++, next += i < WARM_UP ? tick / WARM_UP_PACE : tick) {
            while (System.nanoTime() < next) LockSupport.parkNanos(next - System.nanoTime());
            int index = i;
            long start = System.nanoTime();
            byte[] value = ByteBuffer.allocate(100).putInt(i).putLong(start).array();
            producer.send(new ProducerRecord<>(topic, 0, null, value), (at, error) -> {
                if (error != null) throw new IllegalStateException(error);
                acknowledged[index] = System.nanoTime() - start;
            });
        }
    }

    static String percentiles(long[] nanos, int counted) {
        long[] sorted = Arrays.copyOfRange(nanos, nanos.length - counted, nanos.length);
        Arrays.sort(sorted);
        StringJoiner joined = new StringJoiner(" ");
        for (double p : new double[] {0.5, 0.99, 0.999}) joined.add("" + sorted[(int) (sorted.length * p)] / 1000);
        return joined.toString();
    }
}
