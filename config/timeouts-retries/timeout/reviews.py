# Reviews, which asks ratings before it answers: through the proxy that http_proxy names.
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import urlopen


class Reviews(BaseHTTPRequestHandler):
    def do_GET(self):
        with urlopen("http://ratings:9080/") as ratings:
            size = len(ratings.read())
        body = f"reviews, with {size} bytes of ratings\n".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer(("127.0.0.1", 9082), Reviews).serve_forever()
