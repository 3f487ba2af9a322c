import com.datastax.oss.driver.api.core.CqlSession;
import com.datastax.oss.driver.api.core.DefaultConsistencyLevel;
import com.datastax.oss.driver.api.core.config.DefaultDriverOption;
import com.datastax.oss.driver.api.core.config.DriverConfigLoader;
import com.datastax.oss.driver.api.core.cql.PreparedStatement;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.Random;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicLong;

/** Writes to a three-node Cassandra at QUORUM, so many at a time, and prints how many a second. */
public final class Load {
  public static void main(String[] args) throws Exception {
    String[] nodes = args[0].split(",");
    int inFlight = Integer.parseInt(args[1]);
    double seconds = Double.parseDouble(args[2]);
    int keys = Integer.parseInt(args[3]);
    byte[] value = new byte[Integer.parseInt(args[4])];
    new Random(1).nextBytes(value);
    DriverConfigLoader config = DriverConfigLoader.programmaticBuilder()
        .withDuration(DefaultDriverOption.REQUEST_TIMEOUT, Duration.ofSeconds(30))
        .withDuration(DefaultDriverOption.CONNECTION_INIT_QUERY_TIMEOUT, Duration.ofSeconds(30))
        .withDuration(DefaultDriverOption.CONTROL_CONNECTION_TIMEOUT, Duration.ofSeconds(30))
        .build();
    var builder = CqlSession.builder().withConfigLoader(config).withLocalDatacenter("datacenter1");
    for (String node : nodes) {
      builder.addContactPoint(new InetSocketAddress(node, 9042));
    }
    try (CqlSession session = builder.build()) {
      session.execute("CREATE KEYSPACE IF NOT EXISTS bench WITH replication = "
          + "{'class': 'SimpleStrategy', 'replication_factor': 3}");
      session.execute("CREATE TABLE IF NOT EXISTS bench.records (k text PRIMARY KEY, v blob)");
      PreparedStatement insert = session.prepare("INSERT INTO bench.records (k, v) VALUES (?, ?)");
      // Code that is not compiled yet is no measure.
      write(session, insert, inFlight, seconds / 2, keys, value);
      System.out.println(write(session, insert, inFlight, seconds, keys, value));
    }
  }

  private static String write(
      CqlSession session, PreparedStatement insert, int inFlight, double seconds, int keys, byte[] value)
      throws InterruptedException {
    Semaphore room = new Semaphore(inFlight);
    AtomicLong done = new AtomicLong();
    AtomicLong failed = new AtomicLong();
    Random random = new Random(2);
    long begin = System.nanoTime();
    long end = begin + (long) (seconds * 1e9);
    while (System.nanoTime() < end) {
      room.acquire();
      String key = String.format("bench/%08d", random.nextInt(keys));
      var statement = insert.bind(key, ByteBuffer.wrap(value)).setConsistencyLevel(DefaultConsistencyLevel.QUORUM);
      session.executeAsync(statement).whenComplete((answer, error) -> {
        (error == null ? done : failed).incrementAndGet();
        room.release();
      });
    }
    room.acquire(inFlight);
    double took = (System.nanoTime() - begin) / 1e9;
    return "{\"operations\":" + done + ",\"failed\":" + failed + ",\"seconds\":" + took + "}";
  }
}
