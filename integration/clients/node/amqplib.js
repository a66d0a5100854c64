// amqplib against a broker: NODE_PATH=… node amqplib.js HOST:PORT

const amqp = require('amqplib');
const callbacks = require('amqplib/callback_api');
const { check, equal, expect, finish, sleep, until } = require('./checks');

const URL = `amqp://guest:guest@${process.argv[2]}`;
const numbers = (count, start = 0) => Array.from({ length: count }, (_, i) => String(start + i));
const text = (message) => message.content.toString();

// A connection with one channel, closed at the end, and a new, empty queue if it has a name.
async function within(name, run, options = {}) {
  const connection = await amqp.connect(URL + (options.query ?? ''), options.socket ?? {});
  connection.on('error', () => {});
  try {
    const channel = await (options.confirm ? connection.createConfirmChannel() : connection.createChannel());
    channel.on('error', () => {});
    if (name) {
      await channel.deleteQueue(name);
      await channel.assertQueue(name, { durable: true });
    }
    await run(channel, connection);
    if (name) await (await connection.createChannel()).deleteQueue(name);
  } finally {
    await connection.close().catch(() => {});
  }
}

// Starts a consumer; what it was given grows in the array returned.
async function consume(channel, queue, options) {
  const got = [];
  const { consumerTag } = await channel.consume(queue, (message) => got.push(message), options);
  got.tag = consumerTag;
  got.wait = (count) => until(`${count} deliveries`, () => got.length >= count);
  return got;
}

async function handshake() {
  for (const credentials of [amqp.credentials.plain('guest', 'guest'), amqp.credentials.amqplain('guest', 'guest')]) {
    await within(null, async (channel, connection) => {
      expect(connection.connection.serverProperties.product, 'no product');
      await channel.assertQueue('', { exclusive: true });
    }, { query: '?heartbeat=5&frameMax=8192&channelMax=10&locale=en_US', socket: { credentials } });
  }
  const refused = await amqp.connect(`amqp://guest:wrong@${process.argv[2]}`).then(() => null, (error) => error);
  expect(/ACCESS_REFUSED|403/.test(refused?.message), `a wrong password: ${refused}`);
}

async function properties() {
  const headers = {
    text: 'größe 🌊', empty: '', bytes: Buffer.from([0, 255]), yes: true, no: false, byte: -5, short: 1000, int: -100_000, long: 2 ** 40,
    double: 1.25, nothing: null, table: { a: 1, b: { c: [] } }, array: [1, 'two', { three: 3 }, [], null],
    float: { '!': 'float', value: 0.5 }, time: { '!': 'timestamp', value: 1_700_000_000 }, decimal: { '!': 'decimal', value: { digits: 12345, places: 2 } },
    long64: { '!': 'long', value: 7 },
  };
  const options = {
    headers, contentType: 'text/plain', contentEncoding: 'identity', persistent: true, priority: 3, correlationId: 'c', replyTo: 'r',
    expiration: '600000', messageId: 'm', timestamp: 1_700_000_000, type: 't', userId: 'guest', appId: 'a',
  };
  await within('node-properties', async (channel) => {
    const got = await consume(channel, 'node-properties', { noAck: true });
    channel.sendToQueue('node-properties', Buffer.from('body'), options);
    channel.sendToQueue('node-properties', Buffer.alloc(0));
    await got.wait(2);
    const back = got[0].properties;
    const plain = { float: 0.5, long64: 7 };
    for (const [name, value] of Object.entries(headers)) equal(back.headers[name], plain[name] ?? value, `header ${name}`);
    for (const name of Object.keys(options).filter((name) => !['headers', 'persistent'].includes(name))) equal(back[name], options[name], name);
    equal(back.deliveryMode, 2, 'delivery mode');
    equal(text(got[0]), 'body', 'body');
    equal(got[1].content.length, 0, 'empty body');
    for (const name of ['messageId', 'contentType', 'timestamp', 'priority']) equal(got[1].properties[name], undefined, `absent ${name}`);
  });
}

async function bigBody() {
  await within('node-big', async (channel) => {
    const got = await consume(channel, 'node-big', { noAck: true });
    const body = Buffer.alloc(5 << 20, 'not all the same ');
    channel.sendToQueue('node-big', body);
    await got.wait(1);
    expect(got[0].content.equals(body), `${got[0].content.length} bytes came back`);
  });
}

