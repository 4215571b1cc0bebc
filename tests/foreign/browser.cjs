// Drives Chromium without a window, and serves a page to it.
//
//   node browser.cjs CHROMIUM PAGE
//
// Prints a line of JSON: {port}, where the page is served. Then it opens the page at each URL that it reads as a line, {at, run, with}, and
// calls the function `run` of the page. Names below .example lead to this machine. What the page prints, it prints. A URL that
// is not at its own port is answered by it as well, as if the name had led elsewhere before. It ends with its input.
'use strict';

const http = require('node:http');
const { readFileSync } = require('node:fs');
const readline = require('node:readline');
const { chromium } = require('playwright-core');

const [, , executablePath, page] = process.argv;
const html = { contentType: 'text/html; charset=utf-8', body: readFileSync(page) };

function serve() {
    const server = http.createServer((request, response) => {
        response.writeHead(200, { 'Content-Type': html.contentType }).end(html.body);
    });
    return new Promise((served) => server.listen(0, '127.0.0.1', () => served(server)));
}

async function open(browser, port, { at, run, with: given }) {
    const tab = await browser.newPage();
    tab.on('console', (message) => {
        // What the browser itself says of a refused request is no JSON.
        if (message.type() === 'log') console.log(message.text());
    });
    if (Number(new URL(at).port) !== port) await tab.route(at, (route) => route.fulfill(html));
    await tab.goto(at);
    await tab.evaluate(([name, values]) => void window[name](...values), [run, given]);
}

async function main() {
    const server = await serve();
    const { port } = server.address();
    const args = [
        '--no-sandbox',
        '--disable-dev-shm-usage',
        '--host-resolver-rules=MAP *.example 127.0.0.1',
        // Not all browsers keep pages from this machine; it is the broker that has to.
        '--disable-features=LocalNetworkAccessChecks',
    ];
    const browser = await chromium.launch({ executablePath, args });
    console.log(JSON.stringify({ port }));
    for await (const line of readline.createInterface({ input: process.stdin })) {
        await open(browser, port, JSON.parse(line));
    }
    await browser.close();
    process.exit(0);
}

main();
