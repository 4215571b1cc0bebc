// Opens a page in Chromium, publishes a message until the page shows it, and ends.
//
//   node open.cjs CHROMIUM URL TOPIC MESSAGE
'use strict';

const { chromium } = require('playwright-core');

const [, , executablePath, url, topic, message] = process.argv;

async function main() {
    const args = ['--no-sandbox', '--disable-dev-shm-usage', '--disable-features=LocalNetworkAccessChecks'];
    const browser = await chromium.launch({ executablePath, args });
    const tab = await browser.newPage();
    tab.on('console', (said) => console.log(said.text()));
    tab.on('pageerror', (error) => console.log(String(error)));
    await tab.goto(url);
    for (let shown = false; !shown; ) {
        const answer = await fetch(topic, { method: 'POST', body: message });
        if (!answer.ok) throw new Error(await answer.text());
        const sign = tab.getByText(message).first();
        shown = await sign.waitFor({ timeout: 1000 }).then(() => true, () => false);
    }
    await browser.close();
}

main();
