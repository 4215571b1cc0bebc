// Reads and publishes with what Node has: its own `fetch`, and the package `eventsource`.
//
//   node client.cjs read URL [ID]   prints each event as a line of JSON, {id, event, data}; {event: "open"} is a connection
//   node client.cjs publish URL     publishes each line of JSON text that it reads, and prints each answer as a line
'use strict';

const [, , verb, url, lastId] = process.argv;
const say = (what) => console.log(JSON.stringify(what));

function read() {
    const { EventSource } = require('eventsource');
    // An EventSource cannot be told where to begin but by its URL.
    const begin = new URL(url);
    if (lastId) begin.searchParams.set('last_event_id', lastId);
    const source = new EventSource(begin);
    source.onopen = () => say({ event: 'open' });
    const tell = (event) => say({ id: event.lastEventId, event: event.type, data: event.data });
    for (const name of ['message', '$binary', '$gap', '$epoch', '$reference']) {
        source.addEventListener(name, tell);
    }
}

async function publish() {
    for await (const line of require('node:readline').createInterface({ input: process.stdin })) {
        const response = await fetch(url, { method: 'POST', body: JSON.parse(line) });
        if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`);
        say(await response.json());
    }
}

({ read, publish })[verb]();