async function confirms() {
  await within('node-confirms', async (channel) => {
    const confirmed = [];
    for (const number of numbers(2000)) {
      channel.sendToQueue('node-confirms', Buffer.from(number), { persistent: true }, (error) => confirmed.push(error ?? number));
    }
    await channel.waitForConfirms();
    equal(confirmed, numbers(2000), 'confirmed');
    equal((await channel.checkQueue('node-confirms')).messageCount, 2000, 'messages');
    equal((await channel.purgeQueue('node-confirms')).messageCount, 2000, 'purged');
  }, { confirm: true });
}

async function returned() {
  await within(null, async (channel) => {
    const order = [];
    channel.on('return', (message) => order.push(['return', message.fields.replyCode, message.fields.routingKey, text(message)]));
    channel.publish('amq.direct', 'node-nowhere', Buffer.from('back'), { mandatory: true }, (error) => order.push(['confirm', error]));
    await channel.waitForConfirms();
    equal(order, [['return', 312, 'node-nowhere', 'back'], ['confirm', null]], 'order');
  }, { confirm: true });
}

async function prefetch() {
  await within('node-prefetch', async (channel) => {
    await channel.prefetch(4);
    for (const body of numbers(10)) channel.sendToQueue('node-prefetch', Buffer.from(body));
    const got = await consume(channel, 'node-prefetch');
    await got.wait(4);
    await sleep(200);
    equal(got.length, 4, 'deliveries');
    channel.ack(got[2], true);
    await got.wait(7);
    await sleep(200);
    equal(got.length, 7, 'deliveries');
    channel.ackAll();
    await got.wait(10);
    equal(got.map(text), numbers(10), 'in order');
    await channel.cancel(got.tag);
  });
}

async function settle() {
  await within('node-settle', async (channel) => {
    for (const body of numbers(5)) channel.sendToQueue('node-settle', Buffer.from(body));
    const got = await consume(channel, 'node-settle');
    await got.wait(5);
    channel.reject(got[0], false);
    channel.nack(got[1], false, false);
    channel.nack(got[3], true, true);
    await got.wait(7);
    equal(got.slice(5).map((message) => [text(message), message.fields.redelivered]), [['2', true], ['3', true]], 'delivered again');
    channel.nackAll(true);
    await got.wait(10);
    equal(got.slice(7).map(text), ['2', '3', '4'], 'delivered again');
    await channel.recover();
    await got.wait(13);
    channel.ackAll();
    await sleep(100);
    equal(await channel.get('node-settle'), false, 'left');
  });
}

async function get() {
  await within('node-get', async (channel) => {
    equal(await channel.get('node-get'), false, 'of an empty queue');
    for (const body of numbers(3)) channel.sendToQueue('node-get', Buffer.from(body));
    await until('the messages', async () => (await channel.checkQueue('node-get')).messageCount === 3);
    const message = await channel.get('node-get');
    equal([text(message), message.fields.messageCount], ['0', 2], 'message and how many are left');
    channel.nack(message);
    equal([text(await channel.get('node-get', { noAck: true })), (await channel.get('node-get', { noAck: true })).fields.redelivered], ['0', false], 'then');
  });
}

async function cancelledByServer() {
  await within(null, async (channel, connection) => {
    await channel.assertQueue('node-gone');
    const got = await consume(channel, 'node-gone');
    await (await connection.createChannel()).deleteQueue('node-gone');
    await got.wait(1);
    equal(got[0], null, 'the notification');
  });
}

async function errors() {
  await within('node-errors', async (_, connection) => {
    const wrong = {
      404: (channel) => channel.checkQueue('node-nowhere'),
      406: (channel) => channel.assertQueue('node-errors', { durable: false }),
      403: (channel) => channel.assertExchange('amq.own', 'direct'),
    };
    for (const [code, call] of Object.entries(wrong)) {
      const channel = await connection.createChannel();
      const emitted = new Promise((resolve) => channel.on('error', resolve));
      const error = await call(channel).then(() => null, (error) => error);
      equal(error?.code, Number(code), 'code');
      equal((await emitted).code, Number(code), 'code of the event');
    }
    const channel = await connection.createChannel();
    const emitted = new Promise((resolve) => channel.on('error', resolve));
    channel.publish('node-nowhere', 'k', Buffer.from('x'));
    equal((await emitted).code, 404, 'publishing to no exchange');
    const vhost = await amqp.connect(`${URL}/nowhere`).then(() => null, (error) => error);
    expect(/ConnectionClose/.test(vhost?.message), `an unknown vhost: ${vhost}`);
  });
}

