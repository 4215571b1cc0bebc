// Drives Chromium without a window, and serves the browser client and pages to it.
//
//   node driver.cjs CHROMIUM CLIENT_DIRECTORY PAGE
//
// Prints a line of JSON, {port}, where the client's directory is served, and the page as /page. Then it does what each line that it
// reads asks, one after the other, and answers with a line: {did: ...} or {failed: "why"}. What the pages print comes as
// {said: ...} in between. It ends with its input.
'use strict';

const http = require('node:http');
const path = require('node:path');
const { readFileSync } = require('node:fs');
const readline = require('node:readline');
const { chromium } = require('playwright-core');

const [, , executablePath, directory, page] = process.argv;
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8' };
const print = (line) => console.log(JSON.stringify(line));

function serve() {
    const server = http.createServer((request, response) => {
        const { pathname } = new URL(request.url, 'http://localhost');
        const file = pathname === '/page' ? page : path.join(directory, path.normalize(pathname));
        try {
            const body = readFileSync(file);
            response.writeHead(200, { 'Content-Type': TYPES[path.extname(file)] ?? 'text/plain' }).end(body);
        } catch {
            response.writeHead(404).end();
        }
    });
    return new Promise((served) => server.listen(0, '127.0.0.1', () => served(server)));
}

// One for each tab: its clocks begin with it.
const sessions = new Map();

async function sessionOf(tab) {
    if (!sessions.has(tab)) {
        const session = await tab.context().newCDPSession(tab);
        await session.send('Performance.enable', { timeDomain: 'threadTicks' });
        sessions.set(tab, session);
    }
    return sessions.get(tab);
}

// The figures of a tab: seconds of processor time, and bytes of the heap that are in use when what can be is collected.
async function figures(tab) {
    const session = await sessionOf(tab);
    await session.send('HeapProfiler.collectGarbage');
    const { metrics } = await session.send('Performance.getMetrics');
    const of = (name) => metrics.find((metric) => metric.name === name).value;
    return { busy: of('TaskDuration'), script: of('ScriptDuration'), heap: of('JSHeapUsedSize') };
}

async function setLifecycle(tab, state) {
    const session = await sessionOf(tab);
    await session.send('Page.setWebLifecycleState', { state });
}

const ORDERS = {
    open: async (context, { at, grant }) => {
        if (grant) await context.grantPermissions(grant);
        const tab = await context.newPage();
        tab.on('console', (message) => {
            if (message.type() !== 'log') return;
            try {
                print({ said: JSON.parse(message.text()) });
            } catch {
                print({ said: message.text() });
            }
        });
        tab.on('pageerror', (error) => print({ said: { thrown: String(error) } }));
        await tab.goto(at);
        return true;
    },
    // Calls a function of the page, and waits for what comes of it.
    run: (context, { run, given }) =>
        current(context).evaluate(([name, values]) => window[name](...values), [run, given]),
    offline: (context, { offline }) => context.setOffline(offline),
    lifecycle: (context, { state }) => setLifecycle(current(context), state),
    // What service workers of the page have raised.
    notifications: (context) => current(context).evaluate(async () => {
        const registration = await navigator.serviceWorker.ready;
        return (await registration.getNotifications()).map(({ body }) => body);
    }),
    figures: (context) => figures(current(context)),
    fill: (context, { into, text }) => current(context).fill(into, text),
    press: (context, { on, key }) => current(context).press(on, key),
    click: (context, { on }) => current(context).click(on),
    text: (context, { of }) => current(context).innerText(of),
    picture: (context, { file }) => current(context).screenshot({ path: file }).then(() => true),
};

const current = (context) => context.pages().at(-1);

async function main() {
    const server = await serve();
    const args = ['--no-sandbox', '--disable-dev-shm-usage', '--disable-features=LocalNetworkAccessChecks'];
    const browser = await chromium.launch({ executablePath, args });
    const context = await browser.newContext({ viewport: { width: 900, height: 700 } });
    print({ port: server.address().port });
    for await (const line of readline.createInterface({ input: process.stdin })) {
        const order = JSON.parse(line);
        try {
            print({ did: (await ORDERS[order.do](context, order)) ?? null });
        } catch (error) {
            print({ failed: String(error) });
        }
    }
    await browser.close();
    process.exit(0);
}

main();
