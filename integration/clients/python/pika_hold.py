"""Takes messages, acknowledges none, says so, and waits to be killed: pika_hold.py HOST:PORT QUEUE COUNT"""

import sys

from pika_shared import Deliveries, opened

with opened() as channel:
    channel.basic_qos(prefetch_count=int(sys.argv[3]))
    consumer = Deliveries(channel, sys.argv[2]).wait(int(sys.argv[3]))
    print(f"holding {len(consumer.messages)}", flush=True)
    while True:
        channel.connection.process_data_events(60)
