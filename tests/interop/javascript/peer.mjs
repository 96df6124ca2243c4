// A receiver or a sender of webhooks that leaves signatures to the library.
//
//   peer.mjs standardwebhooks receive <secret>        prints its port, answers 204 or 401
//   peer.mjs standardwebhooks send <secret> <url>     sends one signed request

import { createServer, request } from "node:http";
import { createRequire } from "node:module";

const { Webhook } = createRequire(`${process.env.TIDINGS_NODE}/`)("standardwebhooks");
const [, , , role, secret, url] = process.argv;
const webhook = new Webhook(secret);

if (role === "receive") {
  const server = createServer(async (incoming, answer) => {
    const parts = [];
    for await (const part of incoming) parts.push(part);
    try {
      webhook.verify(Buffer.concat(parts).toString(), incoming.headers);
      answer.writeHead(204);
    } catch {
      answer.writeHead(401);
    }
    answer.end();
  });
  server.listen(0, "127.0.0.1", () => console.log(server.address().port));
} else {
  const body = '{"type": "order.accepted", "data": {"name": "Zoë"}}';
  const now = new Date();
  const headers = {
    "webhook-id": "msg_1",
    "webhook-timestamp": Math.floor(now / 1000).toString(),
    "webhook-signature": webhook.sign("msg_1", now, body),
    "content-length": Buffer.byteLength(body),
  };
  const sent = request(url, { method: "POST", headers }, (answer) => {
    process.exitCode = answer.statusCode === 204 ? 0 : 1;
    answer.resume();
  });
  sent.end(body);
}
