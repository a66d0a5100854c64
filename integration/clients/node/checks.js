// Runs named checks and prints one line for each, which integration/src/client.rs reads: `ok NAME` or `not ok NAME: reason`.

const { isDeepStrictEqual, inspect } = require('node:util');

const SECONDS_PER_CHECK = 60;
let failed = false;

function expect(condition, why) {
  if (!condition) throw new Error(why);
}

function equal(got, wanted, what) {
  expect(isDeepStrictEqual(got, wanted), `${what}: got ${inspect(got, { depth: 5 })}, wanted ${inspect(wanted, { depth: 5 })}`);
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Waits until the condition holds.
async function until(what, condition, seconds = 10) {
  const deadline = Date.now() + seconds * 1000;
  while (!(await condition())) {
    expect(Date.now() < deadline, `waited ${seconds} s for ${what}`);
    await sleep(20);
  }
}

async function check(name, run) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no end after ${SECONDS_PER_CHECK} s`)), SECONDS_PER_CHECK * 1000);
  });
  try {
    await Promise.race([run(), late]);
    console.log(`ok ${name}`);
  } catch (error) {
    failed = true;
    console.error(error);
    console.log(`not ok ${name}: ${String(error.message).replace(/\s+/g, ' ')}`);
  } finally {
    clearTimeout(timer);
  }
}

function finish() {
  process.exit(failed ? 1 : 0);
}

module.exports = { check, equal, expect, finish, sleep, until };
