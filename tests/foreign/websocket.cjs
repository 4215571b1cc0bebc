// Reads and publishes over WebSocket, with the package `ws` of Node.
//
//   node websocket.cjs read URL [ID]   prints each message of ws://HOST/TOPIC as a line of JSON, {id, event, data}; {event: "open"} is a
//                                      connection, {event: "close", code} its end; an ID says where to go on
//   node websocket.cjs publish URL     publishes each line of JSON text that it reads, and prints each answer as a line
//   node websocket.cjs frames URL      sends each line of hexadecimal digits that it reads, and prints each message, {event, data}
'use strict';

const { once } = require('node:events');
const { WebSocket } = require('ws');

const [, , verb, url, lastId] = process.argv;
const say = (what) => console.log(JSON.stringify(what));
const lines = () => require('node:readline').createInterface({ input: process.stdin });

// The address for any topics, and the topic.
function split() {
    const [, host, topic] = /^ws:\/\/([^/]*)\/(.*)$/.exec(url);
    return [`ws://${host}/api/v1/ws`, topic];
}

function read() {
    const [address, topic] = split();
    let place = lastId;
    let retry = 200;
    const begin = () => {
        let epoch;
        let isOpen = false;
        const socket = new WebSocket(address);
        socket.on('open', () => {
            const wish = { command: 'subscribe', topic, id: 1, from: 'earliest' };
            if (place) {
                const [offset, of] = place.split('.');
                Object.assign(wish, { from: `offset:${offset}`, epoch: of });
            }
            isOpen = true;
            socket.send(JSON.stringify(wish));
        });
        socket.on('message', (data) => {
            const told = JSON.parse(data);
            if (told.event === '$subscribed') {
                epoch = told.epoch;
                say({ event: 'open' });
            } else if (told.event === '$goodbye') {
                retry = told.retry_after_ms;
            } else if (told.event) {
                say(told);
            } else {
                place = `${told.offset + 1}.${epoch}`;
                say({ id: place, event: 'message', data: told.payload });
            }
        });
        // A broker that is away is tried again.
        socket.on('error', () => {});
        socket.on('close', (code) => {
            if (isOpen) say({ event: 'close', code });
            setTimeout(begin, retry);
        });
    };
    begin();
}

async function open(address, protocols) {
    const socket = new WebSocket(address, protocols);
    await once(socket, 'open');
    return socket;
}

async function publish() {
    const [address, topic] = split();
    let socket;
    let id = 0;
    for await (const line of lines()) {
        id += 1;
        // One that was closed meanwhile is opened again.
        if (!socket || socket.readyState !== WebSocket.OPEN) socket = await open(address);
        const answer = once(socket, 'message');
        socket.send(JSON.stringify({ command: 'publish', topic, payload: JSON.parse(line), id }));
        say(JSON.parse((await answer)[0]));
    }
    socket.close();
}

async function frames() {
    const socket = await open(url, ['oyez.v2']);
    say({ event: 'open', subprotocol: socket.protocol });
    for await (const line of lines()) {
        const answer = once(socket, 'message');
        socket.send(Buffer.from(line, 'hex'));
        say({ event: 'frames', data: (await answer)[0].toString('hex') });
    }
    const pong = once(socket, 'pong');
    socket.ping('there?');
    await pong;
    const closed = once(socket, 'close');
    socket.close(1000);
    say({ event: 'close', code: (await closed)[0] });
}

({ read, publish, frames })[verb]();
