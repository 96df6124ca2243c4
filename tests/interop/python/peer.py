"""A receiver or a sender of webhooks that leaves signatures to a library.

    peer.py <standardwebhooks|stripe> receive <secret>        prints its port, answers 204 or 401
    peer.py <standardwebhooks|stripe> send <secret> <url>     sends one signed request
"""

import sys
import time
import urllib.request
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, HTTPServer

library, role, secret = sys.argv[1:4]

if library == "stripe":
    import stripe

    def verify(body, headers):
        header = headers.get("stripe-signature", "")
        stripe.WebhookSignature.verify_header(body.decode(), header, secret, 300)

    def sign(body):
        now = int(time.time())
        code = stripe.WebhookSignature._compute_signature(f"{now}.{body}", secret)
        return {"Stripe-Signature": f"t={now},v1={code}"}

else:
    from standardwebhooks.webhooks import Webhook

    def verify(body, headers):
        Webhook(secret).verify(body, headers)

    def sign(body):
        now = datetime.now(timezone.utc)
        return {
            "webhook-id": "msg_1",
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(secret).sign("msg_1", now, body),
        }


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            verify(body, {name.lower(): value for name, value in self.headers.items()})
            status = 204
        except Exception:
            # The libraries have several kinds of refusal, and let some pass through unnamed.
            status = 401
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_):
        pass


if role == "receive":
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    print(server.server_port, flush=True)
    server.serve_forever()
else:
    body = '{"type": "order.accepted", "data": {"name": "Zoë"}}'
    request = urllib.request.Request(sys.argv[4], body.encode(), sign(body), method="POST")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request) as answer:
        sys.exit(0 if answer.status == 204 else 1)
