#!/usr/bin/env python3
# Stands for rookery-node, and for rookery-translator, in tests of the testbed: serves /readyz at its ports, and connects to
# each address that the file `ask` in its directory names; it writes what it reads there within a second into the file `told`.
import http.server, os, socket, sys, threading, time
settings, section = {}, ""
for line in open(sys.argv[3]):
    if line.startswith("["): section = line.strip()[1:-1]
    elif " = " in line: settings[section + "." + line.split(" = ")[0]] = line.split(" = ")[1].strip().strip('"')
here = settings.get("server.data", "/nowhere")
def ask():
    while True:
        time.sleep(0.02)
        try: address = open(here + "/ask").read().strip()
        except OSError: continue
        os.remove(here + "/ask")
        host, port = address.rsplit(":", 1)
        try:
            with socket.create_connection((host, int(port)), 1) as s:
                s.settimeout(1)
                s.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
                told = s.recv(99).decode()
        except OSError as error:
            told = "cut: " + str(error)
        with open(here + "/told.new", "w") as f: f.write(told)
        os.rename(here + "/told.new", here + "/told")
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
threading.Thread(target=ask, daemon=True).start()
def serve(address):
    host, port = address.rsplit(":", 1)
    http.server.ThreadingHTTPServer((host, int(port)), Ready).serve_forever()
if "peer.listen" in settings:
    threading.Thread(target=serve, args=(settings["peer.listen"],), daemon=True).start()
serve(settings["server.management"])