async function fanoutAndTopic() {
  await within(null, async (channel) => {
    for (const [kind, patterns, wanted] of [
      ['fanout', ['', ''], [['a.b', 'c'], ['a.b', 'c']]], ['topic', ['a.*', '#'], [['a.b'], ['a.b', 'c']]], ['direct', ['c', 'a.b'], [['c'], ['a.b']]],
    ]) {
      const { exchange } = await channel.assertExchange(`node-${kind}`, kind, { autoDelete: true });
      const consumers = [];
      for (const pattern of patterns) {
        const { queue } = await channel.assertQueue('', { exclusive: true });
        await channel.bindQueue(queue, exchange, pattern);
        consumers.push(await consume(channel, queue, { noAck: true }));
      }
      for (const key of ['a.b', 'c']) channel.publish(exchange, key, Buffer.from(key));
      for (const [index, got] of consumers.entries()) {
        await got.wait(wanted[index].length);
        equal(got.map(text), wanted[index], `${kind} ${patterns[index]}`);
      }
      await channel.deleteExchange(exchange);
    }
  });
}

async function rpc() {
  await within('node-rpc', async (channel, connection) => {
    const server = await connection.createChannel();
    await server.consume('node-rpc', (message) => {
      if (!message) return; // the queue is deleted
      server.sendToQueue(message.properties.replyTo, Buffer.from(text(message).toUpperCase()), { correlationId: message.properties.correlationId });
      server.ack(message);
    });
    const { queue } = await channel.assertQueue('', { exclusive: true });
    const replies = await consume(channel, queue, { noAck: true });
    for (const body of ['a', 'b', 'c']) channel.sendToQueue('node-rpc', Buffer.from(body), { replyTo: queue, correlationId: body });
    await replies.wait(3);
    equal(replies.map((reply) => [reply.properties.correlationId, text(reply)]), [['a', 'A'], ['b', 'B'], ['c', 'C']], 'replies');
  });
}

async function manyChannels() {
  await within(null, async (_, connection) => {
    const channels = await Promise.all(Array.from({ length: 100 }, () => connection.createChannel()));
    const queues = await Promise.all(channels.map((channel) => channel.assertQueue('', { exclusive: true })));
    equal(new Set(queues.map((queue) => queue.queue)).size, 100, 'queues');
    await Promise.all(channels.map((channel) => channel.close()));
    await connection.createChannel();
  });
}

async function heartbeats() {
  await within(null, async (channel, connection) => {
    let closed;
    connection.on('close', (error) => { closed = error ?? 'closed'; });
    await sleep(4000);
    equal(closed, undefined, 'closed while idle');
    await channel.assertQueue('', { exclusive: true });
  }, { query: '?heartbeat=1' });
}

function callbackApi() {
  return new Promise((resolve, reject) => {
    const or = (then) => (error, value) => (error ? reject(error) : then(value));
    callbacks.connect(URL, or((connection) => connection.createChannel(or((channel) => channel.assertQueue('', { exclusive: true }, or(({ queue }) => {
      channel.consume(queue, (message) => {
        channel.ack(message);
        connection.close(or(() => (text(message) === 'by callback' ? resolve() : reject(new Error(text(message))))));
      });
      channel.sendToQueue(queue, Buffer.from('by callback'));
    }))))));
  });
}

(async () => {
  await check('handshake, PLAIN and AMQPLAIN', handshake);
  await check('properties and headers', properties);
  await check('big body', bigBody);
  await check('confirms', confirms);
  await check('returned, then confirmed', returned);
  await check('prefetch', prefetch);
  await check('ack, nack, reject, recover', settle);
  await check('get', get);
  await check('cancelled by the server', cancelledByServer);
  await check('errors', errors);
  await check('direct, fanout and topic exchanges', fanoutAndTopic);
  await check('remote procedure call', rpc);
  await check('many channels', manyChannels);
  await check('heartbeats', heartbeats);
  await check('the callback API', callbackApi);
  finish();
})();
