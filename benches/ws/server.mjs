// A server of WebSocket as its library's own documentation writes one: each message goes to all other clients.
//
//     node benches/ws/server.mjs PORT DIRECTORY
//
// DIRECTORY is where npm has put the package `ws`. Pings are answered by the library, when it is through with what came
// before them: so `oyez-compare --target ws://` knows that a message has been passed on. Messages are not compressed, and
// however much a client has not read yet, it is kept for it.

import { createRequire } from "node:module";
import process from "node:process";

const [port, directory] = process.argv.slice(2);
const { WebSocket, WebSocketServer } = createRequire(`${directory}/`)("ws");
const server = new WebSocketServer({ host: "127.0.0.1", port: Number(port), backlog: 4096, perMessageDeflate: false });

server.on("connection", (socket) => {
  socket.on("error", () => socket.terminate());
  socket.on("message", (data, isBinary) => {
    for (const client of server.clients) {
      if (client !== socket && client.readyState === WebSocket.OPEN) {
        client.send(data, { binary: isBinary });
      }
    }
  });
});
