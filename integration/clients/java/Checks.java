import java.util.Objects;
import java.util.concurrent.*;

/** Prints a line for each thing that is checked: "ok NAME", or "not ok NAME: REASON". */
public class Checks {
    private static final int PATIENCE_SECONDS = 90;
    private static boolean failed;

    public interface Check {
        void run() throws Exception;
    }

    /** Runs one check; what has no end in time has failed. */
    public static void check(String name, Check check) {
        ExecutorService runner = Executors.newSingleThreadExecutor(task -> {
            Thread thread = new Thread(task);
            thread.setDaemon(true);
            return thread;
        });
        try {
            runner.submit(() -> {
                check.run();
                return null;
            }).get(PATIENCE_SECONDS, TimeUnit.SECONDS);
            System.out.println("ok " + name);
        } catch (ExecutionException error) {
            error.getCause().printStackTrace();
            fail(name, error.getCause().toString());
        } catch (TimeoutException error) {
            fail(name, "no end after " + PATIENCE_SECONDS + " s");
        } catch (InterruptedException error) {
            fail(name, "interrupted");
        }
        runner.shutdownNow();
    }

    private static void fail(String name, String reason) {
        failed = true;
        System.out.println("not ok " + name + ": " + reason.replaceAll("\\s+", " "));
    }

    /** Says what differs. */
    public static void equal(Object got, Object wanted, String what) {
        if (!Objects.deepEquals(got, wanted)) throw new AssertionError(what + ": got " + got + ", wanted " + wanted);
    }

    /** Waits for it. */
    public static void until(String what, Callable<Boolean> condition) throws Exception {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(40);
        while (!condition.call()) {
            if (System.nanoTime() > deadline) throw new AssertionError("waited 40 s for " + what);
            Thread.sleep(50);
        }
    }

    /** Ends the program, with 1 if a check failed. */
    public static void exit() {
        System.exit(failed ? 1 : 0);
    }
}
