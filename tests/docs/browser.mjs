// What snippets for pages find in a browser and not in every Node.js: `EventSource`, `WebSocket`, `localStorage`, and the `show` of the
// page around them.
import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)
globalThis.WebSocket ??= require('ws')
globalThis.EventSource ??= require('eventsource').EventSource
globalThis.localStorage ??= {}
globalThis.show ??= (line) => console.log(line)
